//! What goes away, and what must not.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, Clock, ManualClock, Timestamp};
use gatewayd_recorder::{Config, Error, Filter, Reader, Recorder, Target};
use http::Response;
use http_body_util::BodyExt as _;
use rig::{Plain, channel, identity, open, request, send, stack, stack_with, until};
use tower::ServiceExt as _;

fn closed(reader: &Reader) -> bool {
    reader.list(&Filter::default()).unwrap().iter().all(|s| s.ending != "open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_session_is_unreadable_and_another_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    let (gone, ..) = send(&stack, request("alice", "x")).await;
    let (kept, ..) = send(&stack, request("alice", "y")).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("both outcomes", || closed(&reader)).await;
    let erased =
        recorder.erase(&Target::Session(gone), Some(&identity("dpo")), "asked by the person").unwrap();
    assert_eq!(erased, 1);
    assert!(matches!(reader.replay(gone), Err(Error::Erased(_))));
    let bundle = reader.show(gone).unwrap();
    assert!(bundle.summary.erased && !bundle.summary.altered);
    assert_eq!((bundle.summary.subject, bundle.summary.status), (None, 200));
    assert_eq!(reader.replay(kept).unwrap().response[0].bytes, b"hello");
    assert!(matches!(recorder.erase(&Target::Session(gone), None, "again"), Err(Error::Erased(_))));
    let events = reader.events(None, 1).unwrap();
    assert_eq!((events[0].kind, events[0].actor.as_str()), ("erasure", "dpo"));
    assert_eq!(events[0].issuer.as_deref(), Some("https://idp.example"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_subject_can_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    let (a, ..) = send(&stack, request("alice", "x")).await;
    let (b, ..) = send(&stack, request("bob", "x")).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("both outcomes", || closed(&reader)).await;
    assert_eq!(recorder.erase(&Target::Subject(identity("alice").key()), None, "gone").unwrap(), 1);
    assert!(matches!(reader.replay(a), Err(Error::Erased(_))));
    assert_eq!(reader.replay(b).unwrap().response[0].bytes, b"hello");
    let (again, ..) = send(&stack, request("alice", "y")).await;
    until("the outcome", || closed(&reader)).await;
    assert_eq!(reader.replay(again).unwrap().response[0].bytes, b"hello");
    assert_eq!(reader.list(&Filter { subject: Some("alice".into()), ..Filter::default() }).unwrap().len(), 1);
}

/// Neither the answer that was on its way, nor the caller's name, nor a key comes back after the erasure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_while_it_is_open_stays_erased() {
    for begun in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = open(dir.path());
        let (sender, body) = channel();
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let stack = stack(&recorder, move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async move { Response::new(body) }
        });
        let reader = Reader::open(dir.path()).unwrap();
        let response = stack.clone().oneshot(request("zebra-4711", "")).await.unwrap();
        let id = rig::id_of(&response);
        let mut body = response.into_body();
        let piece: Bytes = "of the erased one ".repeat(2000).into();
        if begun {
            sender.send(Ok(piece.clone())).unwrap();
            body.frame().await.unwrap().unwrap();
            until("its key is there", || !reader.replay(id).unwrap().response.is_empty()).await;
        }
        assert_eq!(recorder.erase(&Target::Subject(identity("zebra-4711").key()), None, "asked").unwrap(), 1);
        sender.send(Ok(piece.clone())).unwrap();
        drop(sender);
        while body.frame().await.is_some() {}
        until("the outcome", || closed(&reader)).await;
        let bundle = reader.show(id).unwrap();
        assert_eq!((bundle.summary.erased, bundle.summary.altered), (true, false));
        assert!(bundle.response_headers.is_empty() && bundle.request_headers.is_empty());
        assert!(bundle.stored_response.bytes >= piece.len() as u64, "what came after is sealed all the same");
        let database = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM session_keys"), 0, "begun: {begun}");
        assert_eq!(count("SELECT count(*) FROM subject_keys"), 0, "begun: {begun}");
        assert_eq!(count("SELECT count(*) FROM labels WHERE text LIKE '%zebra%'"), 0, "begun: {begun}");
        recorder.close();
        let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
        assert!(report.is_intact(), "{report}");
    }
}

