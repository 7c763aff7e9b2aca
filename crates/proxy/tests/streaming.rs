//! Bodies stream in both directions, and whoever goes away is noticed on the other side.

mod setup;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, BoxError};
use gatewayd_testkit::{FakeUpstream, Reply, StreamEnding};
use http::Method;
use http_body::Frame;
use http_body_util::BodyExt as _;
use setup::{Setup, request, text};

/// A body whose pieces a test sends one by one.
struct Sent(tokio::sync::mpsc::Receiver<Bytes>);

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn channel_body() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    (sender, Body::new(Sent(receiver)))
}

#[tokio::test]
async fn the_first_event_arrives_before_the_last_is_sent() {
    // The last is never sent here, so nothing may wait for it.
    let upstream = FakeUpstream::start(Reply::broken_events(1, StreamEnding::Hang));
    let mut body =
        Setup::new(&upstream).send(request(Method::POST, "/v1/chat/completions")).await.into_body();
    let first = tokio::time::timeout(setup::LIMIT, body.frame()).await.expect("it does not wait");
    let first = first.expect("a frame").expect("no error").into_data().expect("data");
    assert!(first.starts_with(b"data: ") && first.ends_with(b"\n\n"));
    let upstream = FakeUpstream::start(Reply::events(3, Duration::from_millis(50)));
    let body = Setup::new(&upstream).send(request(Method::POST, "/v1/chat/completions")).await.into_body();
    assert!(text(body).await.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_request_streams_up_while_its_answer_streams_down() {
    for http2 in [false, true] {
        let upstream = FakeUpstream::start(Reply::Pipe);
        let setup = Setup::with(&upstream, |config| config.http2 = http2);
        let (sender, body) = channel_body();
        let (parts, _) = request(Method::POST, "/v1/audio").into_parts();
        sender.send("one".into()).await.expect("a fresh channel takes one");
        let mut answer = setup.send(http::Request::from_parts(parts, body)).await.into_body();
        for (piece, next) in [("one", Some("two")), ("two", Some("three")), ("three", None)] {
            let frame = answer.frame().await.expect("a frame").expect("no error");
            assert_eq!(frame.into_data().expect("data"), piece);
            if let Some(next) = next {
                sender.send(next.into()).await.expect("the upstream still reads");
            }
        }
        drop(sender);
        assert_eq!(text(answer).await, "", "nothing more comes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_ends_the_work_upstream() {
    for http2 in [false, true] {
        let pieces = vec![Bytes::from_static(b"data: 1\n\n")];
        let hang = Reply::Stream {
            content_type: "text/event-stream",
            pieces,
            delay: Duration::ZERO,
            ending: StreamEnding::Hang,
        };
        let upstream = FakeUpstream::start(hang);
        let setup = Setup::with(&upstream, |config| config.http2 = http2);
        let mut body = setup.send(request(Method::POST, "/v1/chat/completions")).await.into_body();
        assert!(body.frame().await.is_some());
        assert_eq!(upstream.cancelled(), 0);
        drop(body);
        assert!(upstream.wait_cancelled(1), "http2: {http2}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_goes_away_before_the_head_ends_the_work_too() {
    for http2 in [false, true] {
        let upstream = FakeUpstream::start(Reply::Hang);
        let setup = Setup::with(&upstream, |config| config.http2 = http2);
        let call = tokio::spawn(async move { setup.send(request(Method::POST, "/v1/responses")).await });
        assert!(upstream.wait_seen(1));
        call.abort();
        assert!(upstream.wait_cancelled(1), "http2: {http2}");
    }
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let upstream = FakeUpstream::start(Reply::json(64));
    let setup = Setup::new(&upstream);
    for _ in 0..5 {
        let answer = setup.send(request(Method::GET, "/v1/models")).await;
        assert_eq!(answer.headers()["content-length"], "64");
        assert_eq!(text(answer.into_body()).await.len(), 64);
    }
    assert_eq!(upstream.connections(), 1);
    let fresh = setup.fresh();
    text(fresh.send(request(Method::GET, "/v1/models")).await.into_body()).await;
    assert_eq!(upstream.connections(), 2, "fresh upstreams have connections of their own");
}

#[tokio::test]
async fn trailers_pass() {
    let ending = StreamEnding::Trailers(vec![("grpc-status", "0".into()), ("set-cookie", "a=1".into())]);
    let reply = Reply::Stream {
        content_type: "application/grpc",
        pieces: vec![Bytes::from_static(b"x")],
        delay: Duration::ZERO,
        ending,
    };
    let upstream = FakeUpstream::start(reply);
    let setup = Setup::with(&upstream, |config| config.http2 = true);
    let answer = setup.send(request(Method::POST, "/x")).await;
    let collected = answer.into_body().collect().await.expect("no error");
    let trailers = collected.trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "0");
    assert!(!trailers.contains_key("set-cookie"));
}

#[tokio::test]
async fn compressed_answers_are_left_as_they_are() {
    let upstream = FakeUpstream::start(Reply::gzip("application/json", "{}"));
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let bytes = answer.into_body().collect().await.expect("no error").to_bytes();
    assert!(bytes.starts_with(&[0x1f, 0x8b]));
}

#[tokio::test]
async fn a_connection_that_was_closed_while_unused_is_no_error() {
    // Each connection answers once and is closed without a word.
    let upstream = FakeUpstream::raw(&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..]);
    let setup = Setup::new(&upstream);
    for at in 0..10 {
        let answer = setup.send(request(Method::POST, "/v1/completions")).await;
        assert_eq!(text(answer.into_body()).await, "ok", "request {at}");
        assert!(upstream.wait_closed(at + 1));
        // It is known here once the runtime has looked at its sockets.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upstream.connections(), 10);
}

#[tokio::test]
async fn events_that_arrive_together_are_passed_on_together() {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let event = "data: {\"choices\":[]}\n\n";
    for _ in 0..50 {
        bytes.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    let upstream = FakeUpstream::raw(bytes);
    let mut body =
        Setup::new(&upstream).send(request(Method::POST, "/v1/chat/completions")).await.into_body();
    let mut frames = 0;
    let mut said = String::new();
    while let Some(frame) = body.frame().await {
        let data = frame.expect("no error").into_data().expect("data");
        said.push_str(std::str::from_utf8(&data).expect("text"));
        frames += 1;
    }
    assert_eq!(said, event.repeat(50));
    assert!(frames <= 5, "{frames} frames");
}
