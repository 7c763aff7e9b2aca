//! How much of all bodies is kept at once, and whose.
#![allow(missing_docs, reason = "a test")]

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use gatewayd_core::{Body, Identity, IdentityKind, Room};
use gatewayd_dialects::{Config, Dialects, DialectsLayer, UpstreamRule};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tower::{Layer as _, ServiceExt as _, service_fn};

const FRAME: usize = 64 << 10;

fn caller(subject: &str) -> Identity {
    Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://id.example".into(),
        subject: subject.into(),
        name: None,
        groups: [].into(),
        expires: None,
    }
}

/// The status; the inner service reads the body to its end, and waits for `go` before it drops it.
async fn send(
    room: Room,
    subject: &'static str,
    content_type: &'static str,
    body: Body,
    go: Arc<tokio::sync::Semaphore>,
) -> u16 {
    let upstreams = vec![UpstreamRule::new("llama", &["*"])];
    let dialects = Dialects::new(&Config { upstreams, ..Config::default() }).expect("a sound configuration");
    let inner = service_fn(move |request: Request<Body>| {
        let go = Arc::clone(&go);
        async move {
            let whole = request.into_body().collect().await.expect("a whole body").to_bytes();
            let _go = go.acquire().await;
            drop(whole);
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let path = if content_type.starts_with("multipart") {
        "/v1/audio/transcriptions"
    } else {
        "/v1/chat/completions"
    };
    let mut request = Request::post(path).header("content-type", content_type).body(body).expect("a request");
    request.extensions_mut().insert(caller(subject));
    let layer = DialectsLayer::new(dialects).within(room);
    let answer = layer.layer(inner).oneshot(request).await.expect("an answer");
    if answer.status() == 429 {
        assert_eq!(answer.headers()["retry-after"], "1");
        let told = answer.into_body().collect().await.expect("a body").to_bytes();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains("too_many_requests") && told.contains("bytes"), "{told}");
        return 429;
    }
    answer.status().as_u16()
}

type Sender = tokio::sync::mpsc::UnboundedSender<Bytes>;

struct Slow(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

fn slow() -> (Sender, Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (sender, Body::new(Slow(receiver)))
}

/// Begins a JSON body of so many frames and leaves it unfinished.
async fn begin(
    room: &Room,
    subject: &'static str,
    go: &Arc<tokio::sync::Semaphore>,
) -> (Sender, JoinHandle<u16>) {
    let before = room.taken();
    let (sender, body) = slow();
    let sending = tokio::spawn(send(room.clone(), subject, "application/json", body, Arc::clone(go)));
    sender.send(Bytes::from_static(b"{\"model\":\"m\",\"input\":\"")).expect("it is read");
    for _ in 0..4 {
        sender.send(vec![b'x'; FRAME].into()).expect("it is read");
    }
    while room.taken() < before + 3 * FRAME as u64 && !sending.is_finished() {
        tokio::task::yield_now().await;
    }
    (sender, sending)
}

fn finish(sender: Sender) {
    let _it_may_be_refused = sender.send(Bytes::from_static(b"\"}"));
    drop(sender);
}

#[tokio::test]
async fn unfinished_bodies_of_one_caller_fill_a_share_and_others_have_room() {
    let room = Room::new(1 << 20, 600 << 10);
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let (first, one) = begin(&room, "alice", &go).await;
    let (second, two) = begin(&room, "alice", &go).await;
    let (_third, three) = begin(&room, "alice", &go).await;
    assert_eq!(three.await.expect("no panic"), 429, "two of hers fill her share");
    let (fourth, four) = begin(&room, "bob", &go).await;
    assert!(!four.is_finished());
    finish(first);
    finish(second);
    finish(fourth);
    while room.taken() == 0 {
        tokio::task::yield_now().await;
    }
    let (_fifth, five) = begin(&room, "alice", &go).await;
    assert_eq!(
        five.await.expect("no panic"),
        429,
        "what was read whole is kept until the inner service drops it"
    );
    go.add_permits(10);
    for whole in [one, two, four] {
        assert_eq!(whole.await.expect("no panic"), 200);
    }
    assert_eq!(room.taken(), 0);
    let (sixth, six) = begin(&room, "alice", &go).await;
    finish(sixth);
    assert_eq!(six.await.expect("no panic"), 200);
}

#[tokio::test]
async fn the_whole_is_bounded_whoever_fills_it() {
    let room = Room::new(600 << 10, 600 << 10);
    let go = Arc::new(tokio::sync::Semaphore::new(10));
    let (_first, _one) = begin(&room, "alice", &go).await;
    let (_second, _two) = begin(&room, "bob", &go).await;
    let (_third, three) = begin(&room, "carol", &go).await;
    assert_eq!(three.await.expect("no panic"), 429);
}

#[tokio::test]
async fn a_form_takes_room_for_what_is_read_ahead_only() {
    let room = Room::new(1 << 20, 1 << 20);
    let go = Arc::new(tokio::sync::Semaphore::new(10));
    let (sender, body) = slow();
    let sending = tokio::spawn(send(room.clone(), "alice", "multipart/form-data; boundary=x", body, go));
    let head = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    sender.send(Bytes::from_static(head.as_bytes())).expect("it is read");
    for _ in 0..4 {
        sender.send(vec![b'x'; FRAME].into()).expect("it is read");
    }
    while room.taken() < 3 * FRAME as u64 {
        tokio::task::yield_now().await;
    }
    let model = "\r\n--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
        --x\r\ncontent-disposition: form-data; name=\"stream\"\r\n\r\nfalse\r\n";
    sender.send(Bytes::from_static(model.as_bytes())).expect("it is read");
    while room.taken() > 0 {
        tokio::task::yield_now().await;
    }
    sender.send(Bytes::from_static(b"--x--\r\n")).expect("it is read");
    drop(sender);
    assert_eq!(sending.await.expect("no panic"), 200);
}
