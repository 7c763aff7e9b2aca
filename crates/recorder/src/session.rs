//! One request in flight, as the recorder sees it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use gatewayd_core::{Ending, Redact, RedactStream, Timestamp, Trail, without_credentials};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};
use tokio::sync::oneshot;

use crate::capture::{Capture, Piece};
use crate::codec::Text;
use crate::commit::{Close, CommitError, Entry, IntentEntry};
use crate::facts::{self, Facts, Masks, Salt, WhatRef, Who, Words};
use crate::head;
use crate::leaf::{self, Bodies, Intent, Kind, Leaf, MAX_CLAIMS, Outcome, Refused};
use crate::seal::Job;
use crate::segment::Way;
use crate::shared::Shared;

/// Nothing shorter is registered as a known secret, and no rule finds anything shorter.
const SHORTEST_SECRET: usize = 6;

/// Words that nearly every request has, and nobody has to look into.
const PLAIN: [&str; 5] =
    ["application/json", "application/json; charset=utf-8", "text/plain", "application/x-ndjson", "DELETE"];

/// One request in flight, as the recorder sees it.
pub(crate) struct Session {
    pub(crate) trail: Trail,
    pub(crate) shared: Arc<Shared>,
    pub(crate) redact: Arc<dyn Redact>,
    started: Instant,
    salt: Salt,
    method: Method,
    /// Copies: a piece of the request's head would keep the buffer it was read into, for as long as a stream lasts.
    path: Box<str>,
    content_type: Option<Box<str>>,
    is_encoded: bool,
    facts: OnceLock<Arc<Facts>>,
    /// An intent was put before the committer.
    intended: AtomicBool,
    finished: AtomicBool,
    sealed: AtomicBool,
    status: AtomicU16,
    first_byte: AtomicU64,
    request: Mutex<Capture>,
    response: Mutex<Capture>,
}

/// A body that nobody can mask.
struct Opaque;

impl RedactStream for Opaque {
    fn push(&mut self, _chunk: &[u8]) -> Result<Bytes, String> {
        Err("the body is compressed".to_owned())
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        Ok(Bytes::new())
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) time: Timestamp,
    pub(crate) ending: Ending,
    pub(crate) duration: u64,
}

impl Session {
    /// A session that begins now.
    pub(crate) fn new(
        trail: Trail,
        shared: Arc<Shared>,
        redact: Arc<dyn Redact>,
        asked: &Parts,
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let Parts { method, uri, headers, .. } = asked;
        Ok(Self {
            trail,
            shared,
            redact,
            started: Instant::now(),
            salt: facts::salt()?,
            method: method.clone(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).into(),
            content_type: headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(Box::from),
            is_encoded: headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity"),
            facts: OnceLock::new(),
            intended: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            status: AtomicU16::new(0),
            first_byte: AtomicU64::new(0),
            request: Mutex::new(Capture::after(head::of_request(asked.version, headers))),
            response: Mutex::default(),
        })
    }

