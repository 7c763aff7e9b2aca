//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "not every test file uses everything")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Operation, RequestId, Timestamp, Trail, UpstreamName};
use gatewayd_dialects::{Config, Dialects, DialectsLayer, Limits, UpstreamRule};
use http::{HeaderMap, Request, Response, Uri};
use http_body::Frame;
use http_body_util::{BodyExt as _, Collected};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// What the inner service got.
#[derive(Debug, Clone)]
pub struct Got {
    pub operation: Operation,
    pub upstream: UpstreamName,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// True if the body was at hand as a whole.
    pub was_full: bool,
    /// The body, or the text of its error.
    pub body: Result<Bytes, String>,
}

pub struct Setup {
    dialects: Dialects,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Setup {
    pub fn new() -> Self {
        Self::with(&Config { upstreams: vec![UpstreamRule::new("llama", &["*"])], ..Config::default() })
    }

    pub fn limited(limits: Limits) -> Self {
        let upstreams = vec![UpstreamRule::new("llama", &["*"])];
        Self::with(&Config { upstreams, limits, ..Config::default() })
    }

    pub fn with(config: &Config) -> Self {
        Self { dialects: Dialects::new(config).expect("a sound configuration"), got: Arc::default() }
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        let got = Arc::clone(&self.got);
        let inner = service_fn(move |request: Request<Body>| {
            let got = Arc::clone(&got);
            async move {
                let (parts, body) = request.into_parts();
                let was_full = body.as_full().is_some();
                let body = body.collect().await.map(Collected::to_bytes).map_err(|error| error.to_string());
                let status = if body.is_ok() { 200 } else { 502 };
                let fact = Got {
                    operation: parts.extensions.get::<Operation>().expect("established").clone(),
                    upstream: parts.extensions.get::<UpstreamName>().expect("established").clone(),
                    uri: parts.uri,
                    headers: parts.headers,
                    was_full,
                    body,
                };
                got.lock().expect("no test panics while it notes").push(fact);
                let mut response = Response::new(Body::full("answer"));
                *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
                Ok::<_, Infallible>(response)
            }
        });
        let service = DialectsLayer::new(self.dialects.clone()).layer(inner);
        service.oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no test panics while it notes").clone()
    }

    /// What the inner service got, if it was called once.
    pub fn one(&self) -> Got {
        let mut got = self.got();
        assert_eq!(got.len(), 1);
        got.remove(0)
    }
}

pub fn trail() -> Trail {
    Trail::new(RequestId::generate(), Timestamp(1), None)
}

pub fn request(method: &str, uri: &str, body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri).extension(trail());
    builder.body(body.into()).expect("a sound request")
}

pub fn trail_of(request: &Request<Body>) -> Trail {
    request.extensions().get::<Trail>().expect("a trail").clone()
}

pub async fn json(response: Response<Body>) -> serde_json::Value {
    let bytes = response.into_body().collect().await.expect("no error").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A body that comes in these pieces, and then ends, breaks or hangs.
pub struct Pieces {
    pieces: Vec<Bytes>,
    end: End,
}

#[derive(Clone, Copy)]
pub enum End {
    Ends,
    Breaks,
    Hangs,
}

pub fn pieces(pieces: &[&[u8]], end: End) -> Body {
    let pieces = pieces.iter().rev().map(|piece| Bytes::copy_from_slice(piece)).collect();
    Body::new(Pieces { pieces, end })
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match (self.pieces.pop(), self.end) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, End::Ends) => Poll::Ready(None),
            (None, End::Breaks) => Poll::Ready(Some(Err("connection reset: secret".into()))),
            (None, End::Hangs) => Poll::Pending,
        }
    }
}
