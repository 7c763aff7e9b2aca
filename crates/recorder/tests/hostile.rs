//! What happens to the clock, the files and the words that somebody else chose.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gatewayd_core::{Body, Clock, SystemClock, Timestamp};
use gatewayd_recorder::export::{Format, export};
use gatewayd_recorder::verify::{Damage, Options, Report, verify};
use gatewayd_recorder::{Config, Error, Filter, Reader, Recorder, Target};
use http::{Request, Response};
use rig::{channel, config, echo_len, open, request, send, stack, until};
use tower::ServiceExt as _;

/// A clock that somebody sets.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set(AtomicI64::new(1_800_000_000_000_000)));
    let often = Config { segment_age: Duration::from_millis(1), ..config(dir.path()) };
    let recorder = Recorder::open(often, clock.clone()).unwrap();
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack(&recorder, move |_: Request<Body>| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        async { Response::new(body) }
    });
    let response = stack.clone().oneshot(request("alice", "x")).await.unwrap();
    let id = rig::id_of(&response);
    let sender = bodies.recv().await.unwrap();
    let mut body = response.into_body();
    let reader = Reader::open(dir.path()).unwrap();
    let frames = || reader.replay(id).map_or(0, |replay| replay.response.len());
    for n in 1..=3 {
        sender.send(Ok("data: 1\n\n".into())).unwrap();
        http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        until("it is written, in a segment of its own", || frames() == n).await;
        clock.0.fetch_sub(3_600_000_000, Ordering::SeqCst);
    }
    drop(sender);
    assert!(http_body_util::BodyExt::frame(&mut body).await.is_none());
    let ended = || reader.show(id).unwrap().summary.ending == "complete";
    until("the outcome", ended).await;
    recorder.close();
    assert!(verify(dir.path(), &Options::default()).unwrap().is_intact());
    assert_eq!(frames(), 3);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn an_older_database_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let older = tempfile::tempdir().unwrap();
    let disk = || Config { durability: gatewayd_recorder::Durability::Disk, ..config(dir.path()) };
    for round in 0..2 {
        let recorder = Recorder::open(disk(), Arc::new(SystemClock)).unwrap();
        send(&stack(&recorder, echo_len), request("alice", "x")).await;
        recorder.close();
        if round == 0 {
            copy(dir.path(), older.path());
        }
    }
    for name in ["evidence.db", "evidence.db-wal", "evidence.db-shm"] {
        let _not_all_are_there = fs::remove_file(dir.path().join(name));
        if older.path().join(name).exists() {
            fs::copy(older.path().join(name), dir.path().join(name)).unwrap();
        }
    }
    let continued = Recorder::open(disk(), Arc::new(SystemClock));
    assert!(matches!(continued, Err(Error::RolledBack { .. })), "{continued:?}");
    let report = verify(dir.path(), &Options::default()).unwrap();
    assert_eq!((report.findings[0].damage, report.exit_code()), (Damage::Truncated, 10));
}

async fn recorded() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    for _ in 0..3 {
        send(&stack, request("alice", "x".repeat(200))).await;
    }
    recorder.close();
    dir
}

fn damage(dir: &Path) -> (Vec<Damage>, Report) {
    let report = verify(dir, &Options::default()).unwrap();
    (report.findings.iter().map(|finding| finding.damage).collect(), report)
}

#[tokio::test]
async fn segments_that_are_no_files_or_not_where_they_were_are_missed() {
    let path = |dir: &Path| dir.join("segments/0000000001.seg");
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("renamed", |file| fs::rename(file, file.with_file_name("0000000002.seg")).unwrap()),
        ("other spelling", |file| fs::rename(file, file.with_file_name("1.seg")).unwrap()),
        ("link", |file| {
            let away = file.with_file_name("away");
            fs::rename(file, &away).unwrap();
            symlink(away, file).unwrap();
        }),
        ("device", |file| {
            fs::remove_file(file).unwrap();
            symlink("/dev/zero", file).unwrap();
        }),
        ("pipe", |file| {
            fs::remove_file(file).unwrap();
            let made = std::process::Command::new("mkfifo").arg(file).status().unwrap();
            assert!(made.success());
        }),
        ("truncated", |file| fs::File::options().write(true).open(file).unwrap().set_len(40).unwrap()),
    ];
    for (name, change) in changes {
        let dir = recorded().await;
        change(&path(dir.path()));
        let (found, report) = damage(dir.path());
        assert!(!found.is_empty(), "{name}: {report}");
        assert_eq!(report.exit_code(), 14, "{name}: {report}");
        // The gateway itself starts all the same: evidence that is lost is no reason to lose more.
        open(dir.path()).close();
    }
}