    /// Microseconds since the request began.
    pub(crate) fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The content type by which the request's body was read: the caller's, unless a control found another.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.trail.content_type().or(self.content_type.as_deref())
    }

    /// Starts to mask the request's body. A compressed body cannot be looked into, so nothing of it is stored.
    pub(crate) fn start_redaction(&self) -> Box<dyn RedactStream> {
        if self.is_encoded {
            return Box::new(Opaque);
        }
        self.redact.start(self.content_type())
    }

    pub(crate) fn capture(&self, way: Way) -> MutexGuard<'_, Capture> {
        let capture = match way {
            Way::Request => &self.request,
            Way::Response => &self.response,
        };
        capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a frame, and hands over what is worth a block. A request is kept here until its caller is known: before that
    /// nobody can tell whose key seals it.
    pub(crate) fn keep(&self, way: Way, frame: &Bytes) -> Vec<Piece> {
        if self.finished.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let mut capture = self.capture(way);
        capture.push(frame, self.elapsed(), self.shared.config.max_body);
        if way == Way::Request {
            capture.hash(&self.salt, frame);
        }
        if capture.is_due() && self.trail.identity().is_some() { capture.take() } else { Vec::new() }
    }

    /// Nothing of the request's body was read.
    pub(crate) fn is_untouched(&self) -> bool {
        self.capture(Way::Request).is_untouched()
    }

    pub(crate) fn is_intended(&self) -> bool {
        self.intended.load(Ordering::SeqCst)
    }

    /// True once the sealer has seen the end: what comes later (the rest of a request that was answered
    /// early) belongs to no record.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::SeqCst)
    }

    pub(crate) fn set_sealed(&self) {
        self.sealed.store(true, Ordering::SeqCst);
    }

    /// Notes the answer's status and header fields.
    pub(crate) fn answered(&self, status: u16, headers: &HeaderMap) {
        self.status.store(status, Ordering::Relaxed);
        self.capture(Way::Response).head = head::of_answer(headers);
    }

    /// The header fields of a message as they may be stored, once.
    pub(crate) fn take_head(&self, way: Way) -> Option<Vec<u8>> {
        let head = std::mem::take(&mut self.capture(way).head);
        (!head.is_empty()).then(|| self.masked(&head).into_bytes())
    }

    /// Notes that the first byte of the answer's body is there.
    pub(crate) fn first_byte(&self) {
        if self.first_byte.load(Ordering::Relaxed) == 0 {
            self.first_byte.store(self.elapsed().max(1), Ordering::Relaxed);
        }
    }

    /// Puts the intent before the committer. The answer tells when it is durable.
    pub(crate) fn intend(
        self: &Arc<Self>,
    ) -> Result<oneshot::Receiver<Result<u64, CommitError>>, CommitError> {
        let claims = self.trail.claims();
        let (Some(identity), Some(operation)) = (self.trail.identity(), self.trail.operation()) else {
            return Err(CommitError::Unavailable("the request has no identity or no operation".into()));
        };
        if claims.len() > MAX_CLAIMS {
            return Err(CommitError::Unavailable(format!("a request makes at most {MAX_CLAIMS} claims")));
        }
        let facts = self.facts();
        let (decision, credential) = (self.trail.decision(), self.trail.credential());
        let time = self.shared.now();
        let (request_complete, request_len, request) = {
            let capture = self.capture(Way::Request);
            (capture.complete, capture.seen, capture.digest(&self.salt))
        };
        let intent = Intent {
            id: *self.trail.id().as_bytes(),
            side_effects: operation.action.has_side_effects(),
            streaming: operation.streaming,
            request_complete,
            identity: identity.kind,
            dialect: operation.dialect,
            action: operation.action,
            effect: decision.map(|d| d.effect),
            waited: micros(time, self.trail.received()),
            who: facts::digest(Words::Who, &facts.salt, &facts.who),
            what: facts::digest(Words::What, &facts.salt, &facts.what),
            request_len,
            request,
            rule: Text::new(decision.map(|d| &*d.rule), leaf::RULE),
            policy: Text::new(decision.map(|d| &*d.policy_version), leaf::POLICY),
            credential: Text::new(credential.map(|c| &*c.credential), leaf::CREDENTIAL),
            version: Text::new(credential.map(|c| &*c.version), leaf::CREDENTIAL),
            claims: claims.iter().map(|claim| facts::claim_digest(claim.kind, &claim.id)).collect(),
        };
        let leaf = Leaf { time, kind: Kind::Intent(Box::new(intent)) }.encode();
        let (ack, answer) = oneshot::channel();
        let entry = IntentEntry { id: *self.trail.id().as_bytes(), leaf, facts, claims, ack };
        self.shared.admit()?;
        self.shared.must_submit(Entry::Intent(Box::new(entry)))?;
        self.intended.store(true, Ordering::SeqCst);
        // Only now: the key of a registered session may be written, and must come after its intent.
        self.shared.register(self);
        Ok(answer)
    }

    /// The intent was refused for certain.
    pub(crate) fn not_intended(&self) {
        self.intended.store(false, Ordering::SeqCst);
        self.shared.unregister(self.trail.id());
    }

    /// Who asked what, from the trail as it is when first needed.
    fn facts(&self) -> Arc<Facts> {
        Arc::clone(self.facts.get_or_init(|| {
            let trail = &self.trail;
            let (operation, decision, credential) = (trail.operation(), trail.decision(), trail.credential());
            let path = self.shown_path(operation.map(|o| &*o.route));
            let claims = trail.claims();
            // All of these are the caller's words.
            let method = self.shown_word(self.method.as_str());
            let model = operation.and_then(|o| o.model.as_deref()).map(|model| self.shown_word(model));
            let request_type = self.content_type().map(|text| self.shown_word(text));
            let what = WhatRef {
                method: &method,
                path: &path,
                route: operation.map(|o| &*o.route),
                model: model.as_deref(),
                upstream: trail.upstream().map(|u| &*u.0),
                request_type: request_type.as_deref(),
                rule: decision.map(|d| &*d.rule),
                policy: decision.map(|d| &*d.policy_version),
                credential: credential.map(|c| &*c.credential),
                version: credential.map(|c| &*c.version),
                claims: &claims,
            };
            Arc::new(Facts {
                salt: self.salt,
                who: Who::encode(trail.identity(), trail.peer()),
                what: what.encode(),
                subject: trail.identity().map(gatewayd_core::Identity::key).unwrap_or_default().into(),
            })
        }))
    }

    /// Path and query as they may be stored: masked, unless the path is just the known route.
    fn shown_path(&self, route: Option<&str>) -> String {
        let full = &*self.path;
        if route == Some(full) {
            return full.to_owned();
        }
        let full = &*without_credentials(full);
        // A path is a few thousand bytes at most where limits are set; the words stay bounded anyway.
        let mut shown = self.masked(full.as_bytes());
        if full.contains('%') {
            // What is hidden behind percent signs is found in the decoded text, which is then the one to store.
            let plain: Vec<u8> = percent_encoding::percent_decode_str(full).collect();
            let masked = self.masked(&plain);
            if masked.as_bytes() != plain {
                shown = masked;
            }
        }
        // What a stranger writes costs them nothing and stays.
        let most = if self.trail.identity().is_some() { 4096 } else { 512 };
        shown.truncate(shown.floor_char_boundary(most));
        shown
    }

    /// A word of the caller's as it may be stored. What is too short to hold a secret is stored as it is.
    fn shown_word<'w>(&self, word: &'w str) -> Cow<'w, str> {
        if word.len() < SHORTEST_SECRET || PLAIN.contains(&word) {
            return Cow::Borrowed(word);
        }
        Cow::Owned(self.masked(word.as_bytes()))
    }

    /// The text masked, or a word that says why it is not there.
    fn masked(&self, text: &[u8]) -> String {
        let mut redact = self.redact.start(Some("text/plain"));
        let shown = redact.push(text).and_then(|start| {
            let end = redact.finish()?;
            Ok([start, end].concat())
        });
        match shown {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => "[withheld: it could not be masked]".to_owned(),
        }
    }

    /// The request is over. What is left of its bodies goes to the sealer, then the entry is written.
    pub(crate) fn finish(self: &Arc<Self>, seen: Ending) {
        self.close(seen, None);
    }

    /// The request was refused before any intent; the answer tells when that is durable.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        response: Option<&Bytes>,
    ) -> oneshot::Receiver<Result<u64, CommitError>> {
        if let Some(bytes) = response.filter(|_| !self.capture(Way::Request).is_untouched()) {
            self.capture(Way::Response).push(bytes, self.elapsed(), self.shared.config.max_body);
        }
        if let Some(bytes) = response {
            self.capture(Way::Response).seen = bytes.len() as u64;
        }
        let (ack, answer) = oneshot::channel();
        self.close(Ending::Refused, Some(ack));
        answer
    }

    fn close(self: &Arc<Self>, seen: Ending, ack: Option<crate::commit::Ack>) {
        if self.finished.swap(true, Ordering::SeqCst) {
            return;
        }
        self.shared.unregister(self.trail.id());
        let seen = match seen {
            Ending::Complete if self.trail.refusal().is_some() => Ending::Refused,
            seen => seen,
        };
        let end = End {
            time: self.shared.now(),
            ending: self.trail.ending().unwrap_or(seen),
            duration: self.elapsed(),
        };
        let bare = !self.is_intended() && self.capture(Way::Request).is_untouched();
        if bare {
            // Nothing to seal: straight to the committer. A refusal that cannot be queued is answered with 503.
            let close = Close { session: Arc::clone(self), end, bodies: self.seen_bodies(), key: None, ack };
            let _answered_by_dropping_the_ack = self.shared.submit(Entry::Close(Box::new(close)));
        } else {
            let waiting = self.capture(Way::Request).take();
            let response = self.capture(Way::Response).take();
            let cost = waiting.iter().chain(&response).map(Piece::cost).sum();
            self.shared.budget.force(cost);
            let finish =
                Job::Finish { session: Arc::clone(self), end, request: waiting, response, cost, ack };
            if !self.shared.seal(finish) && !self.is_intended() {
                self.shared.miss("the sealer is gone");
            }
        }
    }

    /// What was seen of the bodies, nothing stored.
    pub(crate) fn seen_bodies(&self) -> Bodies {
        let (request, response) = (self.capture(Way::Request), self.response.lock());
        let response = response.unwrap_or_else(PoisonError::into_inner);
        Bodies {
            request_cut: request.cut,
            response_cut: response.cut,
            request_len: request.seen,
            response_len: response.seen,
            ..Bodies::default()
        }
    }

    /// The label of the subject whose key seals the bodies.
    pub(crate) fn subject(&self) -> Arc<str> {
        // Not from the facts: a body may be sealed before all of them are known, and they are put down once.
        self.trail.identity().map(gatewayd_core::Identity::key).unwrap_or_default().into()
    }

    /// The entry for a request whose intent is the entry `intent`, and what was masked.
    pub(crate) fn outcome(&self, intent: u64, end: End, bodies: Bodies) -> (Leaf, Option<Vec<u8>>) {
        let masks = Masks::of(&self.trail);
        let total = masks.total();
        let words = (total > 0).then(|| masks.encode());
        let outcome = Box::new(Outcome {
            id: *self.trail.id().as_bytes(),
            intent,
            ending: end.ending,
            status: self.status.load(Ordering::Relaxed),
            refusal: self.trail.refusal(),
            bodies,
            first_byte: self.first_byte.load(Ordering::Relaxed),
            duration: end.duration,
            masks: total,
            mask_digest: words.as_deref().map(|words| facts::digest(Words::Masks, &self.salt, words)),
        });
        let kind = match end.ending {
            Ending::Interrupted => Kind::Interruption(outcome),
            _ => Kind::Outcome(outcome),
        };
        (Leaf { time: end.time, kind }, words)
    }

    /// The entry for a request that has no intent, and the words behind it.
    pub(crate) fn refusal(&self, end: End, bodies: Bodies) -> (Leaf, Arc<Facts>) {
        let facts = self.facts();
        let (operation, decision) = (self.trail.operation(), self.trail.decision());
        let refused = Refused {
            id: *self.trail.id().as_bytes(),
            ending: end.ending,
            status: self.status.load(Ordering::Relaxed),
            refusal: self.trail.refusal(),
            identity: self.trail.identity().map(|i| i.kind),
            dialect: operation.map(|o| o.dialect),
            action: operation.map(|o| o.action),
            effect: decision.map(|d| d.effect),
            who: facts::digest(Words::Who, &facts.salt, &facts.who),
            what: facts::digest(Words::What, &facts.salt, &facts.what),
            rule: Text::new(decision.map(|d| &*d.rule), leaf::RULE),
            policy: Text::new(decision.map(|d| &*d.policy_version), leaf::POLICY),
            bodies,
            duration: end.duration,
        };
        (Leaf { time: end.time, kind: Kind::Refusal(Box::new(refused)) }, facts)
    }
}

fn micros(later: Timestamp, earlier: Timestamp) -> u64 {
    u64::try_from(later.since(earlier).as_micros()).unwrap_or(u64::MAX)
}
