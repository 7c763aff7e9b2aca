//! Refusing a request head over the limit in the caller's own dialect.
//!
//! hyper cuts what is far over the limit with a bare 431 before there is a request at all; this layer
//! answers what is a little over it, and what came over HTTP/2.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use gatewayd_core::{Body, Dialect, Refusal, RefusalCode, Trail};
use http::{Request, Response};
use tower::{Layer, Service};

/// Refuses heads over so many bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimitLayer(pub usize);

impl<S> Layer<S> for HeadLimitLayer {
    type Service = HeadLimit<S>;

    fn layer(&self, inner: S) -> HeadLimit<S> {
        HeadLimit { inner, limit: self.0 }
    }
}

/// See [`HeadLimitLayer`].
#[derive(Debug, Clone)]
pub(crate) struct HeadLimit<S> {
    inner: S,
    limit: usize,
}

impl<S> Service<Request<Body>> for HeadLimit<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = futures_util::future::Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
        let size =
            request.uri().path().len() + request.uri().query().map_or(0, str::len) + fields.sum::<usize>();
        if size <= self.limit {
            return futures_util::future::Either::Right(self.inner.call(request));
        }
        let dialect = Dialect::guess(request.uri(), request.headers());
        let mut refusal = Refusal::new(
            RefusalCode::HeadersTooLarge,
            format!("the request's head is over {} bytes; send fewer or shorter headers", self.limit),
        );
        if let Some(trail) = request.extensions().get::<Trail>() {
            refusal = refusal.on(trail);
        }
        futures_util::future::Either::Left(ready(Ok(refusal.response(dialect))))
    }
}
