//! Authentication in front of a tower service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, BoxFuture, Dialect, Identity, Operation, Refusal, Trail};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::authn::Checked;
use crate::{Authn, Presented, presented};

/// Puts an [`AuthnService`] around a service.
#[derive(Debug, Clone)]
pub struct AuthnLayer {
    authn: Authn,
}

impl AuthnLayer {
    /// Authenticates with this handle.
    #[must_use]
    pub fn new(authn: Authn) -> Self {
        Self { authn }
    }
}

impl<S> Layer<S> for AuthnLayer {
    type Service = AuthnService<S>;

    fn layer(&self, inner: S) -> AuthnService<S> {
        AuthnService { inner, authn: self.authn.clone() }
    }
}

/// Lets a request through only with an [`Identity`], which it puts into the request's extensions and
/// onto its [`Trail`]; takes the caller's credential off the request, and leaves it in the extensions as
/// [`Presented`], which can be judged again and not be read.
#[derive(Debug, Clone)]
pub struct AuthnService<S> {
    inner: S,
    authn: Authn,
}

impl<S, B, R> Service<Request<B>> for AuthnService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = AuthnFuture<S::Future, R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(Body::new);
        let checked = self.authn.check(request.headers());
        // The instance that was polled ready does the work; its clone waits for the next request.
        let spare = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, spare);
        let state = match checked {
            Checked::Now(Ok(identity)) => State::Inner { future: inner.call(admitted(request, identity)) },
            Checked::Now(Err(refusal)) => State::Refused { response: Some(refused(&request, refusal)) },
            Checked::Later(outcome) => State::Waiting {
                future: Box::pin(async move {
                    match outcome.await {
                        Ok(identity) => inner.call(admitted(request, identity)).await,
                        Err(refusal) => return Ok(refused(&request, refusal)),
                    }
                    .map(|response| response.map(Body::new))
                }),
            },
        };
        AuthnFuture { state, _inner_body: std::marker::PhantomData }
    }
}

pin_project! {
    /// The future of an [`AuthnService`].
    pub struct AuthnFuture<F, R, E> {
        #[pin]
        state: State<F, E>,
        _inner_body: std::marker::PhantomData<fn() -> R>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, E> {
        Inner { #[pin] future: F },
        Refused { response: Option<Response<Body>> },
        Waiting { future: BoxFuture<'static, Result<Response<Body>, E>> },
    }
}

impl<F, R, E> Future for AuthnFuture<F, R, E>
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
            StateProjection::Waiting { future } => future.as_mut().poll(cx),
        }
    }
}

fn admitted(mut request: Request<Body>, identity: Identity) -> Request<Body> {
    let presented = presented::token(request.headers()).ok().map(Presented::new);
    presented::strip(request.headers_mut());
    if let Some(trail) = request.extensions().get::<Trail>() {
        trail.identify(identity.clone());
    }
    request.extensions_mut().insert(identity);
    // One that was there before must not stand in for this caller's.
    match presented {
        Some(presented) => drop(request.extensions_mut().insert(presented)),
        None => drop(request.extensions_mut().remove::<Presented>()),
    }
    request
}

fn refused(request: &Request<Body>, refusal: Refusal) -> Response<Body> {
    let dialect = match request.extensions().get::<Operation>() {
        Some(operation) => operation.dialect,
        None => Dialect::guess(request.uri(), request.headers()),
    };
    tracing::debug!(code = refusal.code().as_str(), reason = refusal.message(), "a caller was not let in");
    match request.extensions().get::<Trail>() {
        Some(trail) => refusal.on(trail).response(dialect),
        None => refusal.response(dialect),
    }
}
