//! The body that travels between the controls.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request or response body: either all of its bytes, already at hand, or a stream.
///
/// A control that has read a body puts it back as [`Body::full`], so that the next control can look at
/// the same bytes through [`Body::as_full`] without reading, copying or buffering again.
pub struct Body(Kind);

enum Kind {
    Full(Option<Bytes>),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// A body without bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Full(None))
    }

    /// A body whose bytes are all at hand.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Full(if bytes.is_empty() { None } else { Some(bytes) }))
    }

    /// Wraps any body; a [`Body`] is taken as it is, without a second box.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut slot = Some(body);
        if let Some(already) = (&mut slot as &mut dyn std::any::Any).downcast_mut::<Option<Self>>() {
            return already.take().expect("the slot was filled one line above");
        }
        let body = slot.take().expect("the slot was filled above and not taken");
        if body.is_end_stream() {
            return Self::empty();
        }
        Self(Kind::Stream(body.map_err(Into::into).boxed_unsync()))
    }

    /// The whole body where it is at hand and not yet read; `None` for a stream.
    #[must_use]
    pub fn as_full(&self) -> Option<&[u8]> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes.as_deref().unwrap_or_default()),
            Kind::Stream(_) => None,
        }
    }

    /// A shared handle on the whole body where it is at hand; cloning it copies no bytes.
    #[must_use]
    pub fn to_full(&self) -> Option<Bytes> {
        match &self.0 {
            Kind::Full(bytes) => Some(bytes.clone().unwrap_or_default()),
            Kind::Stream(_) => None,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

impl std::fmt::Debug for Body {
    /// Says the shape, never the bytes: a body may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Full(bytes) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Kind::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_wrapped_again_is_the_same_body() {
        let body = Body::new(Body::full("hello"));
        assert_eq!(body.as_full(), Some(&b"hello"[..]));
        let stream = Body::new(http_body_util::Full::new(Bytes::from_static(b"x")));
        assert!(stream.as_full().is_none());
        assert!(Body::new(stream).as_full().is_none());
    }

    #[test]
    fn debug_never_shows_bytes() {
        assert_eq!(format!("{:?}", Body::full("sk-secret")), "Body(9 bytes)");
    }
}
