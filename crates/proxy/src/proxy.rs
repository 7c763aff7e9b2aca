//! The end of the stack: sends the request to its upstream.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayd_core::{
    Body, BoxError, BoxFuture, Dialect, Operation, Refusal, RefusalCode, Trail, UpstreamName,
};
use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, request, response};
use http_body::Body as _;
use reqwest::Url;
use tower_service::Service;

use crate::coding;
use crate::failure::Failure;
use crate::headers;
use crate::incoming::{Form, Incoming};
use crate::location;
use crate::outgoing::outgoing;
use crate::upstreams::{Upstream, Upstreams};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service at the end of the stack: sends each request to the [`UpstreamName`] in its extensions and
/// streams the answer back.
///
/// It never fails: what goes wrong becomes an answer in the caller's dialect. Dropping its future or the
/// answer's body ends the exchange with the upstream.
#[derive(Debug, Clone)]
pub struct Proxy {
    upstreams: Upstreams,
}

impl Proxy {
    /// Sends to these upstreams.
    #[must_use]
    pub fn new(upstreams: Upstreams) -> Self {
        Self { upstreams }
    }
}

impl<B> Service<Request<B>> for Proxy
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let upstreams = self.upstreams.clone();
        let (parts, body) = request.into_parts();
        let body = Body::new(body);
        Box::pin(async move {
            let caller = Caller::of(&parts);
            let answer = forward(&upstreams, parts, body, &caller).await;
            Ok(answer.unwrap_or_else(|refusal| caller.refuse(refusal)))
        })
    }
}

/// To whom an answer goes.
struct Caller {
    dialect: Dialect,
    /// True if a stream of answers ends with `[DONE]`.
    awaits_done: bool,
    trail: Option<Trail>,
}

impl Caller {
    fn of(parts: &request::Parts) -> Self {
        let operation = parts.extensions.get::<Operation>();
        let dialect =
            operation.map_or_else(|| Dialect::guess(&parts.uri, &parts.headers), |known| known.dialect);
        let is_openai = matches!(dialect, Dialect::OpenAi | Dialect::Vllm | Dialect::LlamaCpp);
        let awaits_done = is_openai && operation.is_some_and(|known| known.route.ends_with("/completions"));
        Self { dialect, awaits_done, trail: parts.extensions.get::<Trail>().cloned() }
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        match &self.trail {
            Some(trail) => refusal.on(trail).response(self.dialect),
            None => refusal.response(self.dialect),
        }
    }

    fn fail(&self, failure: Failure) -> Refusal {
        if let (Some(trail), Some(ending)) = (&self.trail, failure.ending()) {
            trail.end(ending);
        }
        Refusal::new(failure.code(), failure.message())
    }
}

async fn forward(
    upstreams: &Upstreams,
    parts: request::Parts,
    body: Body,
    caller: &Caller,
) -> Result<Response<Body>, Refusal> {
    let name = parts.extensions.get::<UpstreamName>().cloned();
    let Some((name, upstream)) = name.and_then(|name| upstreams.get(&name).map(|found| (name, found))) else {
        return Err(Refusal::new(
            RefusalCode::Misconfigured,
            "no upstream was chosen for this request; the operator must put the dialects layer before the proxy",
        ));
    };
    let request = prepare(upstream, parts, body, caller)?;
    let sent = upstream.client.execute(request);
    let answer = match upstream.head_timeout {
        None => sent.await,
        Some(limit) => match tokio::time::timeout(limit, sent).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                tracing::warn!(upstream = %name.0, ?limit, "no answer in time");
                return Err(caller.fail(Failure::HeadTimeout));
            }
        },
    };
    let answer = answer.map_err(|error| {
        let failure = Failure::of(&error);
        let error = crate::error::in_one_line(&error.without_url());
        tracing::warn!(upstream = %name.0, %error, ?failure, "upstream failed");
        caller.fail(failure)
    })?;
    receive(upstream, answer, caller).await
}

