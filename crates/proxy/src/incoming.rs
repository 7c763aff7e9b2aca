//! The upstream's answer on its way to the caller: streamed, and where it breaks off, ended in words.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{BoxError, Dialect, DoneMark, Refusal, Trail};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::{Body as _, Frame, SizeHint};

use crate::coding::Opening;
use crate::failure::Failure;
use crate::headers;
use crate::held::Held;
use crate::patience::Patience;

/// How an error can be said in the middle of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Server-sent events: one more event.
    Events,
    /// JSON lines: one more line.
    Lines,
    /// Not at all: the connection is broken off instead.
    Other,
}

impl Form {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        // Words among compressed bytes would be lost.
        let is_plain = headers
            .get(CONTENT_ENCODING)
            .is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(str::trim)
            .unwrap_or_default();
        let is = |name: &str| is_plain && media_type.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            Self::Events
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") {
            Self::Lines
        } else {
            Self::Other
        }
    }

    /// The last words.
    fn last_words(self, dialect: Dialect, refusal: &Refusal, tail: Tail) -> Option<Bytes> {
        let error = refusal.body(dialect);
        let text = match self {
            Self::Events => {
                // What was begun is ended first, so that the error is an event of its own.
                let before = match tail {
                    Tail::Clean => "",
                    Tail::LineEnd => "\n",
                    Tail::InLine => "\n\n",
                };
                let name = if dialect == Dialect::Anthropic { "event: error\n" } else { "" };
                format!("{before}{name}data: {error}\n\n")
            }
            Self::Lines => {
                let before = if tail == Tail::InLine { "\n" } else { "" };
                format!("{before}{error}\n")
            }
            Self::Other => return None,
        };
        Some(text.into())
    }
}

/// Where in its lines a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Between two events, or at the start.
    Clean,
    /// Behind a line.
    LineEnd,
    /// Within a line.
    InLine,
}

impl Tail {
    fn after(self, bytes: &[u8]) -> Self {
        let mut tail = self;
        // Four bytes are as much as an empty line takes.
        for &byte in bytes.get(bytes.len().saturating_sub(4)..).unwrap_or(bytes) {
            tail = match (byte, tail) {
                (b'\n', Self::InLine) => Self::LineEnd,
                (b'\n', _) => Self::Clean,
                (b'\r', tail) => tail,
                _ => Self::InLine,
            };
        }
        tail
    }
}

/// The body of an answer.
pub(crate) struct Incoming {
    body: reqwest::Body,
    form: Form,
    tail: Tail,
    idle: Option<Patience>,
    /// What has arrived and waits for what may be right behind it.
    held: Held,
    is_done: bool,
    /// Where only the connection's end would end the stream, its last event is awaited.
    done: Option<DoneMark>,
    /// Where text was promised, its first bytes are looked at.
    opening: Option<Opening>,
    dialect: Dialect,
    trail: Option<Trail>,
}

impl Incoming {
    pub(crate) fn new(
        body: reqwest::Body,
        form: Form,
        idle: Option<Duration>,
        dialect: Dialect,
        trail: Option<Trail>,
    ) -> Self {
        let idle = idle.map(Patience::new);
        let (tail, held) = (Tail::Clean, Held::default());
        Self { body, form, tail, idle, held, is_done: false, done: None, opening: None, dialect, trail }
    }

    /// Takes an end without the last event for a break.
    pub(crate) fn await_done(&mut self) {
        self.done = Some(DoneMark::default());
    }

    /// Takes a body that turns out to be packed for an error.
    pub(crate) fn expect_text(&mut self) {
        self.opening = Some(Opening::default());
    }

