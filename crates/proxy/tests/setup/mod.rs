//! What the tests of this crate share.
#![allow(dead_code, unreachable_pub, reason = "not every test file uses everything")]

use std::time::Duration;

use gatewayd_core::{Action, Body, Dialect, Operation, RequestId, Timestamp, Trail, UpstreamName};
use gatewayd_proxy::{Config, Proxy, UpstreamConfig, Upstreams};
use gatewayd_testkit::FakeUpstream;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// No test waits longer; on a machine with nothing else to do none waits at all.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Setup {
    upstreams: Upstreams,
}

impl Setup {
    pub fn new(upstream: &FakeUpstream) -> Self {
        Self::with(upstream, |_| {})
    }

    pub fn with(upstream: &FakeUpstream, change: impl FnOnce(&mut UpstreamConfig)) -> Self {
        Self::at(&upstream.url(), change)
    }

    pub fn at(url: &str, change: impl FnOnce(&mut UpstreamConfig)) -> Self {
        let mut config = UpstreamConfig::new("llama", url);
        change(&mut config);
        let upstreams = Upstreams::new(&Config { upstreams: vec![config] }).expect("a sound configuration");
        Self { upstreams }
    }

    pub fn fresh(&self) -> Self {
        Self { upstreams: self.upstreams.fresh().expect("built before") }
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        let answer = Proxy::new(self.upstreams.clone()).oneshot(request);
        let answer = tokio::time::timeout(LIMIT, answer).await.expect("an answer within a minute");
        answer.unwrap_or_else(|never| match never {})
    }
}

/// A request to `llama`, as the other layers leave it.
pub fn request(method: Method, path: &str) -> Request<Body> {
    with_body(method, path, Body::empty())
}

pub fn with_body(method: Method, path: &str, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a sound path");
    request.extensions_mut().insert(UpstreamName("llama".into()));
    request.extensions_mut().insert(operation(Dialect::OpenAi));
    request.extensions_mut().insert(trail());
    request
}

pub fn trail() -> Trail {
    Trail::new(RequestId::generate(), Timestamp(1), None)
}

pub fn operation(dialect: Dialect) -> Operation {
    Operation {
        dialect,
        action: Action::Infer,
        model: None,
        other_models: [].into(),
        streaming: true,
        route: "/x".into(),
    }
}

pub async fn text(body: Body) -> String {
    let collected = tokio::time::timeout(LIMIT, body.collect()).await.expect("an end within a minute");
    let bytes = collected.expect("the body is whole").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

pub async fn json(body: Body) -> serde_json::Value {
    serde_json::from_str(&text(body).await).expect("JSON")
}
