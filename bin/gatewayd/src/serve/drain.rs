//! Cutting what is still streaming when the time to drain is over, and saying so in the stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Dialect, Ending, Refusal, RefusalCode, Trail};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{Layer, Service};

/// Cuts streams when its token is cancelled.
#[derive(Debug, Clone)]
pub(crate) struct DrainLayer(pub CancellationToken);

impl<S> Layer<S> for DrainLayer {
    type Service = Drain<S>;

    fn layer(&self, inner: S) -> Drain<S> {
        Drain { inner, cut: self.0.clone() }
    }
}

/// See [`DrainLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Drain<S> {
    inner: S,
    cut: CancellationToken,
}

impl<S> Service<Request<Body>> for Drain<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let trail = request.extensions().get::<Trail>().cloned();
        let dialect = Dialect::guess(request.uri(), request.headers());
        DrainFuture { inner: self.inner.call(request), cut: self.cut.clone(), trail, dialect }
    }
}

pin_project_lite::pin_project! {
    /// Waits for the answer's head.
    pub(crate) struct DrainFuture<F> {
        #[pin]
        inner: F,
        cut: CancellationToken,
        trail: Option<Trail>,
        dialect: Dialect,
    }
}

impl<F, E> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        if response.body().as_full().is_some() {
            return Poll::Ready(Ok(response));
        }
        let framing = Framing::of(&response);
        let trail = this.trail.take();
        let dialect = trail.as_ref().and_then(Trail::operation).map_or(*this.dialect, |o| o.dialect);
        let cut = Box::pin(this.cut.clone().cancelled_owned());
        Poll::Ready(Ok(
            response.map(|inner| Body::new(Cuttable { inner: Some(inner), cut, framing, trail, dialect }))
        ))
    }
}

/// How a stream can say that it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Events,
    Lines,
    Opaque,
}

impl Framing {
    fn of(response: &Response<Body>) -> Self {
        let media_type =
            response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        match essence {
            _ if essence.eq_ignore_ascii_case("text/event-stream") => Self::Events,
            _ if essence.eq_ignore_ascii_case("application/x-ndjson") => Self::Lines,
            _ => Self::Opaque,
        }
    }
}

/// A body that ends with an error when it is cut.
struct Cuttable {
    inner: Option<Body>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    framing: Framing,
    trail: Option<Trail>,
    dialect: Dialect,
}

impl Cuttable {
    fn last_words(&self) -> Result<Frame<Bytes>, BoxError> {
        if let Some(trail) = &self.trail {
            trail.end(Ending::Interrupted);
        }
        let refusal = Refusal::new(
            RefusalCode::ShuttingDown,
            "the gateway is stopping and cut this answer; send the request again",
        );
        let error = refusal.body(self.dialect);
        match self.framing {
            Framing::Events => Ok(Frame::data(format!("event: error\ndata: {error}\n\n").into())),
            Framing::Lines => Ok(Frame::data(format!("{error}\n").into())),
            Framing::Opaque => Err(refusal.message().into()),
        }
    }
}

impl http_body::Body for Cuttable {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.cut.as_mut().poll(cx));
        self.inner = None;
        Poll::Ready(Some(self.last_words()))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_cut_event_stream_ends_with_an_error_event() {
        let cut = CancellationToken::new();
        let trail = Trail::new(gatewayd_core::RequestId::generate(), gatewayd_core::Timestamp(0), None);
        let endless = http_body_util::StreamBody::new(Endless(Some("data: 1\n\n")));
        let body = Body::new(Cuttable {
            inner: Some(Body::new(endless)),
            cut: Box::pin(cut.clone().cancelled_owned()),
            framing: Framing::Events,
            trail: Some(trail.clone()),
            dialect: Dialect::OpenAi,
        });
        cut.cancel();
        let text = body.collect().await.expect("an event stream ends cleanly").to_bytes();
        let text = std::str::from_utf8(&text).expect("text");
        assert!(text.starts_with("data: 1\n\nevent: error\ndata: {\"error\""), "{text}");
        assert_eq!(trail.ending(), Some(Ending::Interrupted));
    }

    /// Gives one chunk, then nothing for ever.
    struct Endless(Option<&'static str>);

    impl futures_core::Stream for Endless {
        type Item = Result<Frame<Bytes>, BoxError>;

        fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.take().map_or(Poll::Pending, |text| Poll::Ready(Some(Ok(Frame::data(text.into())))))
        }
    }
}
