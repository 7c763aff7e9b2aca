//! What is turned away has an entry of its own or is counted in a gap, whatever the reason.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{Body, Event, EventKind, Journal as _, SystemClock};
use gatewayd_recorder::verify::{Options, Report, verify};
use gatewayd_recorder::{Config, Reader, Recorder};
use http::Request;
use rig::{echo_len, request, send, stack, until, with};

fn anonymous() -> Request<Body> {
    Request::get("/v1/models").body(Body::empty()).unwrap()
}

fn proven(dir: &Path) -> Report {
    let report = verify(dir, &Options::default()).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.entries, report.signed);
    report
}

/// Bodies cannot be written, entries can.
struct NoBodies<'a>(&'a Path);

impl<'a> NoBodies<'a> {
    fn begin(dir: &'a Path) -> Self {
        std::fs::rename(dir.join("segments"), dir.join("away")).unwrap();
        std::fs::write(dir.join("segments"), "no directory").unwrap();
        Self(dir)
    }

    fn end(self) {
        std::fs::remove_file(self.0.join("segments")).unwrap();
        std::fs::rename(self.0.join("away"), self.0.join("segments")).unwrap();
    }
}

#[tokio::test]
async fn while_bodies_cannot_be_written_refusals_are_on_record_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = rig::open(dir.path());
    let stack = stack(&recorder, echo_len);
    let trouble = NoBodies::begin(dir.path());
    // The first ones pass; by what they leave the recorder learns that it cannot write.
    send(&stack, request("alice", "x")).await;
    until("it is known", || recorder.failure().is_some()).await;
    let mut refused = Vec::new();
    for n in 0..30 {
        let request = match n % 3 {
            0 => request("alice", ""),
            1 => with(request("alice", "with a body"), "x-read", "1"),
            _ => anonymous(),
        };
        let (id, status, _) = send(&stack, request).await;
        assert_eq!(status, if n % 3 == 2 { 401 } else { 503 }, "a refusal needs no body to be recorded");
        refused.push(id);
    }
    let (kind, object, outcome) = (EventKind::CredentialRotated, "key".into(), "v2".into());
    let rotated = recorder.record(Event { kind, actor: None, object, outcome, request: None }).await;
    assert!(rotated.is_ok(), "an event has no body: {rotated:?}");
    trouble.end();
    until("it goes on", || recorder.failure().is_none()).await;
    assert_eq!(send(&stack, request("alice", "x")).await.1, 200);
    recorder.close();
    let report = proven(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    for id in refused {
        assert!(reader.show(id).is_ok(), "{id} is not on record; {report}");
    }
    assert_eq!(report.missing, 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_finds_the_queue_full_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_queue: 2, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let stack = stack(&recorder, echo_len);
    let callers = (0..64).map(|_| {
        let stack = stack.clone();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..50 {
                let (id, status, _) = send(&stack, anonymous()).await;
                answers.push((id, status));
            }
            answers
        })
    });
    let mut answers = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        answers.extend(caller.await.unwrap());
    }
    recorder.close();
    let turned_away = answers.iter().filter(|(_, status)| *status == 503).count() as u64;
    assert!(turned_away > 0, "the queue was never full");
    let report = proven(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let recorded = answers.iter().filter(|(id, _)| reader.show(*id).is_ok()).count() as u64;
    assert!(answers.iter().all(|(id, status)| *status == 503 || reader.show(*id).is_ok()));
    assert_eq!(recorded + report.missing, answers.len() as u64, "{turned_away} were turned away; {report}");
}

#[tokio::test]
async fn a_gap_is_told_although_nothing_else_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_queue: 0, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let stack = stack(&recorder, echo_len);
    let entries = recorder.stats().entries;
    let began = std::time::Instant::now();
    assert_eq!(send(&stack, anonymous()).await.1, 503);
    until("the gap is told at once", || recorder.stats().entries == entries + 1).await;
    assert_eq!(send(&stack, anonymous()).await.1, 503);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let told = recorder.stats().entries - entries;
    // Once a second; on a busy machine it may be over.
    assert!(told == 1 || began.elapsed() >= Duration::from_secs(1), "but not with each one");
    recorder.close();
    assert_eq!(proven(dir.path()).missing, 2, "the last one is told at the stop");
    let events = Reader::open(dir.path()).unwrap().events(None, 10).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| (event.kind, event.object.as_str())).collect();
    let software = concat!("gatewayd-recorder ", env!("CARGO_PKG_VERSION"));
    assert_eq!(kinds[..4], [("stop", ""), ("gap", "1 missing"), ("gap", "1 missing"), ("start", software)]);
}
