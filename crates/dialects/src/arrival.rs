//! How a request's body arrives: read whole where it is JSON, watched as it streams elsewhere.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayd_core::{Body, BoxError, Taken, Trail};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep, timeout, timeout_at};

use crate::config::Limits;
use crate::form::{FormProblem, FormReader};
use crate::problem::Problem;

/// So far off that nobody waits for it, and still a time that can be reckoned with.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Reads the whole body, within the limits and the room there is. A body that is one piece is not copied.
pub(crate) async fn whole(mut body: Body, limits: Limits, mut taken: Taken) -> Result<Bytes, Problem> {
    let too_large = Problem::TooLarge(limits.json as u64);
    if body.size_hint().lower() > limits.json as u64 {
        return Err(too_large);
    }
    if let Some(bytes) = body.to_full() {
        return Ok(bytes);
    }
    let deadline = Instant::now() + limits.wait.min(LONGEST_WAIT);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(bytes) = timeout_at(deadline, next_data(&mut body))
        .await
        .map_err(|_elapsed| Problem::TooSlow(limits.wait))?
        .transpose()?
    {
        if first.len().max(joined.len()) + bytes.len() > limits.json {
            return Err(too_large);
        }
        taken.add(bytes.len())?;
        if first.is_empty() {
            first = bytes;
            continue;
        }
        if joined.is_empty() {
            let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0);
            joined.reserve((first.len() + bytes.len() + expected).min(limits.json));
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&bytes);
    }
    Ok(taken.keep(if joined.is_empty() { first } else { joined.freeze() }))
}

/// The next piece that is not empty; trailers are passed over.
async fn next_data(body: &mut Body) -> Option<Result<Bytes, Problem>> {
    loop {
        match body.frame().await? {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Some(Ok(bytes)),
                _ => {}
            },
            Err(_) => return Some(Err(Problem::BrokenBody)),
        }
    }
}

/// Reads a form up to where it names its model; what was read is put before the rest.
pub(crate) async fn form(
    mut body: Body,
    content_type: &str,
    limits: Limits,
    mut taken: Taken,
) -> Result<(Watched, Option<String>, Option<bool>), Problem> {
    let mut reader = FormReader::new(content_type)?;
    let mut lead = VecDeque::new();
    let mut length = 0;
    while !reader.has_enough() {
        let next = timeout(limits.wait, next_data(&mut body)).await;
        let Some(bytes) = next.map_err(|_elapsed| Problem::TooSlow(limits.wait))?.transpose()? else {
            reader.finish()?;
            break;
        };
        length += bytes.len();
        if length > limits.json && reader.model().is_none() {
            return Err(FormProblem::ModelTooLate(limits.json).into());
        }
        taken.add(bytes.len())?;
        reader.push(&bytes)?;
        lead.push_back(bytes);
        if length > limits.json {
            break;
        }
    }
    let (model, stream) = (reader.model().map(str::to_owned), reader.stream());
    let watched = Watched { form: Some(reader), lead, taken: Some(taken), ..Watched::new(body, limits) };
    Ok((watched, model, stream))
}

/// A body that streams through under watch. What it finds wrong ends the request, and is kept for the answer.
pub(crate) struct Watched {
    body: Body,
    /// Read already, and seen by the form.
    lead: VecDeque<Bytes>,
    /// What the lead takes, until it is gone.
    taken: Option<Taken>,
    form: Option<FormReader>,
    left: u64,
    limits: Limits,
    /// Runs only while a piece is awaited.
    patience: Option<Pin<Box<Sleep>>>,
    is_done: bool,
    finding: Finding,
    trail: Option<Trail>,
}

/// What was found wrong with a body after its request went on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finding(Arc<OnceLock<Problem>>);

impl Finding {
    pub(crate) fn get(&self) -> Option<&Problem> {
        self.0.get()
    }
}

impl Watched {
    pub(crate) fn new(body: Body, limits: Limits) -> Self {
        Self {
            body,
            lead: VecDeque::new(),
            taken: None,
            form: None,
            left: limits.stream,
            limits,
            patience: None,
            is_done: false,
            finding: Finding::default(),
            trail: None,
        }
    }

    /// The body, and where it leaves what it finds. The trail hears of it first.
    pub(crate) fn into_parts(mut self, trail: Option<Trail>) -> (Body, Finding) {
        self.trail = trail;
        let finding = self.finding.clone();
        (Body::new(self), finding)
    }

    fn fail(&mut self, problem: Problem) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_done = true;
        if let Some(trail) = &self.trail {
            trail.refuse(problem.code());
        }
        let _first_stands = self.finding.0.set(problem.clone());
        Poll::Ready(Some(Err(problem.into())))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Problem>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.patience = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| Problem::BrokenBody)));
        }
        let wait: Duration = self.limits.wait;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Some(Err(Problem::TooSlow(wait))))
    }

    fn check(&mut self, bytes: &[u8], is_new: bool) -> Result<(), Problem> {
        let length = bytes.len() as u64;
        self.left = self.left.checked_sub(length).ok_or(Problem::TooLarge(self.limits.stream))?;
        match &mut self.form {
            Some(form) if is_new => Ok(form.push(bytes)?),
            _ => Ok(()),
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        if let Some(bytes) = self.lead.pop_front() {
            return match self.check(&bytes, false) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(problem) => self.fail(problem),
            };
        }
        self.taken = None;
        loop {
            match ready!(self.poll_next(cx)) {
                None => {
                    let end = self.form.as_ref().map_or(Ok(()), FormReader::finish);
                    if let Err(problem) = end {
                        return self.fail(problem.into());
                    }
                    self.is_done = true;
                    return Poll::Ready(None);
                }
                Some(Err(problem)) => return self.fail(problem),
                // Trailers of a request are nobody's business: they could pass for headers.
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    if let Err(problem) = self.check(&bytes, true) {
                        return self.fail(problem);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || (self.lead.is_empty() && self.form.is_none() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let lead: u64 = self.lead.iter().map(|bytes| bytes.len() as u64).sum();
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + lead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + lead);
        }
        hint
    }
}
