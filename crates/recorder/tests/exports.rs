//! What an export says of a session is true, and what reads such files takes it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{Body, Clock as _, RequestId, SystemClock};
use gatewayd_recorder::export::{Format, export};
use gatewayd_recorder::{Config, Reader, Recorder};
use http::{Request, Response};
use rig::{Plain, Stars, open, request, send, stack, stack_with, until, with};
use serde_json::Value;

fn har(reader: &Reader, id: RequestId) -> Value {
    let text = export(&reader.show(id).unwrap(), &reader.replay(id).unwrap(), Format::Har);
    serde_json::from_str::<Value>(&text).unwrap()["log"]["entries"][0].take()
}

async fn ended(reader: &Reader, id: RequestId) {
    until("the outcome", || reader.show(id).is_ok_and(|bundle| bundle.summary.ending != "open")).await;
}

#[tokio::test]
async fn the_address_in_an_archive_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack_with(&recorder, Arc::new(Stars), rig::echo_len);
    let reader = Reader::open(dir.path()).unwrap();
    for (host, path, wanted) in [
        (
            "models.example:8443",
            "/v1/x?a=b%20c&k=%73ecret",
            "http://models.example:8443/v1/x?a=b%20c&k=******",
        ),
        ("[::1]:8080", "/v1/x?a=%5b%73ecret%5d%23", "http://[::1]:8080/v1/x?a=%5B******%5D%23"),
        ("a@b/c?", "/v1/x?100%&%zz", "http://unknown.invalid/v1/x?100%25&%25zz"),
    ] {
        let asked =
            Request::post(path).header("x-as", "alice").header("host", host).body(Body::from("x")).unwrap();
        let (id, ..) = send(&stack, asked).await;
        ended(&reader, id).await;
        assert_eq!(har(&reader, id)["request"]["url"], wanted);
    }
}

/// A request that waited for people began when it arrived, not when they agreed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_began_when_it_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, rig::echo_len);
    let reader = Reader::open(dir.path()).unwrap();
    for header in ["x-read", "x-refuse"] {
        let (sender, body) = rig::channel();
        let before = SystemClock.now();
        let asked = with(request("alice", body), header, "yes");
        let sending = tokio::spawn({
            let stack = stack.clone();
            async move { send(&stack, asked).await }
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
        let all_there = SystemClock.now();
        drop(sender);
        let (id, ..) = sending.await.unwrap();
        ended(&reader, id).await;
        let arrived = reader.show(id).unwrap().arrived();
        assert!((before..all_there).contains(&arrived), "{header}: {before:?} {arrived:?} {all_there:?}");
        let told: jiff::Timestamp = har(&reader, id)["startedDateTime"].as_str().unwrap().parse().unwrap();
        assert!((told.as_microsecond() - arrived.0).abs() < 1000, "{header}");
    }
}

#[tokio::test]
async fn what_is_not_in_the_recording_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_body: 100, segment_bytes: 1, keep_bytes: Some(0), ..rig::config(dir.path()) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let cut =
        stack_with(&recorder, Arc::new(Plain), |_| async { Response::new(Body::from("y".repeat(300))) });
    let (id, ..) = send(&cut, request("alice", "x".repeat(200))).await;
    ended(&reader, id).await;
    let (bundle, replay) = (reader.show(id).unwrap(), reader.replay(id).unwrap());
    assert_eq!(bundle.missing.len(), 2, "{:?}", bundle.missing);
    assert!(
        bundle.missing[0].contains("request")
            && bundle.missing[0].contains("100 bytes are stored, 200 passed")
    );
    assert!(
        bundle.missing[1].contains("answer")
            && bundle.missing[1].contains("100 bytes are stored, 300 passed")
    );
    assert_eq!(bundle.missing, replay.missing);
    for format in Format::ALL {
        let text = export(&bundle, &replay, format);
        assert!(bundle.missing.iter().all(|what| text.contains(what)), "{}: {text}", format.as_str());
    }

    let (poisoned, ..) = send(&stack(&recorder, rig::echo_len), request("alice", "poison")).await;
    ended(&reader, poisoned).await;
    let missing = reader.show(poisoned).unwrap().missing;
    assert!(missing.len() == 1 && missing[0].contains("could not be masked"), "{missing:?}");

    // Another segment is begun, and the ones before are dropped.
    send(&cut, request("alice", "x")).await;
    until("they are dropped", || recorder.sweep().unwrap() > 0 || reader.show(id).unwrap().missing.len() > 2)
        .await;
    let missing = reader.show(id).unwrap().missing;
    assert!(missing.iter().any(|what| what.contains("retention dropped segment")), "{missing:?}");
}