#[tokio::test]
async fn a_segment_larger_than_memory_is_verified() {
    let dir = recorded().await;
    let file = dir.path().join("segments/0000000001.seg");
    fs::File::options().write(true).open(file).unwrap().set_len(1 << 40).unwrap();
    let (found, report) = damage(dir.path());
    assert_eq!(found, [], "what no entry speaks of is not proven, and no damage: {report}");
    assert!(report.unproven.iter().any(|what| what.contains("bytes in segments that no entry speaks of")));
}

#[tokio::test]
async fn a_checkpoint_that_is_no_small_file_is_damage() {
    let dir = recorded().await;
    let file = dir.path().join("checkpoint");
    fs::remove_file(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert_eq!(damage(dir.path()).0, [Damage::BadCheckpoint]);
}

#[tokio::test]
async fn keys_are_secret_and_there() {
    let dir = recorded().await;
    for name in ["log.key", "root.key"] {
        let key = dir.path().join(name);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o604)).unwrap();
        let opened = Recorder::open(config(dir.path()), Arc::new(SystemClock));
        assert!(matches!(opened, Err(Error::BadKey { .. })), "{name} is everybody's: {opened:?}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let away = dir.path().join("away");
        fs::rename(&key, &away).unwrap();
        let opened = Recorder::open(config(dir.path()), Arc::new(SystemClock));
        assert!(opened.is_err(), "the log goes on under another {name}: {opened:?}");
        assert!(!key.exists(), "another {name} was made");
        fs::rename(&away, &key).unwrap();
    }
    open(dir.path()).close();
}

#[tokio::test]
async fn an_export_drives_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let nasty = "\u{1b}]0;owned\u{7} \u{9b}2J \u{7f} \u{202e}txt \u{2066}x";
    let answer = move |_| async move {
        Response::builder().header("server", "\u{9b}2J".as_bytes()).body(Body::from(nasty)).unwrap()
    };
    let (id, ..) = send(&stack(&recorder, answer), request("alice", nasty)).await;
    recorder.close();
    let reader = Reader::open(dir.path()).unwrap();
    let (bundle, replay) = (reader.show(id).unwrap(), reader.replay(id).unwrap());
    for format in Format::ALL {
        let text = export(&bundle, &replay, format);
        let drives = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{2069}').contains(&c);
        assert!(!text.contains(drives), "{}: {text:?}", format.as_str());
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
    let lines = export(&bundle, &replay, Format::JsonLines);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["text"], nasty, "nothing is lost");
}

#[tokio::test]
async fn a_callers_request_id_names_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (first, ..) = send(&stack, request("alice", "x")).await;
    let again = rig::with(request("mallory", "y"), "x-request-id", &first.to_string());
    let (second, status, _) = send(&stack, again).await;
    assert_eq!(status, 200);
    assert_ne!(first, second);
    recorder.close();
    let sessions = Reader::open(dir.path()).unwrap().list(&Filter::default()).unwrap();
    assert_eq!(sessions.len(), 2);
    assert!(verify(dir.path(), &Options::default()).unwrap().is_intact());
}

