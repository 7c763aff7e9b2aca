//! A value changes while requests come in.

mod world;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use gatewayd_credentials::Credentials;
use world::World;

#[tokio::test]
async fn the_next_request_after_a_change_uses_the_new_value() {
    let world = World::new("one\n");
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer one"));
    let first = world.credentials.status()[0].version.clone().unwrap();
    world.write("two");
    world.credentials.reload().await;
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer two"));
    let second = world.credentials.status()[0].version.clone().unwrap();
    assert_ne!(first, second);
    assert_eq!(world.told(), ["one", "two"], "the masker knows the old value and the new one");
    assert_eq!(world.journal.outcomes(), [second.to_string()]);
    // The same value again is no new version.
    world.write("two\n");
    world.credentials.reload().await;
    assert_eq!(world.credentials.status()[0].version, Some(second));
    assert_eq!(world.told().len(), 2);
}

#[tokio::test]
async fn a_value_that_cannot_be_one_leaves_the_last_good_one_in_force() {
    let world = World::new("good");
    for (bad, problem) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"a\r\nx-evil: 1", "printable"),
        (b"a\0b", "printable"),
        (b" padded", "space"),
        (&[b'a'; 20_000], "16 KiB"),
    ] {
        world.write(bad);
        let status = world.credentials.reload().await;
        assert_eq!(world.authorization().await.as_deref(), Some("Bearer good"), "{problem}");
        assert!(status[0].problem.as_ref().unwrap().contains(problem), "{status:?}");
    }
    assert_eq!(world.told(), ["good"]);
    world.write("better");
    assert_eq!(world.credentials.reload().await[0].problem, None);
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer better"));
}

#[tokio::test]
async fn a_file_that_stays_away_takes_its_value_with_it() {
    let world = World::new("one");
    std::fs::remove_file(world.file()).unwrap();
    world.credentials.reload().await;
    assert!(world.authorization().await.is_some(), "removed and written again is no withdrawal");
    world.clock.advance(Duration::from_secs(6));
    world.credentials.reload().await;
    assert_eq!(world.authorization().await, None);
    assert_eq!(world.journal.outcomes(), ["withdrawn"]);
    world.write("one");
    world.credentials.reload().await;
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer one"));
}

#[tokio::test]
async fn a_rotation_that_cannot_be_recorded_does_not_happen_yet() {
    let world = World::new("one");
    world.journal.broken.store(true, Ordering::SeqCst);
    world.write("two");
    for _ in 0..3 {
        let status = world.credentials.reload().await;
        assert!(status[0].problem.as_ref().unwrap().contains("disk is full"));
    }
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer one"));
    assert_eq!(world.told(), ["one", "two"], "told once, and before it is used");
    world.journal.broken.store(false, Ordering::SeqCst);
    world.credentials.reload().await;
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer two"));
}

#[tokio::test]
async fn a_new_configuration_keeps_versions_that_it_does_not_concern() {
    let world = World::new("one");
    let before = world.credentials.status()[0].version.clone();
    let mut config = world.config.clone();
    config.without.push("another".to_owned());
    let next = world.credentials.reconfigured(config.clone()).unwrap();
    assert_eq!(next.status()[0].version, before);
    assert_eq!(world.told(), ["one"]);
    // A value that changed meanwhile is a rotation, and recorded as one.
    world.write("two");
    let next = next.reconfigured(config.clone()).unwrap();
    assert_eq!(next.status()[0].version, before);
    next.reload().await;
    assert_ne!(next.status()[0].version, before);
    assert_eq!(world.journal.outcomes().len(), 1);
    // Another prefix makes another header of it.
    config.credentials[0].prefix = "Key ".to_owned();
    let other = world.credentials.reconfigured(config).unwrap();
    assert_ne!(other.status()[0].version, before);
    assert_eq!(world.authorization().await.as_deref(), Some("Bearer one"), "the handle in use is as it was");
}

#[tokio::test]
async fn with_a_key_the_same_value_has_the_same_version_id() {
    let world = World::new("one");
    let id = |key: &[u8], value: &str| {
        world.write(value);
        let mut config = world.config.clone();
        config.version_key = Some(gatewayd_core::Secret::new(key.to_vec()));
        let clock = std::sync::Arc::new(world.clock.clone());
        let journal = std::sync::Arc::new(gatewayd_core::NullJournal);
        let credentials = Credentials::new(config, clock, journal, std::sync::Arc::new(|_, _| {})).unwrap();
        credentials.status()[0].version.clone().unwrap()
    };
    assert_eq!(id(b"key", "one"), id(b"key", "one\n"));
    assert_ne!(id(b"key", "one"), id(b"key", "two"));
    assert_ne!(id(b"key", "one"), id(b"another", "one"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_or_a_directory_is_no_file_and_blocks_nobody() {
    let world = World::without_file();
    std::fs::create_dir(world.file()).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(60), world.credentials.reload()).await.unwrap();
    assert!(status[0].problem.as_ref().unwrap().contains("regular file"));
}

/// Waits for the watcher, but not for ever.
async fn until(world: &World, wanted: &str) -> Duration {
    let start = Instant::now();
    while world.authorization().await.as_deref() != Some(wanted) {
        assert!(start.elapsed() < Duration::from_secs(60), "`{wanted}` never came into force");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watcher_sees_writes_and_replacements() {
    let world = World::new("one");
    let watcher = tokio::spawn(world.credentials.watch());
    until(&world, "Bearer one").await;
    world.write("two");
    until(&world, "Bearer two").await;
    let new = world.directory.path().join("key.new");
    std::fs::write(&new, "three").unwrap();
    std::fs::rename(&new, world.file()).unwrap();
    until(&world, "Bearer three").await;
    watcher.abort();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watcher_sees_kubernetes_swap_its_symbolic_links() {
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_owned();
    for (name, value) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir(root.join(name)).unwrap();
        std::fs::write(root.join(name).join("key"), value).unwrap();
    }
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/key", root.join("key")).unwrap();
    let world = World::build(directory, |_| {});
    let watcher = tokio::spawn(world.credentials.watch());
    until(&world, "Bearer one").await;
    symlink("..2", root.join("..data_tmp")).unwrap();
    std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    until(&world, "Bearer two").await;
    watcher.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_rotation_every_request_carries_one_whole_value() {
    let world = std::sync::Arc::new(World::new("value-0-value-0"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let world = std::sync::Arc::clone(&world);
        tasks.spawn(async move {
            for _ in 0..500 {
                let header = world.authorization().await.expect("there always is a value");
                let value = header.strip_prefix("Bearer ").expect("the prefix is there");
                assert_eq!(value.get(..7), value.get(8..), "{value}");
            }
        });
    }
    for i in 0..10 {
        let new = world.directory.path().join("new");
        std::fs::write(&new, format!("value-{i}-value-{i}")).unwrap();
        std::fs::rename(&new, world.file()).unwrap();
        world.credentials.reload().await;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
