//! Checkpoints come by themselves, under load and when nothing happens.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewayd_core::{Event, EventKind, Journal as _, SystemClock};
use gatewayd_recorder::{Config, Recorder};
use rig::until;

#[test]
fn by_default_each_second_and_each_minute() {
    let config = Config::new("anywhere");
    assert_eq!(
        (config.checkpoint_every, config.checkpoint_idle),
        (Duration::from_secs(1), Duration::from_secs(60))
    );
}

#[tokio::test]
async fn one_comes_under_load_and_one_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let (every, idle) = (Duration::from_millis(100), Duration::from_millis(500));
    let config = Config { checkpoint_every: every, checkpoint_idle: idle, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let file = dir.path().join("checkpoint");
    let in_file = || recorder.public_key().open(&std::fs::read_to_string(&file).unwrap()).unwrap().size;
    let (began, mut seen) = (Instant::now(), BTreeSet::new());
    while began.elapsed() < every * 20 || seen.len() < 5 {
        assert!(began.elapsed() < every * 600, "{} checkpoints in a minute", seen.len());
        let (kind, object, outcome) = (EventKind::AdminRead, "session".into(), "shown".into());
        recorder.record(Event { kind, actor: None, object, outcome, request: None }).await.unwrap();
        seen.insert(in_file());
    }
    let most = began.elapsed().div_duration_f64(every) + 2.0;
    assert!(seen.len() as f64 <= most, "{} checkpoints in {most} times {every:?}", seen.len());
    let entries = recorder.stats().entries;
    until("the last one covers all", || in_file() == entries).await;
    let served = || recorder.public_key().open(&recorder.checkpoint()).unwrap().size;
    until("the one in the file is served", || served() == entries).await;
    let written = || std::fs::metadata(&file).unwrap().modified().unwrap();
    let before = written();
    until("it is written again although nothing happens", || written() > before).await;
    assert_eq!(in_file(), entries);
}