#[tokio::test]
async fn what_is_moved_away_is_missed_at_once() {
    for moved in ["segments", "segments/0000000001.seg", "evidence.db", "lock", "log.pub"] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = open(dir.path());
        let stack = stack(&recorder, echo_len);
        assert_eq!(send(&stack, request("alice", "x")).await.1, 200);
        until("the segment is there", || dir.path().join("segments/0000000001.seg").exists()).await;
        fs::rename(dir.path().join(moved), dir.path().join("away")).unwrap();
        until("it is missed", || recorder.failure().is_some()).await;
        assert_eq!(send(&stack, request("alice", "x")).await.1, 503, "{moved}");
        let refusal = send(&stack, Request::get("/").body(Body::empty()).unwrap()).await;
        assert_eq!(refusal.1, 503, "a refusal would be written into nothing, too");
        fs::rename(dir.path().join("away"), dir.path().join(moved)).unwrap();
        until("it is back", || recorder.failure().is_none()).await;
        assert_eq!(send(&stack, request("alice", "x")).await.1, 200, "{moved}");
        recorder.close();
        let (found, report) = damage(dir.path());
        assert_eq!(found, [], "{report}");
        assert!(report.missing > 0, "what was turned away is told: {report}");
    }
}

#[tokio::test]
async fn another_public_key_beside_the_log_is_noticed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(open(other.path()));
    let strange = fs::read(other.path().join("log.pub")).unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (path, own) = (dir.path().join("log.pub"), fs::read(dir.path().join("log.pub")).unwrap());
    // The same file, with other contents.
    fs::write(&path, &strange).unwrap();
    until("it is noticed", || recorder.failure().is_some_and(|why| why.contains("log.pub"))).await;
    assert_eq!(send(&stack, request("alice", "x")).await.1, 503);
    fs::remove_file(&path).unwrap();
    symlink(other.path().join("log.pub"), &path).unwrap();
    assert!(recorder.failure().is_some());
    fs::remove_file(&path).unwrap();
    fs::write(&path, &own).unwrap();
    until("it is put right", || recorder.failure().is_none()).await;
    assert_eq!(send(&stack, request("alice", "x")).await.1, 200);
    drop((recorder, stack));
    // Nor does it last over a start.
    fs::write(&path, &strange).unwrap();
    drop(open(dir.path()));
    assert_eq!(fs::read(&path).unwrap(), own);
    assert!(damage(dir.path()).0.is_empty());
}

#[tokio::test]
async fn words_of_any_length_are_cut_to_what_a_log_may_hold() {
    use gatewayd_core::{Event, EventKind, Identity, Journal as _};
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (id, ..) = send(&stack, request("alice", "x")).await;
    let (long, group) = ("ä".repeat(2_000_000), |n| format!("group {n}").into());
    let actor = Identity { groups: (0..300_000).map(group).collect(), ..rig::identity("bob") };
    let (kind, actor) = (EventKind::ApprovalVote, Some(actor));
    let event =
        Event { kind, actor, object: long.as_str().into(), outcome: long.as_str().into(), request: None };
    recorder.record(event).await.unwrap();
    recorder.hold(&Target::Session(id), None, &long).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    assert!(reader.holds().unwrap()[0].reason.len() <= 64 * 1024);
    let events = reader.events(None, 10).unwrap();
    assert!(events.iter().all(|event| !event.altered && event.outcome.len() <= 64 * 1024));
    recorder.close();
    assert!(damage(dir.path()).0.is_empty());
}

