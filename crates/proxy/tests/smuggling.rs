//! Request smuggling: whatever bytes a caller sends, the upstream sees the requests that the gateway saw.
//!
//! A real server stands in front of the proxy; every connection's bytes are written raw. `/smuggled` hides in
//! each; it must never reach the upstream unless the gateway itself saw it as a request and judged it.

mod setup;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewayd_core::{Body, UpstreamName};
use gatewayd_proxy::{Config, Proxy, UpstreamConfig, Upstreams};
use gatewayd_testkit::{FakeUpstream, Reply};
use http::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// What the gateway itself took for a request: method and path.
type Judged = Arc<Mutex<Vec<String>>>;

async fn gateway(upstream: &FakeUpstream) -> (std::net::SocketAddr, Judged) {
    let config = Config { upstreams: vec![UpstreamConfig::new("llama", upstream.url())] };
    let proxy = Proxy::new(Upstreams::new(&config).expect("a sound configuration"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let judged = Judged::default();
    let theirs = Arc::clone(&judged);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (proxy, judged) = (proxy.clone(), Arc::clone(&theirs));
            tokio::spawn(async move {
                let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
                    let line = format!("{} {}", request.method(), request.uri().path());
                    judged.lock().expect("no panic").push(line);
                    request.extensions_mut().insert(UpstreamName("llama".into()));
                    let proxy = proxy.clone();
                    async move {
                        let request = request.map(Body::new);
                        Ok::<_, Infallible>(
                            proxy.oneshot(request).await.unwrap_or_else(|never| match never {}),
                        )
                    }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _the_peer_sees = server.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    (address, judged)
}

/// Says this, and waits for the end of the connection, or a third of a second.
async fn talk(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
    let _it_may_hang_up_early = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _timeout_or_end =
        tokio::time::timeout(Duration::from_millis(300), socket.read_to_end(&mut answer)).await;
}

async fn talk_to_the_end(address: std::net::SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the gateway listens");
    socket.write_all(text.as_bytes()).await.expect("the gateway reads");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut answer)).await;
    read.expect("an end within a minute").expect("an orderly end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_upstream_sees_what_the_gateway_judged() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /judged HTTP/1.1\r\nHost: x\r\n";
    let length = smuggled.len();
    let shapes = [
        format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: {length}, 0\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: +{length}\r\n\r\n{smuggled}"),
        format!("{head}Content-Length: -1\r\n\r\n{smuggled}"),
        format!("{head}Content-Length : {length}\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5;x=\"\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n{smuggled}"),
        format!(
            "{head}Transfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n0\r\nContent-Length: 9\r\n\r\n{smuggled}"
        ),
        format!("{head}Connection: content-length\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!(
            "{head}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("{head}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("{head}X-Evil: a\rContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("{head}X-Evil: a\0b\r\n\r\n{smuggled}"),
        format!("GET /judged HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("POST /judged HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST /judged HTTP/1.1 {smuggled}"),
        format!("POST /judged%0d%0aX: HTTP/1.1\r\nHost: x\r\n\r\n{smuggled}"),
        format!("CONNECT /smuggled HTTP/1.1\r\nHost: x\r\n\r\n{smuggled}"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned() + smuggled,
    ];
    for shape in shapes {
        let upstream = FakeUpstream::start(Reply::json(20));
        let (address, judged) = gateway(&upstream).await;
        talk(address, shape.as_bytes()).await;
        // What arrived was judged before, so it is looked at first.
        let seen: Vec<String> =
            upstream.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri.path())).collect();
        let judged = judged.lock().expect("no panic").clone();
        for request in &seen {
            assert!(judged.contains(request), "{shape:?}: the upstream saw {request}, we judged {judged:?}");
        }
        assert!(seen.len() <= judged.len(), "{shape:?}: {seen:?} {judged:?}");
        // Framing of what did go up is ours alone.
        for request in upstream.seen() {
            let both = request.headers.contains_key("content-length")
                && request.headers.contains_key("transfer-encoding");
            assert!(!both, "{shape:?}");
        }
    }
}

#[tokio::test]
async fn framing_stays_in_step_on_one_connection() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let (address, judged) = gateway(&upstream).await;
    let post = |body: &str| {
        format!("POST /judged HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let chunked =
        "POST /judged HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let pipelined = post("GET /smuggled HTTP/1.1\r\n\r\n") + chunked + &post("");
    let (whole, more) = pipelined.rsplit_once("Host: x").expect("three heads");
    let answer = talk_to_the_end(address, &format!("{whole}Host: x\r\nConnection: close{more}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    assert_eq!(judged.lock().expect("no panic").len(), 3);
    let bodies: Vec<_> = upstream.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["GET /smuggled HTTP/1.1\r\n\r\n", "abc", ""]);
}