    /// Takes what arrived together with the head, so that both leave together: one write, and one packet less to wake
    /// the caller for. The client needs to be asked, and given a turn; a head that came alone waits for that turn only.
    pub(crate) async fn look_ahead(&mut self) {
        for is_last in [false, true] {
            if self.body.is_end_stream() {
                return;
            }
            let came = poll_fn(|cx| Poll::Ready(self.poll_upstream(cx))).await;
            match came {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    if let Ok(bytes) = frame.into_data() {
                        self.held.put(bytes);
                    }
                    return;
                }
                Poll::Ready(next) => {
                    self.held.next = Some(next);
                    return;
                }
                Poll::Pending if is_last => return,
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some(idle) = &mut self.idle {
                idle.rest();
            }
            return Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| {
                    let failure = Failure::of(&error);
                    tracing::warn!(error = %crate::error::in_one_line(&error.without_url()), "upstream broke off");
                    failure
                })
            }));
        }
        match &mut self.idle {
            Some(idle) if self.held.is_empty() => {
                idle.poll_over(cx).map(|()| Some(Err(Failure::IdleTimeout)))
            }
            _ => Poll::Pending,
        }
    }

    /// What comes next, where pieces that arrived together are put together.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(next) = self.held.next.take() {
            return Poll::Ready(next);
        }
        loop {
            match self.poll_upstream(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    let mut ready = self.held.push(bytes);
                    if ready.is_none() && self.body.is_end_stream() {
                        // Nothing can be behind it.
                        ready = self.held.take();
                    }
                    if let Some(gathered) = ready {
                        return Poll::Ready(Some(Ok(Frame::data(gathered))));
                    }
                }
                Poll::Ready(next) => {
                    let Some(gathered) = self.held.take() else { return Poll::Ready(next) };
                    self.held.next = Some(next);
                    return Poll::Ready(Some(Ok(Frame::data(gathered))));
                }
                Poll::Pending if self.held.is_empty() => return Poll::Pending,
                Poll::Pending if self.held.may_wait() => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Ready(self.held.take().map(|bytes| Ok(Frame::data(bytes)))),
            }
        }
    }

    fn fail(&mut self, failure: Failure) -> Result<Frame<Bytes>, BoxError> {
        self.is_done = true;
        // Ends the connection to the upstream now, not when the caller has read to the end.
        self.body = reqwest::Body::default();
        let mut refusal = Refusal::new(failure.code(), failure.message());
        if let Some(trail) = &self.trail {
            if let Some(ending) = failure.ending() {
                trail.end(ending);
            }
            refusal = refusal.with("request_id", trail.id().to_string());
        }
        match self.form.last_words(self.dialect, &refusal, self.tail) {
            Some(words) => Ok(Frame::data(words)),
            None => Err(failure.message().into()),
        }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        self.poll_gathered(cx).map(|frame| match frame {
            None if self.done.as_ref().is_some_and(|done| !done.is_said()) => {
                Some(self.fail(Failure::BrokeOff))
            }
            None => {
                self.is_done = true;
                None
            }
            Some(Err(failure)) => Some(self.fail(failure)),
            Some(Ok(mut frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    if self.opening.as_mut().is_some_and(|opening| opening.is_packed_with(bytes)) {
                        tracing::warn!("upstream sent a packed body that it called text");
                        return Some(self.fail(Failure::Packed));
                    }
                    if self.form != Form::Other {
                        self.tail = self.tail.after(bytes);
                    }
                    if let Some(done) = &mut self.done {
                        done.push(bytes);
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || (self.done.is_none() && self.held.is_spent() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_done {
            return SizeHint::with_exact(0);
        }
        match self.form {
            Form::Other => self.held.add_to(&self.body.size_hint()),
            // Last words may come on top.
            Form::Events | Form::Lines => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_known_however_the_stream_is_cut() {
        for (text, wanted) in [
            ("", Tail::Clean),
            ("data: x", Tail::InLine),
            ("data: x\n", Tail::LineEnd),
            ("data: x\n\n", Tail::Clean),
            ("data: x\r\n", Tail::LineEnd),
            ("data: x\r\n\r\n", Tail::Clean),
            ("data: x\n\ndata", Tail::InLine),
            ("a\n", Tail::LineEnd),
        ] {
            assert_eq!(Tail::Clean.after(text.as_bytes()), wanted, "{text:?}");
            let bytewise = text.as_bytes().chunks(1).fold(Tail::Clean, Tail::after);
            assert_eq!(bytewise, wanted, "{text:?} byte by byte");
        }
    }
}
