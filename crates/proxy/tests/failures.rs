//! Upstreams that fail, in every way: a clear error in the caller's dialect, and nothing leaked.

mod setup;

use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Dialect, Ending, Operation, RefusalCode, Trail};
use gatewayd_proxy::{Config, ConfigError, UpstreamConfig, Upstreams};
use gatewayd_testkit::{FakeUpstream, Reply, StreamEnding};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use setup::{Setup, json, operation, request, text, with_body};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn trail_of(request: &Request<Body>) -> Trail {
    request.extensions().get::<Trail>().expect("a trail").clone()
}

#[tokio::test]
async fn an_upstream_that_is_not_there() {
    // A port that is taken, so that nobody else gets it, and on which nobody listens.
    let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
    silent.bind("127.0.0.1:0".parse().expect("an address")).expect("loopback");
    let port = silent.local_addr().expect("bound").port();
    let sent = request(Method::POST, "/v1/chat/completions");
    let trail = trail_of(&sent);
    let answer = Setup::at(&format!("http://127.0.0.1:{port}"), |_| {}).send(sent).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    let body = json(answer.into_body()).await;
    assert_eq!(body["error"]["code"], "upstream_unavailable");
    assert_eq!(body["error"]["request_id"], trail.id().to_string());
    assert!(!body.to_string().contains("127.0.0.1"), "{body}");
    assert_eq!(trail.refusal(), Some(RefusalCode::UpstreamUnavailable));
}

#[tokio::test]
async fn an_upstream_that_talks_nonsense() {
    for (bytes, status, code) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], 502, "upstream_invalid"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", 502, "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 502, "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello", 502, "upstream_invalid"),
        (b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", 502, "upstream_invalid"),
        (b"HTTP/1.1 9999 OK\r\n\r\n", 502, "upstream_invalid"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            502,
            "upstream_invalid",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Le", 502, "upstream_unavailable"),
        (b"", 502, "upstream_unavailable"),
    ] {
        let upstream = FakeUpstream::raw(bytes);
        let sent = request(Method::POST, "/v1/chat/completions");
        let trail = trail_of(&sent);
        let answer = Setup::new(&upstream).send(sent).await;
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(answer.status().as_u16(), status, "{shown}");
        assert_eq!(json(answer.into_body()).await["error"]["code"], code, "{shown}");
        assert_eq!(trail.ending(), Some(Ending::UpstreamCut), "{shown}");
    }
}

