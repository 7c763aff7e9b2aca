//! A flood of requests that nobody sent who is known.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewayd_core::{Body, Dialect, Refusal, RefusalCode, Trail};
use gatewayd_recorder::{Filter, Reader, RecordLayer};
use http::Request;
use rig::{Plain, Stack, identity, open, send};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, service_fn};

/// Refuses everybody; those with `x-as` after it is known who they are.
fn stack(recorder: &gatewayd_recorder::Recorder, asked: Arc<AtomicUsize>) -> Stack {
    let refuse = service_fn(|request: Request<Body>| async move {
        let trail = request.extensions().get::<Trail>().unwrap();
        if let Some(subject) = request.headers().get("x-as") {
            trail.identify(identity(subject.to_str().unwrap()));
        }
        Ok::<_, Infallible>(Refusal::new(RefusalCode::InvalidToken, "no").on(trail).response(Dialect::OpenAi))
    });
    let layer = RecordLayer::new(recorder.clone(), Arc::new(Plain))
        .strangers(move |_| asked.fetch_add(1, Ordering::SeqCst) < 2);
    BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(refuse))
}

#[tokio::test]
async fn those_that_the_hook_leaves_out_have_no_entry_and_get_the_same_answer() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let asked = Arc::new(AtomicUsize::new(0));
    let stack = stack(&recorder, Arc::clone(&asked));
    let long = format!("/v1/{}", "x".repeat(3000));
    for n in 0..10 {
        let (_, status, body) = send(&stack, Request::get(&long).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 401, "{n}");
        assert!(String::from_utf8_lossy(&body).contains("invalid_token"));
    }
    let known = Request::get(&long).header("x-as", "alice").body(Body::empty()).unwrap();
    send(&stack, known).await;
    assert_eq!(asked.load(Ordering::SeqCst), 10, "nobody is asked about those who are known");
    let listed = Reader::open(dir.path()).unwrap().list(&Filter::default()).unwrap();
    let lengths: Vec<_> = listed.iter().map(|session| session.path.len()).collect();
    assert_eq!(lengths, [3004, 512, 512], "newest first; a stranger's words are cut");
}
