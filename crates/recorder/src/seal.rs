//! The one thread that masks requests, compresses, encrypts, and writes bodies to segments, before the
//! entries that commit to them.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use gatewayd_core::RequestId;
use rusqlite::{Connection, OptionalExtension as _};

use crate::blobs::Segments;
use crate::capture::Piece;
use crate::commit::{Ack, Close, Entry, SessionKey};
use crate::config::Durability;
use crate::error::Error;
use crate::keys::{RootKey, SealKey, session_purpose, subject_purpose};
use crate::leaf::Bodies;
use crate::queue::{Work, Worker};
use crate::retention;
use crate::segment::{SegmentWriter, Way};
use crate::session::{End, Session};
use crate::shared::Shared;
use crate::store;
use crate::track::{Packer, Track};
use crate::watch::Watch;

/// How often streams that deliver little are looked after, and how old what they deliver gets unwritten.
const TICK: Duration = Duration::from_millis(500);
/// How often old segments are looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// How much work is done between two writes.
const ROUND: usize = 512;
/// Keys of subjects that are remembered.
const SUBJECTS: usize = 16_384;
/// How long the sealer waits for an erasure.
const ERASURE: Duration = Duration::from_secs(30);

/// Work for the sealer.
pub(crate) enum Job {
    /// Frames of a request that is being forwarded.
    Pieces { session: Arc<Session>, way: Way, pieces: Vec<Piece>, cost: usize },
    /// A request ended; these are its last frames.
    Finish {
        session: Arc<Session>,
        end: End,
        request: Vec<Piece>,
        response: Vec<Piece>,
        cost: usize,
        ack: Option<Ack>,
    },
    /// Forgets the key of a subject, and waits until the other end of the channel is dropped.
    Forget { subject: String, ready: mpsc::SyncSender<()>, resume: mpsc::Receiver<()> },
    /// An entry that comes after those of all requests that ended before: who is about to read finds their ends.
    Behind(Box<Entry>),
    /// Drops what may be dropped by now.
    Sweep(mpsc::SyncSender<Result<u64, Error>>),
    /// Ends all that is open and the thread.
    Stop,
}

impl Work for Job {
    fn is_urgent(&self) -> bool {
        match self {
            Self::Pieces { .. } => false,
            Self::Finish { ack, .. } => ack.is_some(),
            Self::Forget { .. } | Self::Behind(_) | Self::Sweep(_) | Self::Stop => true,
        }
    }
}

/// What is sealed of one session so far.
struct Sealing {
    key: SealKey,
    wrapped: SessionKey,
    /// The committer has the key.
    sent: bool,
    /// Blocks went missing.
    lost: bool,
    withheld: bool,
    request: Track,
    response: Track,
}

/// The sealer's state.
pub(crate) struct Sealer {
    shared: Arc<Shared>,
    segments: Segments,
    writer: SegmentWriter,
    reader: Connection,
    root: RootKey,
    subjects: HashMap<Arc<str>, Arc<SealKey>>,
    open: HashMap<RequestId, Sealing>,
    packer: Packer,
    /// Sessions with blocks that are not written yet.
    touched: Vec<RequestId>,
    /// Closing entries that wait for the write of their blocks.
    done: Vec<Close>,
    watch: Watch,
    /// Entries that go behind those of this round.
    behind: Vec<Entry>,
    segment_began: Instant,
    ticked: Instant,
    swept: Instant,
}