#[tokio::test]
async fn what_is_not_there_cannot_be_held() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, rig::echo_len);
    let (id, ..) = send(&stack, request("alice", "x")).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || closed(&reader)).await;
    let mistyped = gatewayd_core::RequestId::from_bytes([7; 16]);
    let refused = recorder.hold(&Target::Session(mistyped), None, "case 7");
    assert!(matches!(refused, Err(Error::NoSession(_))), "{refused:?}");
    recorder.erase(&Target::Session(id), None, "asked").unwrap();
    let refused = recorder.hold(&Target::Session(id), None, "case 7");
    assert!(matches!(refused, Err(Error::Erased(_))), "{refused:?}");
    assert!(reader.holds().unwrap().is_empty());
}

#[tokio::test]
async fn another_root_key_opens_what_the_old_one_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    let (id, ..) = send(&stack, request("alice", "x")).await;
    assert!(matches!(
        gatewayd_recorder::rotate_root(&rig::config(dir.path()), Timestamp(1)),
        Err(Error::InUse(_))
    ));
    drop((recorder, stack));
    let old = std::fs::read(dir.path().join("root.key")).unwrap();
    assert_eq!(gatewayd_recorder::rotate_root(&rig::config(dir.path()), Timestamp(1)).unwrap(), 1);
    assert_ne!(std::fs::read(dir.path().join("root.key")).unwrap(), old);
    drop(open(dir.path()));
    assert_eq!(Reader::open(dir.path()).unwrap().replay(id).unwrap().response[0].bytes, b"hello");
    let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
    assert!(report.is_intact(), "{report}");
    // The old key opens nothing any more, and the recorder does not start with it.
    std::fs::write(dir.path().join("root.key"), old).unwrap();
    assert!(Reader::open(dir.path()).unwrap().replay(id).is_err());
    let again = Recorder::open(rig::config(dir.path()), Arc::new(gatewayd_core::SystemClock));
    assert!(matches!(again, Err(Error::BadKey { .. })), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_blocks_erasure_and_retention() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_seconds(1_700_000_000));
    let config =
        Config { keep: Some(Duration::from_secs(3600)), segment_bytes: 1, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(clock.clone())).unwrap();
    let stack = stack_with(&recorder, Arc::new(Plain), |_| async { Response::new(Body::from("hello")) });
    let reader = Reader::open(dir.path()).unwrap();
    let mut ids = Vec::new();
    for subject in ["alice", "bob", "carol", "dave"] {
        ids.push(send(&stack, request(subject, "x")).await.0);
        until("the outcome", || closed(&reader)).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let hold = recorder
        .hold(&Target::Subject(identity("alice").key()), Some(&identity("counsel")), "case 7")
        .unwrap();
    let refused = recorder.erase(&Target::Session(ids[0]), None, "no");
    assert!(matches!(refused, Err(Error::Held(n)) if n == hold), "{refused:?}");
    assert_eq!(recorder.sweep().unwrap(), 0, "nothing is old yet");
    clock.advance(Duration::from_secs(7200));
    assert_eq!(recorder.sweep().unwrap(), 2, "the held one and the newest stay");
    assert_eq!(reader.replay(ids[0]).unwrap().response[0].bytes, b"hello");
    assert!(matches!(reader.replay(ids[1]), Err(Error::Erased(_))));
    assert_eq!(reader.show(ids[1]).unwrap().summary.subject.as_deref(), Some("bob"), "the words stay");
    let shown = || Reader::open(dir.path()).unwrap().holds().unwrap().remove(0);
    assert_eq!((shown().number, shown().by.as_str(), shown().reason.as_str()), (hold, "counsel", "case 7"));
    assert_eq!(
        (shown().subject, shown().session, shown().released),
        (Some(identity("alice").key()), None, None)
    );
    recorder.release(hold, None, "case closed").unwrap();
    assert!(shown().released.is_some());
    assert!(recorder.release(hold, None, "twice").is_err());
    assert_eq!(recorder.sweep().unwrap(), 1);
    assert!(matches!(reader.replay(ids[0]), Err(Error::Erased(_))));
}

