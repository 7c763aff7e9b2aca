//! Injection in front of a tower service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Dialect, Operation, Refusal, RefusalCode, Trail, UpstreamName};
use http::header::{AUTHORIZATION, CONNECTION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Credentials;
use crate::credentials::Entry;

/// Headers in which a caller may have put a credential of its own.
const CALLERS: [HeaderName; 4] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// Puts a [`CredentialsService`] around a service.
#[derive(Debug, Clone)]
pub struct CredentialsLayer {
    credentials: Credentials,
}

impl CredentialsLayer {
    /// Injects from these credentials.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }
}

impl<S> Layer<S> for CredentialsLayer {
    type Service = CredentialsService<S>;

    fn layer(&self, inner: S) -> CredentialsService<S> {
        CredentialsService { inner, credentials: self.credentials.clone() }
    }
}

/// Takes every credential of the caller off a request, and puts on the one that is bound to the request's
/// upstream.
///
/// The upstream is the [`UpstreamName`] in the request's extensions, which no byte of a request can set.
/// Which version was injected is put into the extensions and onto the [`Trail`] as a
/// [`CredentialVersion`](gatewayd_core::CredentialVersion).
#[derive(Debug, Clone)]
pub struct CredentialsService<S> {
    inner: S,
    credentials: Credentials,
}

impl<S, B, R> Service<Request<B>> for CredentialsService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = CredentialsFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        let state = match inject(&self.credentials, &mut request) {
            Ok(()) => State::Inner { future: self.inner.call(request) },
            Err(refusal) => State::Refused { response: Some(refused(&request, refusal)) },
        };
        CredentialsFuture { state, _inner_body: std::marker::PhantomData }
    }
}

pin_project! {
    /// The future of a [`CredentialsService`].
    pub struct CredentialsFuture<F, R> {
        #[pin]
        state: State<F>,
        _inner_body: std::marker::PhantomData<fn() -> R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Inner { #[pin] future: F },
        Refused { response: Option<Response<Body>> },
    }
}

impl<F, R, E> Future for CredentialsFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future } => {
                Poll::Ready(ready!(future.poll(cx)).map(|response| response.map(Body::new)))
            }
            StateProjection::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled again after it is ready")))
            }
        }
    }
}

fn inject(credentials: &Credentials, request: &mut Request<Body>) -> Result<(), Refusal> {
    let Some(UpstreamName(upstream)) = request.extensions().get::<UpstreamName>() else {
        return Err(Refusal::new(RefusalCode::Misconfigured, "no upstream was chosen for this request"));
    };
    let Some(entry) = credentials.of_upstream(upstream) else {
        return Err(Refusal::new(
            RefusalCode::Misconfigured,
            "the upstream of this request has neither a credential nor the permission to do without",
        ));
    };
    strip(request.headers_mut(), entry.map(|entry| &entry.config.header));
    let Some(entry) = entry else { return Ok(()) };
    put_on(entry, request)
}

fn put_on(entry: &Entry, request: &mut Request<Body>) -> Result<(), Refusal> {
    let current = entry.current();
    let Some(version) = current.as_ref() else {
        return Err(Refusal::new(
            RefusalCode::CredentialUnavailable,
            "the credential of the upstream cannot be had at the moment: try again, or tell the operator",
        )
        .retry_after(Duration::from_secs(2)));
    };
    request.headers_mut().insert(entry.config.header.clone(), version.header.clone());
    if let Some(trail) = request.extensions().get::<Trail>() {
        trail.inject(version.id.clone());
    }
    request.extensions_mut().insert(version.id.clone());
    Ok(())
}

/// Removes the caller's own credentials, also under names that differ only in `_` for `-` (servers in the
/// tradition of CGI take the two for the same), and a `Connection` header that asks the next hop to drop
/// what is put on here.
fn strip(headers: &mut HeaderMap, injected: Option<&HeaderName>) {
    let is_ours = |name: &str| CALLERS.iter().chain(injected).any(|known| is_alike(known.as_str(), name));
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    let nominates = headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|b| *b == b',')
            .any(|token| std::str::from_utf8(token.trim_ascii()).is_ok_and(is_ours))
    });
    if nominates {
        headers.remove(CONNECTION);
    }
}

fn is_alike(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| plain(a) == plain(b))
}

fn refused(request: &Request<Body>, refusal: Refusal) -> Response<Body> {
    let dialect = match request.extensions().get::<Operation>() {
        Some(operation) => operation.dialect,
        None => Dialect::guess(request.uri(), request.headers()),
    };
    match request.extensions().get::<Trail>() {
        Some(trail) => refusal.on(trail).response(dialect),
        None => refusal.response(dialect),
    }
}
