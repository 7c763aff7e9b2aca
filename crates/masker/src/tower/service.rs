//! The service: a thin one, all the work is in the head and the body.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::MaskedBody;
use super::head::{self, Head};
use super::layer::Shared;
use super::{BoxError, MaskError};

/// Masks the responses of the service inside; made by [`MaskLayer`](super::MaskLayer).
#[derive(Clone)]
pub struct MaskService<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S, B, R> Service<Request<B>> for MaskService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: http_body::Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Response = Response<MaskedBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions().clone();
        let bodyless = request.method() == Method::HEAD;
        head::ask_plainly(request.headers_mut());
        ResponseFuture {
            inner: self.inner.call(request),
            shared: Arc::clone(&self.shared),
            extensions,
            bodyless,
        }
    }
}

pin_project! {
    /// The response to come, masked.
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        shared: Arc<Shared>,
        extensions: Extensions,
        bodyless: bool,
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: http_body::Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MaskedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let extensions = std::mem::take(this.extensions);
        Poll::Ready(Ok(mask(cx, response, this.shared, &extensions, *this.bodyless)))
    }
}

fn mask<R>(
    cx: &mut Context<'_>,
    response: Response<R>,
    shared: &Arc<Shared>,
    extensions: &Extensions,
    bodyless: bool,
) -> Response<MaskedBody<R>>
where
    R: http_body::Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = response.into_parts();
    let head = match Head::read(parts.status, &parts.headers) {
        Ok(head) => head,
        Err(error) => return refuse(shared, extensions, &error),
    };
    head::mask(&shared.masker, &mut parts.headers, &mut |event| (shared.on_mask)(extensions, event));
    if body.is_end_stream() {
        if bodyless {
            head::correct(&mut parts.headers, false);
        } else {
            parts.headers.remove(header::CONTENT_ENCODING);
        }
        return Response::from_parts(parts, MaskedBody::full(Bytes::new()));
    }
    head::correct(&mut parts.headers, head.keeps_length());
    let mut body = MaskedBody::masking(body, head, Arc::clone(shared), extensions.clone());
    // As long as the head is here, a body that cannot be masked is an answer of its own; afterwards it only breaks off.
    match body.look_ahead(cx) {
        Ok(()) => Response::from_parts(parts, body),
        Err(error) => refuse(shared, extensions, &error),
    }
}

fn refuse<R>(shared: &Shared, extensions: &Extensions, error: &MaskError) -> Response<MaskedBody<R>> {
    (shared.refuse)(extensions, error).map(MaskedBody::full)
}

impl<S: std::fmt::Debug> std::fmt::Debug for MaskService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<F> std::fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
