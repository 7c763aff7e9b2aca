//! The request's body on its way to the upstream.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError};
use http_body::{Frame, SizeHint};

/// Turns our body into the client's. Bytes at hand are kept for sending again only if HTTP/2 could refuse
/// the stream before it looked at it: keeping them costs a copy of the head.
pub(crate) fn outgoing(body: Body, may_be_sent_again: bool) -> reqwest::Body {
    match body.to_full() {
        Some(bytes) if may_be_sent_again || bytes.is_empty() => reqwest::Body::from(bytes),
        _ => reqwest::Body::wrap(Shared(Mutex::new(body))),
    }
}

/// Makes a body `Sync`, which the client's type wants and nobody uses: it is polled by one task only, by
/// `&mut`, where a mutex needs no locking.
struct Shared(Mutex<Body>);

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(self.0.get_mut().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