#[tokio::test]
async fn a_hold_covers_what_ended_this_very_moment() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { keep_bytes: Some(0), segment_bytes: 1, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(gatewayd_core::SystemClock)).unwrap();
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack_with(&recorder, Arc::new(Plain), move |_| {
        let (sender, body) = rig::channel();
        senders.send(sender).unwrap();
        async { Response::new(body) }
    });
    recorder.hold(&Target::Subject(identity("alice").key()), None, "case 8").unwrap();
    let response = tower::ServiceExt::oneshot(stack, request("alice", "x")).await.unwrap();
    let (id, sender) = (rig::id_of(&response), bodies.recv().await.unwrap());
    let mut body = response.into_body();
    let reader = Reader::open(dir.path()).unwrap();
    for n in 1..=2 {
        sender.send(Ok("data: 1\n\n".into())).unwrap();
        http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        // Each in a segment of its own.
        until("it is written", || reader.replay(id).is_ok_and(|replay| replay.response.len() == n)).await;
    }
    drop(sender);
    assert!(http_body_util::BodyExt::frame(&mut body).await.is_none());
    // The outcome is on its way to the log while the sweep looks what is held.
    recorder.sweep().unwrap();
    until("the outcome", || closed(&reader)).await;
    recorder.sweep().unwrap();
    assert_eq!(reader.replay(id).unwrap().response.len(), 2);
    recorder.close();
    let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
    assert!(report.is_intact(), "{report}");
}

#[tokio::test]
async fn the_oldest_go_when_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { keep_bytes: Some(1500), segment_bytes: 1, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(gatewayd_core::SystemClock)).unwrap();
    let stack = stack_with(&recorder, Arc::new(Plain), |_| async { Response::new(Body::from("hello")) });
    let reader = Reader::open(dir.path()).unwrap();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(send(&stack, request("alice", "x".repeat(120))).await.0);
        until("the outcome", || closed(&reader)).await;
    }
    let oldest = dir.path().join("segments/0000000001.seg");
    let bytes = std::fs::read(&oldest).unwrap();
    assert!(recorder.sweep().unwrap() > 0);
    assert!(matches!(reader.replay(ids[0]), Err(Error::Erased(_))));
    assert!(!oldest.exists());
    std::fs::write(&oldest, bytes).unwrap();
    recorder.sweep().unwrap();
    assert!(!oldest.exists(), "as if it could not be removed the first time");
    assert_eq!(reader.replay(ids[9]).unwrap().response[0].bytes, b"hello");
    let left: u64 = std::fs::read_dir(dir.path().join("segments"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(left < 1500 + 1000, "{left} bytes are left");
    recorder.close();
    let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
    assert!(report.is_intact(), "{report}");
}

/// A clock that somebody sets.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

const DAY: i64 = 24 * 3600 * 1_000_000;

#[tokio::test]
async fn a_clock_that_jumps_ahead_drops_nothing_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Set(AtomicI64::new(20_000 * DAY)));
    let keep = Some(Duration::from_secs(30 * 24 * 3600));
    let config = Config { keep, segment_bytes: 1, ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, clock.clone()).unwrap();
    let stack = stack_with(&recorder, Arc::new(Plain), |_| async { Response::new(Body::from("hello")) });
    let reader = Reader::open(dir.path()).unwrap();
    let mut ids = Vec::new();
    // Each in a segment of its own, which is closed when the next begins.
    let day = async |days: i64| {
        clock.0.fetch_add(days * DAY, Ordering::SeqCst);
        let id = send(&stack, request("alice", "x")).await.0;
        until("the outcome", || closed(&reader)).await;
        id
    };
    for _ in 0..10 {
        ids.push(day(2).await);
    }
    let jump = 3650 * DAY;
    clock.0.fetch_add(jump, Ordering::SeqCst);
    assert_eq!(recorder.sweep().unwrap(), 0, "the oldest is 18 days old, whatever the clock says");
    // The clock is put right; meanwhile one segment ended in what is not even the future.
    ids.push(day(0).await);
    clock.0.fetch_sub(jump, Ordering::SeqCst);
    ids.push(day(2).await);
    assert_eq!(recorder.sweep().unwrap(), 0);
    // All go when it is time, that one too.
    for _ in 0..6 {
        day(6).await;
        recorder.sweep().unwrap();
    }
    for id in &ids[..11] {
        assert!(matches!(reader.replay(*id), Err(Error::Erased(_))), "{id}");
    }
    recorder.close();
    let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
    assert!(report.is_intact(), "{report}");
}