#[tokio::test]
async fn a_database_that_could_do_something_is_neither_verified_nor_written() {
    let changes = [
        "CREATE TRIGGER stash AFTER DELETE ON session_keys BEGIN INSERT INTO meta VALUES(hex(OLD.wrapped), 'kept'); END",
        "CREATE TABLE other(x)",
        "CREATE VIEW other AS SELECT 1",
        "CREATE INDEX slow ON leaves(length(data))",
        "DROP INDEX sessions_of_subject; CREATE INDEX sessions_of_subject ON sessions(subject, number) WHERE number < 0",
        "DROP TABLE claims; CREATE TABLE claims(kind TEXT NOT NULL, id TEXT NOT NULL, session INTEGER NOT NULL, request BLOB NOT NULL)",
        "ALTER TABLE meta ADD COLUMN more AS (length(value))",
        "DROP TABLE subject_keys",
    ];
    for change in changes {
        let dir = recorded().await;
        rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap().execute_batch(change).unwrap();
        let (found, report) = damage(dir.path());
        assert!(
            !found.is_empty() && found.iter().all(|found| *found == Damage::DatabaseCorrupt),
            "{change}: {report}"
        );
        assert_eq!(report.exit_code(), 10);
        let opened = Recorder::open(config(dir.path()), Arc::new(SystemClock));
        assert!(matches!(opened, Err(Error::Damaged(_))), "{change}: {opened:?}");
        assert!(Reader::open(dir.path()).is_err(), "{change}");
    }
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_database_is_not_waited_for() {
    for name in ["evidence.db", "evidence.db-wal", "evidence.db-journal"] {
        let dir = recorded().await;
        let file = dir.path().join(name);
        let _there_may_be_none = fs::remove_file(&file);
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(verify(dir.path(), &Options::default()).is_err(), "{name}");
        assert!(Reader::open(dir.path()).is_err(), "{name}");
        assert!(Recorder::open(config(dir.path()), Arc::new(SystemClock)).is_err(), "{name}");
    }
}

#[tokio::test]
async fn verifying_leaves_nothing_behind() {
    let dir = recorded().await;
    let names = || {
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert_eq!(damage(dir.path()).0, []);
    assert_eq!(names(), before);
}

#[tokio::test]
async fn a_log_that_was_copied_with_its_write_ahead_log_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let copied = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    send(&stack(&recorder, echo_len), request("alice", "x")).await;
    until("the outcome", || recorder.stats().open == 0 && recorder.stats().queued == 0).await;
    let covered =
        || recorder.public_key().open(&recorder.checkpoint()).unwrap().size == recorder.stats().entries;
    until("a checkpoint", covered).await;
    copy(dir.path(), copied.path());
    assert!(fs::metadata(copied.path().join("evidence.db-wal")).unwrap().len() > 0);
    let shared = copied.path().join("evidence.db-shm");
    let before = fs::read(&shared).unwrap();
    let (found, report) = damage(copied.path());
    assert_eq!((found, report.sessions), (vec![], 1), "{report}");
    assert!(fs::read(&shared).unwrap() == before, "what came with it is not changed");
    fs::remove_file(&shared).unwrap();
    let (found, report) = damage(copied.path());
    assert_eq!((found, report.sessions), (vec![], 1), "{report}");
    assert!(!shared.exists(), "nothing is made beside it");
}

#[test]
fn a_directory_without_a_log_is_called_that() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("evidence.db") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn what_was_erased_is_in_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let holds = |text: &str| {
        ["evidence.db", "evidence.db-wal"].iter().any(|name| {
            let bytes = fs::read(dir.path().join(name)).unwrap_or_default();
            bytes.windows(text.len()).any(|at| at == text.as_bytes())
        })
    };
    let reader = Reader::open(dir.path()).unwrap();
    for subject in ["zebra-4711", "yak-0815"] {
        send(&stack, request(subject, "x")).await;
    }
    let ended = || reader.list(&Filter::default()).unwrap().iter().all(|s| s.ending == "complete");
    until("the outcomes", ended).await;
    assert!(holds("zebra-4711") && holds("yak-0815"));
    let key: Vec<u8> = rusqlite::Connection::open(dir.path().join("evidence.db"))
        .unwrap()
        .query_row("SELECT wrapped FROM session_keys ORDER BY number LIMIT 1", [], |row| row.get(0))
        .unwrap();
    recorder.erase(&Target::Subject(rig::identity("zebra-4711").key()), None, "asked for").unwrap();
    assert!(!holds("zebra-4711") && holds("yak-0815"), "while the gateway runs on");
    for name in ["evidence.db", "evidence.db-wal"] {
        let bytes = fs::read(dir.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(key.len()).any(|at| at == key), "{name} holds the wrapped key");
    }
}

#[tokio::test]
async fn a_key_that_nobody_erased_is_missed() {
    let dir = recorded().await;
    let change = "DELETE FROM session_keys WHERE number = (SELECT max(number) FROM session_keys)";
    rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap().execute_batch(change).unwrap();
    let (found, report) = damage(dir.path());
    assert_eq!(found, []);
    assert!(
        report.unproven.iter().any(|what| what.contains("bodies of 1 requests cannot be opened")),
        "{report}"
    );
    let reader = Reader::open(dir.path()).unwrap();
    let newest = reader.list(&Filter::default()).unwrap()[0].id;
    assert!(matches!(reader.replay(newest), Err(Error::Damaged(_))), "nobody erased it");
}
