//! Bodies of requests that wait for somebody before their intent is made: they are sealed as they come.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::sync::Arc;

use bytes::Bytes;
use gatewayd_recorder::{Filter, Reader, Recorder, Target};
use http::{Request, Response};
use rig::{Plain, channel, echo_len, identity, open, request, stack_with, until, with};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

const FRAME: usize = 64 << 10;
const FRAMES: usize = 64;

/// A frame that does not shrink, and no two are alike.
fn frame(seed: usize) -> Bytes {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..FRAME).map(|_| next()).collect::<Vec<u8>>().into()
}

type Sending = (UnboundedSender<Result<Bytes, String>>, JoinHandle<Response<gatewayd_core::Body>>);

/// A request of which all but the end has arrived; the layer inside reads it whole before it goes on.
async fn almost_whole(recorder: &Recorder, header: Option<(&'static str, &str)>) -> Sending {
    let stack = stack_with(recorder, Arc::new(Plain), echo_len);
    let (sender, body) = channel();
    let mut asked: Request<_> = with(request("alice", body), "x-read", "yes");
    if let Some((name, value)) = header {
        asked = with(asked, name, value);
    }
    let answer = tokio::spawn(async move { stack.oneshot(asked).await.unwrap() });
    for n in 0..FRAMES {
        sender.send(Ok(frame(n))).unwrap();
    }
    // The newest frame or two wait for their like.
    let most = ((FRAMES - 3) * FRAME) as u64;
    until("the body is sealed while it comes", || recorder.stats().sealed_bytes >= most).await;
    (sender, answer)
}

fn sent() -> Vec<u8> {
    (0..FRAMES).flat_map(frame).collect()
}

fn replayed(reader: &Reader, id: gatewayd_core::RequestId) -> Vec<u8> {
    reader.replay(id).unwrap().request.iter().flat_map(|frame| frame.bytes.clone()).collect()
}

fn ended(reader: &Reader) -> bool {
    let list = reader.list(&Filter::default()).unwrap();
    !list.is_empty() && list.iter().all(|session| session.ending != "open")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_sealed_before_its_intent_and_is_whole_in_the_record() {
    for header in [None, Some(("x-action", "train")), Some(("x-refuse", "yes"))] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = open(dir.path());
        let (sender, answer) = almost_whole(&recorder, header).await;
        drop(sender);
        let answer = answer.await.unwrap();
        let id = rig::id_of(&answer);
        drop(answer);
        let reader = Reader::open(dir.path()).unwrap();
        until("the end", || ended(&reader)).await;
        assert!(replayed(&reader, id) == sent(), "{header:?}");
        recorder.close();
        let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
        assert!(report.is_intact(), "{header:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_leaves_meanwhile_leaves_what_came() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let (_sender, answer) = almost_whole(&recorder, None).await;
    answer.abort();
    let reader = Reader::open(dir.path()).unwrap();
    until("the end", || ended(&reader)).await;
    let listed = reader.list(&Filter::default()).unwrap();
    assert_eq!(listed[0].ending, "client-gone");
    assert!(sent().starts_with(&replayed(&reader, listed[0].id)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_meanwhile_is_not_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let (sender, answer) = almost_whole(&recorder, None).await;
    recorder.erase(&Target::Subject(identity("alice").key()), None, "asked").unwrap();
    drop(sender);
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    let id = rig::id_of(&answer);
    drop(answer);
    let reader = Reader::open(dir.path()).unwrap();
    until("the end", || ended(&reader)).await;
    let bundle = reader.show(id).unwrap();
    assert!(!bundle.summary.altered, "{bundle:?}");
    assert!(reader.replay(id).is_err() || replayed(&reader, id).is_empty());
    recorder.close();
    let report = gatewayd_recorder::verify::verify(dir.path(), &Default::default()).unwrap();
    assert!(report.is_intact(), "{report:?}");
}
