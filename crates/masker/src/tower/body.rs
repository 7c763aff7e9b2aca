//! The masked body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Extensions, HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::decode::Decode;
use super::head::{self, Head};
use super::layer::{MaskLayer, Shared};
use super::{BoxError, MaskError};
use crate::format::{BodyKind, BodyStream};
use crate::masker::Masker;

/// Frames that arrive together leave together, up to so many bytes.
const TOGETHER: usize = 64 << 10;
/// Encoded bytes are decoded so many at a time, because there is no saying how many they become.
const ENCODED_PIECE: usize = 4 << 10;

pin_project! {
    /// A body whose secrets are replaced as it passes.
    pub struct MaskedBody<B> {
        #[pin]
        inner: Option<B>,
        mask: Option<Box<Mask>>,
        // What was read and not yet looked at.
        unread: Bytes,
        // What is to leave next; behind all else the trailers, or the error that ended the body.
        ready: Bytes,
        trailers: Option<HeaderMap>,
        error: Option<BoxError>,
    }
}

/// What masks.
struct Mask {
    stream: BodyStream,
    decode: Option<Decode>,
    shared: Arc<Shared>,
    extensions: Extensions,
}

impl<B> MaskedBody<B> {
    /// A body that is sent as it is.
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { inner: None, mask: None, unread: Bytes::new(), ready: bytes, trailers: None, error: None }
    }

    pub(super) fn masking(inner: B, head: Head, shared: Arc<Shared>, extensions: Extensions) -> Self {
        let stream = shared.masker.body(head.kind);
        let mask = Mask { stream, decode: head.decode, shared, extensions };
        Self {
            inner: Some(inner),
            mask: Some(Box::new(mask)),
            unread: Bytes::new(),
            ready: Bytes::new(),
            trailers: None,
            error: None,
        }
    }
}

impl<B> MaskedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Takes in what is there already, without waiting for more.
    ///
    /// # Errors
    /// It cannot be masked, and nothing of it has left.
    pub(super) fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), MaskError> {
        let Poll::Ready(Some(first)) = Pin::new(&mut *self).poll_frame(cx) else { return Ok(()) };
        match first.map(Frame::into_data) {
            Ok(Ok(data)) => self.ready = data,
            Ok(Err(frame)) => self.trailers = frame.into_trailers().ok(),
            Err(error) => match error.downcast::<MaskError>() {
                Ok(error) => return Err(*error),
                Err(error) => self.error = Some(error),
            },
        }
        Ok(())
    }
}

impl<B> MaskedBody<B> {
    /// Masks a body of a kind, outside of any layer.
    pub fn new(masker: &Masker, kind: BodyKind, body: B) -> Self {
        let head = Head { kind, decode: None };
        Self::masking(body, head, MaskLayer::new(masker.clone()).shared, Extensions::new())
    }
}

/// Masks a request on its way to the service: body and headers' statements about it. The other headers are left
/// alone, because the caller's own credentials are among them.
///
/// # Errors
/// When the body is encoded in a way that cannot be read.
pub fn mask_request<B>(layer: &MaskLayer, request: Request<B>) -> Result<Request<MaskedBody<B>>, MaskError> {
    let (mut parts, body) = request.into_parts();
    let head = Head::read(http::StatusCode::OK, &parts.headers)?;
    head::correct(&mut parts.headers, head.keeps_length());
    let extensions = parts.extensions.clone();
    let body = MaskedBody::masking(body, head, Arc::clone(&layer.shared), extensions);
    Ok(Request::from_parts(parts, body))
}

impl Mask {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), MaskError> {
        match &mut self.decode {
            None => self.stream.push_into(bytes, out)?,
            Some(decode) => self.stream.push_into(&decode.push(bytes)?, out)?,
        }
        self.report();
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), MaskError> {
        if let Some(decode) = &mut self.decode {
            let rest = decode.finish()?;
            self.stream.push_into(&rest, out)?;
        }
        out.extend(self.stream.finish()?);
        self.report();
        Ok(())
    }

    fn report(&mut self) {
        for event in self.stream.take_events() {
            (self.shared.on_mask)(&self.extensions, &event);
        }
    }

    /// What is said instead of the rest.
    fn last_words(&self, error: &MaskError) -> Option<Bytes> {
        let is_events = self.stream.kind() == BodyKind::Events;
        if is_events { (self.shared.last_words)(&self.extensions, error) } else { None }
    }
}

impl<B> Body for MaskedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if this.ready.has_remaining() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.ready)))));
        }
        let mut out = Vec::new();
        while out.len() < TOGETHER
            && let Some(mask) = this.mask.as_deref_mut()
        {
            let result = if this.unread.is_empty() {
                let frame = match this.inner.as_mut().as_pin_mut().map(|inner| inner.poll_frame(cx)) {
                    Some(Poll::Pending) if out.is_empty() => return Poll::Pending,
                    Some(Poll::Pending) => break,
                    Some(Poll::Ready(frame)) => frame,
                    None => None,
                };
                match frame.map(|frame| frame.map(Frame::into_data)) {
                    Some(Ok(Ok(data))) => {
                        *this.unread = data;
                        Ok(())
                    }
                    Some(Ok(Err(frame))) => {
                        let Ok(mut trailers) = frame.into_trailers() else { continue };
                        let Mask { shared, extensions, .. } = &*mask;
                        head::mask(&shared.masker, &mut trailers, &mut |event| {
                            (shared.on_mask)(extensions, event);
                        });
                        head::correct(&mut trailers, false);
                        *this.trailers = Some(trailers);
                        let result = mask.finish(&mut out);
                        if result.is_ok() {
                            *this.mask = None;
                        }
                        result
                    }
                    Some(Err(error)) => {
                        *this.error = Some(error.into());
                        *this.mask = None;
                        Ok(())
                    }
                    None => {
                        let result = mask.finish(&mut out);
                        if result.is_ok() {
                            *this.mask = None;
                        }
                        result
                    }
                }
            } else {
                let most = if mask.decode.is_some() { ENCODED_PIECE } else { TOGETHER };
                let piece = this.unread.split_to(this.unread.len().min(most));
                mask.push(&piece, &mut out)
            };
            if let Err(error) = result {
                let words = this.mask.take().and_then(|mask| mask.last_words(&error));
                this.inner.set(None);
                *this.trailers = None;
                this.unread.clear();
                // What was put out in this round is not to be trusted: an error may have left it half done.
                return Poll::Ready(Some(match words {
                    Some(words) => Ok(Frame::data(words)),
                    None => Err(error.into()),
                }));
            }
        }
        if this.mask.is_none() {
            this.inner.set(None);
        }
        if !out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(out.into()))));
        }
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.mask.is_none() && self.ready.is_empty() && self.trailers.is_none() && self.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.mask.is_none() && self.error.is_none() {
            SizeHint::with_exact(self.ready.len() as u64)
        } else {
            SizeHint::default()
        }
    }
}

impl<B> std::fmt::Debug for MaskedBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskedBody").field("masking", &self.mask.is_some()).finish_non_exhaustive()
    }
}
