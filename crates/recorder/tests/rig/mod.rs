//! A small stack around the recorder: who asks and what is said by headers, the leaf is a closure.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewayd_core::{
    Action, Body, Claim, CredentialVersion, Decision, Dialect, Effect, Identity, IdentityKind, Operation,
    Redact, RedactStream, Refusal, RefusalCode, RequestId, SystemClock, Trail, UpstreamName,
};
use gatewayd_recorder::{Config, Durability, IntentLayer, RecordLayer, Recorder};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

/// Replaces the word `secret`, and fails on the word `poison`.
pub struct Stars;

impl Redact for Stars {
    fn start(&self, _content_type: Option<&str>) -> Box<dyn RedactStream> {
        Box::new(StarStream(Vec::new()))
    }
}

struct StarStream(Vec<u8>);

impl RedactStream for StarStream {
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
        self.0.extend_from_slice(chunk);
        Ok(Bytes::new())
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.0)).replace("secret", "******");
        assert!(!text.contains("bomb"), "this masker panics");
        if text.contains("poison") { Err("it holds poison".into()) } else { Ok(text.into()) }
    }
}

/// Passes everything on.
pub struct Plain;

impl Redact for Plain {
    fn start(&self, _content_type: Option<&str>) -> Box<dyn RedactStream> {
        Box::new(PlainStream)
    }
}

struct PlainStream;

impl RedactStream for PlainStream {
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
        Ok(Bytes::copy_from_slice(chunk))
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        Ok(Bytes::new())
    }
}

pub type Stack = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

pub fn identity(subject: &str) -> Identity {
    Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://idp.example".into(),
        subject: subject.into(),
        name: Some("Somebody".into()),
        groups: ["ml-eng".into(), "staff".into()].into(),
        expires: None,
    }
}

/// Notes on the trail what the headers `x-as`, `x-action`, `x-claim` say; refuses on `x-refuse`.
fn establish(trail: &Trail, headers: &HeaderMap) -> Option<Refusal> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let subject = header("x-as")?;
    trail.identify(identity(subject));
    let action = header("x-action").map_or(Action::Infer, |name| Action::from_name(name).unwrap());
    trail.classify(Operation {
        dialect: Dialect::OpenAi,
        action,
        model: Some("llama".into()),
        other_models: [].into(),
        streaming: false,
        route: "/v1/chat/completions".into(),
    });
    trail.route_to(UpstreamName("up".into()));
    trail.decide(Decision {
        effect: Effect::Allow,
        rule: "ml-eng-may-infer".into(),
        policy_version: "0123456789abcdef".into(),
        approval: None,
    });
    trail.inject(CredentialVersion { credential: "llama-key".into(), version: "v1".into() });
    if let Some(id) = header("x-claim") {
        trail.claim(Claim { kind: "approval", id: id.into() });
    }
    header("x-refuse").map(|_| Refusal::new(RefusalCode::PolicyDenied, "rule `no` denies it").on(trail))
}

pub fn stack_with<F, Fut>(recorder: &Recorder, redact: Arc<dyn Redact>, leaf: F) -> Stack
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let forward = service_fn(move |request| {
        let answer = leaf(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let inner =
        BoxCloneSyncService::new(ServiceBuilder::new().layer(IntentLayer::new(recorder)).service(forward));
    let middle = service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            let trail = request.extensions().get::<Trail>().unwrap().clone();
            let refusal = establish(&trail, request.headers());
            if request.headers().contains_key("x-read") || refusal.is_some() {
                // A control that reads the body, as dialects does.
                let (parts, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                if let Some(refusal) = refusal {
                    return Ok(refusal.response(Dialect::OpenAi));
                }
                return inner.oneshot(Request::from_parts(parts, Body::full(bytes))).await;
            }
            if trail.identity().is_none() {
                let refusal = Refusal::new(RefusalCode::MissingCredentials, "sign in").on(&trail);
                return Ok(refusal.response(Dialect::OpenAi));
            }
            inner.oneshot(request).await
        }
    });
    BoxCloneSyncService::new(
        ServiceBuilder::new().layer(RecordLayer::new(recorder.clone(), redact)).service(middle),
    )
}

pub fn stack<F, Fut>(recorder: &Recorder, leaf: F) -> Stack
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    stack_with(recorder, Arc::new(Stars), leaf)
}

/// Reads the request and answers with its length.
pub async fn echo_len(request: Request<Body>) -> Response<Body> {
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    Response::new(Body::from(format!("{{\"got\":{}}}", bytes.len())))
}

pub fn config(dir: &Path) -> Config {
    Config { durability: Durability::Process, reserve_bytes: 4096, ..Config::new(dir) }
}

pub fn open(dir: &Path) -> Recorder {
    Recorder::open(config(dir), Arc::new(SystemClock)).unwrap()
}

pub fn request(subject: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/chat/completions").header("x-as", subject).body(body.into()).unwrap()
}

pub fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

pub fn id_of(response: &Response<Body>) -> RequestId {
    response.headers()["x-request-id"].to_str().unwrap().parse().unwrap()
}

pub async fn send(stack: &Stack, request: Request<Body>) -> (RequestId, u16, Bytes) {
    let response = stack.clone().oneshot(request).await.unwrap();
    let (id, status) = (id_of(&response), response.status().as_u16());
    (id, status, response.into_body().collect().await.unwrap().to_bytes())
}

/// Waits until something holds; outcomes are written after the answer is out. On a busy machine it takes its time.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A body of frames that are sent through a channel.
pub struct Channel(pub tokio::sync::mpsc::UnboundedReceiver<Result<Bytes, String>>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, String>>> {
        self.0.poll_recv(cx).map(|item| item.map(|item| item.map(http_body::Frame::data)))
    }
}

/// A stream of events.
pub fn events(body: Body) -> Response<Body> {
    let head = Response::builder().header("content-type", "text/event-stream");
    head.body(body).unwrap()
}

pub fn channel() -> (tokio::sync::mpsc::UnboundedSender<Result<Bytes, String>>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    (sender, Body::new(Channel(receiver)))
}