#[tokio::test]
async fn a_head_without_end() {
    let mut bytes = b"HTTP/1.1 200 OK\r\n".to_vec();
    for at in 0..101 {
        bytes.extend_from_slice(format!("x-{at}: 1\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    let upstream = FakeUpstream::raw(bytes);
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    assert_eq!(json(answer.into_body()).await["error"]["code"], "upstream_invalid");
    let mut bytes = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    bytes.resize(2_000_000, b'a');
    let upstream = FakeUpstream::raw(bytes);
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_body_shorter_than_promised_is_broken_off() {
    let upstream = FakeUpstream::raw(&b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"[..]);
    let sent = request(Method::GET, "/v1/models");
    let trail = trail_of(&sent);
    let answer = Setup::new(&upstream).send(sent).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let error = answer.into_body().collect().await.expect_err("it is not whole");
    assert!(error.to_string().contains("broke off"), "{error}");
    assert_eq!(trail.ending(), Some(Ending::UpstreamCut));
}

#[tokio::test]
async fn a_stream_that_is_cut_says_so_in_the_dialect() {
    let lines = |ending| Reply::Stream {
        content_type: "application/x-ndjson",
        pieces: vec![Bytes::from_static(b"{\"done\":false}\n{\"do")],
        delay: Duration::ZERO,
        ending,
    };
    let in_line = |ending| Reply::Stream {
        content_type: "text/event-stream; charset=utf-8",
        pieces: vec![Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"b")],
        delay: Duration::ZERO,
        ending,
    };
    let events = |ending| Reply::broken_events(2, ending);
    type Make<'m> = &'m dyn Fn(StreamEnding) -> Reply;
    let cases: [(Make<'_>, Dialect, &str); 5] = [
        (&events, Dialect::OpenAi, "\n\ndata: {\"error\":{"),
        (&events, Dialect::Anthropic, "\n\nevent: error\ndata: {"),
        (&in_line, Dialect::OpenAi, "data: {\"b\n\ndata: {\"error\":{"),
        (&lines, Dialect::Ollama, "{\"do\n{"),
        (&lines, Dialect::OpenAi, "{\"do\n{\"error\":{"),
    ];
    for http2 in [false, true] {
        for (make, dialect, wanted) in &cases {
            let upstream = FakeUpstream::start(make(StreamEnding::Cut));
            let mut sent = request(Method::POST, "/v1/chat/completions");
            sent.extensions_mut().insert(operation(*dialect));
            let trail = trail_of(&sent);
            let answer = Setup::with(&upstream, |config| config.http2 = http2).send(sent).await;
            assert_eq!(answer.status(), StatusCode::OK);
            let said = text(answer.into_body()).await;
            assert!(said.contains(wanted), "{dialect:?} http2 {http2}: {said:?} lacks {wanted:?}");
            let last = said.trim_end().rsplit('\n').next().unwrap_or_default();
            let error = last.strip_prefix("data: ").unwrap_or(last);
            let error: serde_json::Value = serde_json::from_str(error).expect("the last line is an error");
            assert!(error.to_string().contains("upstream_unavailable"), "{error}");
            assert!(error.to_string().contains(&trail.id().to_string()), "{error}");
            assert_eq!(trail.ending(), Some(Ending::UpstreamCut));
        }
    }
}

#[tokio::test]
async fn a_crash_that_looks_like_an_end_is_told_from_one() {
    // Without a length or chunks, as HTTP/1.0 servers stream, a crash looks like the end.
    let head = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let event = "data: {\"choices\":[]}\n\n";
    for (end, is_whole) in [
        ("data: [DONE]\n\n", true),
        ("data: [DONE]\r\n\r\n", true),
        ("data: [DONE]", true),
        ("data:[DONE]\n\n", true),
        ("data: [DO", false),
        ("data: {\"text\":\"data: [DONE]\"}\n\n", false),
        ("", false),
    ] {
        let upstream = FakeUpstream::raw(format!("{head}{event}{end}"));
        let mut sent = request(Method::POST, "/v1/chat/completions");
        sent.extensions_mut()
            .insert(Operation { route: "/v1/chat/completions".into(), ..operation(Dialect::OpenAi) });
        let trail = trail_of(&sent);
        let said = text(Setup::new(&upstream).send(sent).await.into_body()).await;
        assert!(said.starts_with(&format!("{event}{end}")), "{said:?}");
        assert_eq!(said.contains("upstream_unavailable"), !is_whole, "{said:?}");
        assert_eq!(trail.ending().is_none(), is_whole, "{end:?}");
    }
}

#[tokio::test]
async fn a_slow_model_is_not_an_error_unless_a_limit_says_so() {
    let slow = Reply::After(Duration::from_millis(400), Box::new(Reply::json(20)));
    let upstream = FakeUpstream::start(slow);
    let answer = Setup::new(&upstream).send(request(Method::POST, "/v1/completions")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let upstream = FakeUpstream::start(Reply::Hang);
    let limited = Setup::with(&upstream, |config| config.head_timeout = Some(Duration::from_millis(100)));
    let sent = request(Method::POST, "/v1/completions");
    let trail = trail_of(&sent);
    let answer = limited.send(sent).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json(answer.into_body()).await["error"]["code"], "upstream_timeout");
    assert_eq!(trail.ending(), Some(Ending::Limit));
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the proxy connects");
        // An answer before the request would be an error of its own.
        let _asked = std::io::Read::read(&mut stream, &mut [0; 1024]).expect("a request");
        let many = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        // Until nobody takes them any more.
        while std::io::Write::write_all(&mut stream, &many).is_ok() {}
    });
    let limited = Setup::at(&format!("http://127.0.0.1:{port}"), |config| {
        config.head_timeout = Some(Duration::from_millis(200));
    });
    let answer = limited.send(request(Method::POST, "/v1/completions")).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let is_over = tokio::task::spawn_blocking(|| upstream.join());
    tokio::time::timeout(setup::LIMIT, is_over)
        .await
        .expect("its connection is closed")
        .expect("joined")
        .expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_within_an_answer_is_limited_where_configured() {
    let upstream = FakeUpstream::start(Reply::broken_events(1, StreamEnding::Hang));
    let setup = Setup::with(&upstream, |config| config.idle_timeout = Some(Duration::from_millis(150)));
    let sent = request(Method::POST, "/v1/chat/completions");
    let trail = trail_of(&sent);
    let started = Instant::now();
    let said = text(setup.send(sent).await.into_body()).await;
    assert!(started.elapsed() > Duration::from_millis(140));
    assert!(said.contains("t0 ") && said.contains("\"code\":\"upstream_timeout\""), "{said}");
    assert_eq!(trail.ending(), Some(Ending::Limit));
    assert!(upstream.wait_cancelled(1), "the upstream is told to stop");
    // It is told at once, not when the caller has taken the last words.
    let mut body = setup.send(request(Method::POST, "/v1/chat/completions")).await.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("no error").into_data().expect("data");
        if frame.windows(16).any(|window| window == b"upstream_timeout") {
            break;
        }
    }
    assert!(upstream.wait_cancelled(2));
    drop(body);
    // Pieces that keep coming are no silence, however long it takes in all.
    let upstream = FakeUpstream::start(Reply::events(8, Duration::from_millis(300)));
    let setup = Setup::with(&upstream, |config| config.idle_timeout = Some(Duration::from_secs(2)));
    let said = text(setup.send(request(Method::POST, "/v1/chat/completions")).await.into_body()).await;
    assert!(said.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_is_limited() {
    // A plain listener that never shakes hands.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
    let setup = Setup::at(&url, |config| config.connect_timeout = Duration::from_millis(200));
    let answer = setup.send(request(Method::GET, "/v1/models")).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json(answer.into_body()).await["error"]["code"], "upstream_timeout");
}

#[tokio::test]
async fn a_request_that_breaks_off_is_the_callers_fault() {
    struct Broken(bool);
    impl http_body::Body for Broken {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            let first = !std::mem::replace(&mut self.0, true);
            let frame =
                if first { Ok(http_body::Frame::data("begun".into())) } else { Err("secret cause".into()) };
            std::task::Poll::Ready(Some(frame))
        }
    }
    let upstream = FakeUpstream::start(Reply::Echo);
    let sent = with_body(Method::POST, "/v1/files", Body::new(Broken(false)));
    let answer = Setup::new(&upstream).send(sent).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body = json(answer.into_body()).await;
    assert_eq!(body["error"]["code"], "invalid_request");
    assert!(!body.to_string().contains("secret"));
    assert!(upstream.seen().is_empty(), "half a request is no request");
}

#[tokio::test]
async fn a_void_length_is_not_passed_on() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n";
    let upstream = FakeUpstream::raw(&bytes[..]);
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    if answer.status() == StatusCode::OK {
        assert!(!answer.headers().contains_key("content-length"), "{:?}", answer.headers());
        assert_eq!(text(answer.into_body()).await, "0123456789");
    } else {
        assert_eq!(json(answer.into_body()).await["error"]["code"], "upstream_invalid");
    }
}

#[tokio::test]
async fn an_upstream_that_refuses_before_it_has_read_the_body_is_heard() {
    // It reads a little of the upload, answers, and reads no more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut some = [0; 4096];
        let _read = socket.read(&mut some).await;
        let answer =
            b"HTTP/1.1 413 Too Large\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        socket.write_all(answer).await.expect("the gateway reads");
        // Held open: closing it now would reset what was said.
        tokio::time::sleep(setup::LIMIT).await;
    });
    let large = Body::new(http_body_util::Full::new(Bytes::from(vec![b'x'; 20_000_000])));
    let answer = Setup::at(&url, |_| {}).send(with_body(Method::POST, "/v1/files", large)).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(answer.into_body()).await, "{}");
}

#[test]
fn a_configuration_is_refused_with_its_reason() {
    let new = |change: &dyn Fn(&mut UpstreamConfig)| {
        let mut config = UpstreamConfig::new("llama", "https://localhost");
        change(&mut config);
        Upstreams::new(&Config { upstreams: vec![config] }).expect_err("it is not sound")
    };
    for url in [
        "localhost:80",
        "ftp://h",
        "http://user:hunter2@h",
        "http://:hunter2@h",
        "http://h?key=hunter2",
        "http://h#hunter2",
        "http://",
        "",
    ] {
        let error = new(&|config| config.url = url.to_owned());
        assert!(matches!(error, ConfigError::BadUrl { .. }), "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = new(&|config| config.ca = Some("/nowhere/ca.pem".into()));
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    let two = Config {
        upstreams: vec![UpstreamConfig::new("a", "http://h"), UpstreamConfig::new("a", "http://h")],
    };
    assert!(matches!(Upstreams::new(&two), Err(ConfigError::DuplicateName(_))));
}