impl Sealer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        segments: Segments,
        last_segment: u64,
        reader: Connection,
        root: RootKey,
        watch: Watch,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        Ok(Self {
            packer: Packer::new(shared.config.compression)?,
            shared,
            writer: SegmentWriter::new(segments.clone(), last_segment),
            segments,
            reader,
            root,
            subjects: HashMap::new(),
            open: HashMap::new(),
            touched: Vec::new(),
            done: Vec::new(),
            behind: Vec::new(),
            watch,
            segment_began: now,
            ticked: now,
            swept: now,
        })
    }

    /// Names the key that wraps the keys of subjects.
    pub(crate) fn root_name(&self) -> crate::codec::Digest {
        self.root.name
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self, mut jobs: Worker<Job>) {
        loop {
            jobs.wait(TICK.saturating_sub(self.ticked.elapsed()));
            let mut freed = 0;
            for _ in 0..ROUND {
                match jobs.next() {
                    Some(Job::Stop) => {
                        self.flush(freed);
                        return self.stop(jobs);
                    }
                    Some(job) => freed += self.work(job),
                    None => break,
                }
            }
            self.flush(freed);
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
    }

    /// Does one job; returns the bytes it held.
    fn work(&mut self, job: Job) -> usize {
        match job {
            Job::Pieces { session, way, pieces, cost } => {
                if !session.is_sealed() {
                    self.take_in(&session, way, pieces);
                }
                cost
            }
            Job::Finish { session, end, request, response, cost, ack } => {
                self.take_in(&session, Way::Request, request);
                self.take_in(&session, Way::Response, response);
                let close = self.finish(session, end, ack);
                self.done.push(close);
                cost
            }
            Job::Forget { subject, ready, resume } => {
                self.flush(0);
                self.subjects.remove(subject.as_str());
                // What is sealed of a request that has no entry yet goes with the key above its own.
                for sealing in self.open.values_mut().filter(|s| !s.sent && *s.wrapped.subject == *subject) {
                    (sealing.lost, sealing.sent) = (true, true);
                }
                // The asker may have given up; then there is nothing to wait for.
                if ready.send(()).is_ok() {
                    let _dropped_or_late = resume.recv_timeout(ERASURE);
                }
                0
            }
            Job::Behind(entry) => {
                self.behind.push(*entry);
                0
            }
            Job::Sweep(answer) => {
                self.flush(0);
                drop(answer.send(self.sweep()));
                0
            }
            Job::Stop => 0,
        }
    }

    /// Seals frames of one direction.
    fn take_in(&mut self, session: &Arc<Session>, way: Way, pieces: Vec<Piece>) {
        if pieces.is_empty() {
            return;
        }
        let id = session.trail.id();
        if let Err(error) = self.ensure(session).and_then(|()| self.seal(session, way, pieces)) {
            self.shared.sealing.fail(&error.to_string());
            if let Some(sealing) = self.open.get_mut(&id) {
                sealing.lost = true;
            }
        }
        // A key without an entry would be nobody's; without an intent it comes with the closing entry.
        if session.is_intended() {
            self.touched.push(id);
        }
    }

    fn seal(&mut self, session: &Arc<Session>, way: Way, pieces: Vec<Piece>) -> Result<(), Error> {
        self.rotate_if_due()?;
        let Some(sealing) = self.open.get_mut(&session.trail.id()).filter(|sealing| !sealing.lost) else {
            // After a hole nothing is worth keeping: no entry will speak of it.
            return Ok(());
        };
        let id = session.trail.id();
        if way == Way::Response && sealing.response.is_fresh() {
            sealing.response.head = session.take_head(way);
        }
        for piece in pieces {
            match way {
                Way::Request => {
                    if !sealing.withheld {
                        let start = || session.start_redaction();
                        sealing.withheld = sealing.request.redact(&piece, start).is_err();
                    }
                    sealing.request.taken += 1;
                    self.packer.pack_full(&mut sealing.request, way, id, &sealing.key, &mut self.writer)?;
                }
                Way::Response => {
                    sealing.response.taken += 1;
                    self.packer.pack(
                        &mut sealing.response,
                        way,
                        id,
                        &sealing.key,
                        &piece,
                        &mut self.writer,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// Makes the key of a session that has none.
    fn ensure(&mut self, session: &Arc<Session>) -> Result<(), Error> {
        let id = session.trail.id();
        if self.open.contains_key(&id) {
            return Ok(());
        }
        let subject = session.subject();
        let above = self.key_above(session, &subject)?;
        let (key, wrapped) =
            above.as_deref().unwrap_or(&self.root.key).make_below(&session_purpose(id.as_bytes()))?;
        let sealing = Sealing {
            key,
            wrapped: SessionKey { subject, wrapped },
            // A key that is kept nowhere: what it seals still verifies.
            sent: above.is_none(),
            lost: false,
            withheld: false,
            request: Track::begin(session.take_head(Way::Request)),
            response: Track::default(),
        };
        self.open.insert(id, sealing);
        Ok(())
    }

    /// The key of the subject, made if it has none. `None` for a session that was erased while it was open: its subject is
    /// not to appear in the log again.
    fn key_above(&mut self, session: &Session, subject: &Arc<str>) -> Result<Option<Arc<SealKey>>, Error> {
        if let Some(key) = self.subjects.get(subject) {
            return Ok(Some(Arc::clone(key)));
        }
        if self.subjects.len() >= SUBJECTS {
            // A key that is forgotten before it is written would be made a second time.
            self.barrier()?;
            self.subjects.clear();
        }
        let key = match self.stored_subject_key(subject)? {
            Some(key) => key,
            None if store::is_erased(&self.reader, session.trail.id().as_bytes())? == Some(true) => {
                return Ok(None);
            }
            None => {
                let (key, wrapped) = self.root.key.make_below(&subject_purpose(subject))?;
                self.must(Entry::Subject { subject: Arc::clone(subject), wrapped })?;
                key
            }
        };
        let key = Arc::new(key);
        self.subjects.insert(Arc::clone(subject), Arc::clone(&key));
        Ok(Some(key))
    }

    fn stored_subject_key(&self, subject: &str) -> Result<Option<SealKey>, Error> {
        let wrapped: Option<Vec<u8>> = self
            .reader
            .prepare_cached(
                "SELECT wrapped FROM subject_keys JOIN labels ON labels.id = subject_keys.subject WHERE labels.text = ?1",
            )?
            .query_row([subject], |row| row.get(0))
            .optional()?;
        let Some(wrapped) = wrapped else { return Ok(None) };
        let key = self.root.key.unwrap_below(&subject_purpose(subject), &wrapped);
        key.map(Some)
            .ok_or_else(|| Error::Damaged("the key of a subject does not open with this root key".into()))
    }

    fn barrier(&self) -> Result<(), Error> {
        let (ack, answer) = mpsc::sync_channel(1);
        self.must(Entry::Barrier(ack))?;
        match answer.recv() {
            Ok(true) => Ok(()),
            _ => Err(Error::Unavailable("the keys could not be written".into())),
        }
    }

    fn must(&self, entry: Entry) -> Result<(), Error> {
        self.shared.must_submit(entry).map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// Seals what is left and words the end of a session.
    fn finish(&mut self, session: Arc<Session>, end: End, ack: Option<Ack>) -> Close {
        let id = session.trail.id();
        session.set_sealed();
        let mut bodies = session.seen_bodies();
        if session.is_intended()
            && let Err(error) = self.ensure(&session)
        {
            self.shared.sealing.fail(&error.to_string());
        }
        let Some(mut sealing) = self.open.remove(&id) else {
            // Nothing was stored. If something should have been, its key could not be made.
            bodies.lost = self.shared.sealing.is_failing() && bodies.request_len + bodies.response_len > 0;
            return Close { session, end, bodies, key: None, ack };
        };
        if !sealing.withheld {
            sealing.withheld = sealing.request.finish_redaction().is_err();
        }
        if let Some(head) = session.take_head(Way::Response).filter(|_| sealing.response.is_fresh()) {
            // No body came after it.
            sealing.response.head = Some(head);
        }
        for (way, track) in [(Way::Request, &mut sealing.request), (Way::Response, &mut sealing.response)] {
            if let Err(error) = self.packer.pack_rest(track, way, id, &sealing.key, &mut self.writer) {
                self.shared.sealing.fail(&error.to_string());
                sealing.lost = true;
            }
        }
        bodies.request_withheld = sealing.withheld;
        bodies.lost = sealing.lost;
        if !sealing.lost {
            bodies.request = sealing.request.stored();
            bodies.response = sealing.response.stored();
        }
        let key = (!sealing.sent).then_some(sealing.wrapped);
        Close { session, end, bodies, key, ack }
    }

    /// Writes the blocks of this round, then lets the entries go that commit to them.
    fn flush(&mut self, freed: usize) {
        let bytes = self.writer.buffer().len();
        let synced = self.writer.flush().and_then(|()| {
            // Blocks of streams are not synced on their own: only an entry that speaks of them needs it.
            let disk = self.shared.config.durability == Durability::Disk;
            if disk && !self.done.is_empty() && self.writer.owes_sync() { self.writer.sync() } else { Ok(()) }
        });
        match synced {
            Ok(()) => {
                if bytes > 0 {
                    let total = &self.shared.counters.sealed_bytes;
                    total.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
                    self.shared.sealing.recovered();
                }
            }
            Err(error) => self.give_up(&error),
        }
        self.send_keys();
        for close in self.done.drain(..) {
            if self.shared.must_submit(Entry::Close(Box::new(close))).is_err() {
                tracing::error!("an entry came after the end of the log");
            }
        }
        for entry in self.behind.drain(..) {
            // Whoever waits for it learns that it was dropped.
            let _came_after_the_end = self.shared.must_submit(entry);
        }
        self.shared.budget.release(freed);
    }

    /// Keys of streams whose first blocks are written.
    fn send_keys(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(sealing) = self.open.get_mut(&id).filter(|sealing| !sealing.sent) {
                sealing.sent = true;
                let entry = Entry::Key { id: *id.as_bytes(), key: sealing.wrapped.clone() };
                if self.shared.must_submit(entry).is_err() {
                    tracing::error!("a key came after the end of the log");
                }
            }
        }
    }

    /// The blocks of this round are not on the disk: no entry may speak of them.
    fn give_up(&mut self, error: &Error) {
        self.shared.sealing.fail(&error.to_string());
        for sealing in self.open.values_mut() {
            // A failed sync leaves in doubt what was written before, too.
            sealing.lost = true;
        }
        for close in &mut self.done {
            close.bodies = Bodies { request: None, response: None, lost: true, ..close.bodies.clone() };
        }
    }

    fn rotate_if_due(&mut self) -> Result<(), Error> {
        let config = &self.shared.config;
        let due =
            self.writer.len() >= config.segment_bytes || self.segment_began.elapsed() >= config.segment_age;
        if !due || !self.writer.is_open() {
            return Ok(());
        }
        self.close_segment().inspect_err(|error| self.give_up(error))
    }

    fn close_segment(&mut self) -> Result<(), Error> {
        self.writer.flush()?;
        if self.shared.config.durability == Durability::Disk {
            self.writer.sync()?;
        }
        let entry = Entry::Segment {
            number: self.writer.number(),
            closed: self.shared.now(),
            bytes: self.writer.len(),
        };
        self.writer.close();
        self.segment_began = Instant::now();
        self.must(entry)
    }

    /// Takes in what slow streams delivered, so that a crash loses at most the last moment of them.
    fn tick(&mut self) {
        self.ticked = Instant::now();
        let before = |session: &Session| session.elapsed().saturating_sub(500_000);
        for session in self.shared.open_sessions() {
            // Sealed before its intent, if it is there.
            self.touched.push(session.trail.id());
            for way in [Way::Request, Way::Response] {
                let taken = self.open.get(&session.trail.id()).map_or(0, |sealing| match way {
                    Way::Request => sealing.request.taken,
                    Way::Response => sealing.response.taken,
                });
                let mut capture = session.capture(way);
                // Pieces that are still on their way here come first.
                if capture.handed == taken && capture.waits_since(before(&session)) && !session.is_sealed() {
                    let pieces = capture.take();
                    drop(capture);
                    self.take_in(&session, way, pieces);
                    self.pack_slow_request(&session, way);
                }
            }
        }
        self.flush(0);
        self.look_around();
        if self.shared.sealing.is_failing() && self.writer.probe().is_ok() {
            self.shared.sealing.recovered();
        }
        if self.swept.elapsed() >= SWEEP
            && let Err(error) = self.sweep()
        {
            tracing::warn!(%error, "old bodies could not be dropped");
        }
    }

    fn look_around(&self) {
        let gone = match (self.watch.missing(), self.writer.is_in_place()) {
            (None, true) => return self.shared.place.recovered(),
            (Some(name), _) => name,
            (None, false) => "the segment that bodies are written to",
        };
        let why = format!("{gone} was moved away or replaced; put it back, or start the gateway anew");
        self.shared.place.fail(&why);
    }

    fn pack_slow_request(&mut self, session: &Session, way: Way) {
        let id = session.trail.id();
        if way == Way::Request
            && let Some(sealing) = self.open.get_mut(&id)
        {
            let packed = self.packer.pack_rest(&mut sealing.request, way, id, &sealing.key, &mut self.writer);
            sealing.lost |= packed.is_err();
        }
    }

    fn sweep(&mut self) -> Result<u64, Error> {
        self.swept = Instant::now();
        let in_use =
            self.open.values().flat_map(|s| [&s.request, &s.response]).filter_map(Track::first_segment);
        let oldest = in_use.min().unwrap_or(u64::MAX).min(self.writer.number());
        retention::sweep(&self.shared, &self.reader, &self.segments, oldest)
    }

    fn stop(mut self, mut jobs: Worker<Job>) {
        for session in self.shared.open_sessions() {
            session.finish(gatewayd_core::Ending::Interrupted);
        }
        let mut freed = 0;
        while let Some(job) = jobs.next() {
            freed += self.work(job);
        }
        self.flush(freed);
        if self.writer.is_open()
            && let Err(error) = self.close_segment()
        {
            tracing::error!(%error, "the last segment could not be closed");
        }
    }
}