/// Makes the upstream's request out of the caller's.
fn prepare(
    upstream: &Upstream,
    parts: request::Parts,
    body: Body,
    caller: &Caller,
) -> Result<reqwest::Request, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(
            RefusalCode::InvalidRequest,
            "tunnels are not passed on; send a plain request",
        ));
    }
    let url = target(&upstream.base, &parts.uri)?;
    let mut request = reqwest::Request::new(parts.method, url);
    let mut headers = parts.headers;
    headers::clean_request(&mut headers);
    if let Some(trail) = &caller.trail
        && let Ok(value) = HeaderValue::from_str(&trail.id().to_string())
    {
        headers.insert(X_REQUEST_ID, value);
    }
    if body.is_end_stream() && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH) {
        // Some servers wait for a body unless told that there is none (RFC 9110, 8.6).
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    *request.headers_mut() = headers;
    *request.body_mut() = Some(outgoing(body, upstream.is_http2));
    Ok(request)
}

/// The URL to ask. It must come out as it was put together: what a parser would change, such as `/../`,
/// was not what the other controls judged.
fn target(base: &Url, uri: &http::Uri) -> Result<Url, Refusal> {
    let refuse =
        || Refusal::new(RefusalCode::InvalidRequest, "the path cannot be sent on unchanged; normalise it");
    if !uri.path().starts_with('/') {
        return Err(refuse());
    }
    let mut url = base.clone();
    let prefix = base.path().trim_end_matches('/');
    if prefix.is_empty() {
        url.set_path(uri.path());
        if url.path() != uri.path() {
            return Err(refuse());
        }
    } else {
        let path = format!("{prefix}{}", uri.path());
        url.set_path(&path);
        if url.path() != path {
            return Err(refuse());
        }
    }
    url.set_query(uri.query());
    if url.query() != uri.query() {
        return Err(Refusal::new(
            RefusalCode::InvalidRequest,
            "the query cannot be sent on unchanged; percent-encode it",
        ));
    }
    Ok(url)
}

/// Makes the caller's answer out of the upstream's.
async fn receive(
    upstream: &Upstream,
    answer: reqwest::Response,
    caller: &Caller,
) -> Result<Response<Body>, Refusal> {
    let asked = location::is_named(answer.headers()).then(|| answer.url().clone());
    let (mut parts, body) = Response::<reqwest::Body>::from(answer).into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS || parts.status.is_informational() {
        return Err(caller.fail(Failure::Nonsense));
    }
    if !coding::is_transfer_plain(&parts.headers) {
        tracing::warn!("upstream answered with a transfer coding beside chunked");
        return Err(caller.fail(Failure::Packed));
    }
    parts.extensions = http::Extensions::new();
    let is_closed_to_end = is_closed_to_end(&parts);
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // Where both are given, the length is void (RFC 9112, 6.3).
        parts.headers.remove(CONTENT_LENGTH);
    }
    parts.version = Version::HTTP_11;
    headers::clean_response(&mut parts.headers);
    if let Some(asked) = asked {
        location::keep_at_gateway(&upstream.base, &asked, &mut parts.headers);
    }
    let form = Form::of(&parts.headers);
    if form != Form::Other {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let mut body = Incoming::new(body, form, upstream.idle_timeout, caller.dialect, caller.trail.clone());
    if coding::promises_text(&parts.headers) {
        body.expect_text();
    }
    if is_closed_to_end && form == Form::Events && caller.awaits_done {
        body.await_done();
    }
    body.look_ahead().await;
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// True if the end of the answer is the end of the connection, so that a crash looks like an end.
fn is_closed_to_end(parts: &response::Parts) -> bool {
    parts.version < Version::HTTP_2
        && !parts.headers.contains_key(CONTENT_LENGTH)
        && !parts.headers.contains_key(TRANSFER_ENCODING)
}
