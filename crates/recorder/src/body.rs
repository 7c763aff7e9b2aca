//! Bodies under observation: the caller sees each frame as it comes, the session keeps it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, DoneMark, Ending};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::capture::Piece;
use crate::seal::Job;
use crate::segment::Way;
use crate::session::Session;

/// Pieces that wait for room before the sealer.
struct Handover {
    session: Arc<Session>,
    way: Way,
    waiting: Option<(Vec<Piece>, usize)>,
}

impl Handover {
    fn new(session: Arc<Session>, way: Way) -> Self {
        Self { session, way, waiting: None }
    }

    /// Keeps a frame; what becomes ready is handed over now, or before the next frame is asked for.
    fn keep(&mut self, frame: &Bytes) {
        let pieces = self.session.keep(self.way, frame);
        if pieces.is_empty() {
            return;
        }
        let cost = pieces.iter().map(Piece::cost).sum();
        self.waiting = Some((pieces, cost));
        if self.session.shared.budget.try_reserve(cost) {
            self.send();
        }
    }

    /// Ready once nothing waits: this is how a stream is slowed down to what can be recorded.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, cost)) = &self.waiting {
            let shared = &self.session.shared;
            if shared.budget.poll_reserve(cx, *cost).is_pending() {
                shared.hurry_sealer();
                return Poll::Pending;
            }
            self.send();
        }
        Poll::Ready(())
    }

    fn send(&mut self) {
        if let Some((pieces, cost)) = self.waiting.take() {
            let session = Arc::clone(&self.session);
            if !self.session.shared.seal(Job::Pieces { session, way: self.way, pieces, cost }) {
                self.session.shared.budget.release(cost);
            }
        }
    }

    /// Sends what waits, room or not: nothing comes after it.
    fn send_last(&mut self) {
        if let Some((_, cost)) = &self.waiting {
            self.session.shared.budget.force(*cost);
            self.send();
        }
    }
}

/// Puts a request's body under observation.
pub(crate) fn tee(body: Body, session: &Arc<Session>) -> Body {
    if let Some(bytes) = body.to_full() {
        if !bytes.is_empty() {
            session.keep(Way::Request, &bytes);
        }
        session.capture(Way::Request).complete = true;
        return body;
    }
    Body::new(Tee { inner: body, handover: Handover::new(Arc::clone(session), Way::Request) })
}

/// A request's body under observation.
struct Tee {
    inner: Body,
    handover: Handover,
}

impl HttpBody for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        ready!(this.handover.poll_room(cx));
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.handover.keep(data);
        }
        if frame.is_none() || this.inner.is_end_stream() {
            this.handover.session.capture(Way::Request).complete = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.handover.send_last();
    }
}

/// A response's body under observation.
pub(crate) struct Recorded {
    inner: Body,
    handover: Handover,
    /// Bytes that are still to come, where the head said how many there are.
    left: Option<u64>,
    /// Where it is a stream of events, the last one is looked for.
    done: Option<DoneMark>,
    ended: bool,
}

impl Recorded {
    /// Puts the body of an answer to a forwarded request under observation.
    pub(crate) fn wrap(body: Body, session: Arc<Session>, done: Option<DoneMark>) -> Body {
        let left = body.size_hint().exact();
        let handover = Handover::new(session, Way::Response);
        let mut recorded = Self { inner: body, handover, left, done, ended: false };
        if recorded.inner.is_end_stream() || left == Some(0) {
            // Nobody will ask for a frame.
            recorded.end(Ending::Complete);
            return Body::empty();
        }
        Body::new(recorded)
    }

    fn end(&mut self, ending: Ending) {
        if !std::mem::replace(&mut self.ended, true) {
            self.handover.send_last();
            self.handover.session.finish(ending);
        }
    }

    fn saw(&mut self, data: &Bytes) {
        self.handover.session.first_byte();
        self.handover.keep(data);
        if let Some(done) = &mut self.done {
            done.push(data);
        }
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        // A server does not ask again once it has all that the head promised.
        if self.left == Some(0) || self.inner.is_end_stream() {
            self.end(Ending::Complete);
        }
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        ready!(this.handover.poll_room(cx));
        if !this.ended && this.handover.session.shared.sealing.is_failing() {
            this.inner = Body::empty();
            this.handover.session.trail.end(Ending::Withheld);
            this.end(Ending::Withheld);
            return Poll::Ready(Some(Err("the answer cannot be recorded, so the rest is withheld".into())));
        }
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => this.saw(data),
                // Trailers come last: a server does not ask again.
                None => this.end(Ending::Complete),
            },
            Some(Err(_)) => this.end(Ending::UpstreamCut),
            None => this.end(Ending::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Who hangs up with the last event in hand has had the whole answer, often before the upstream's own end is here.
        self.end(if self.done.as_ref().is_some_and(DoneMark::is_said) {
            Ending::Complete
        } else {
            Ending::ClientGone
        });
    }
}
