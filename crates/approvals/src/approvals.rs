//! The handle: asking, deciding, passing. Every change is recorded as evidence before it takes effect.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use gatewayd_core::{Claim, Clock, Event, EventKind, Identity, Journal, Redact, RequestId, Timestamp};
use tokio::sync::{Mutex, OnceCell, watch};

use crate::config::{Config, Requirement, check_requirements};
use crate::diff;
use crate::digest::RequestDigest;
use crate::error::{Error, Refused};
use crate::places::Places;
use crate::preview::printable;
use crate::record::Record;
use crate::state::{State, Step, Use, Verdict};
use crate::store::{self, Placed, Room, Store};
use crate::view::{Before, View};

/// The kind of the claims that approvals make: one for each approval.
pub const CLAIM_KIND: &str = "approval";

/// The kind of the claims of requests that pass on a grant: one for each request, named `{approval}/{request}`.
pub const GRANT_CLAIM_KIND: &str = "approval-grant";

/// Times a step is tried again when another process took one in between.
const TRIES: usize = 50;
const MAX_COMMENT: usize = 1000;
/// How long the journal may take for one event.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(15);

/// Requests that wait for people, and the people's decisions. A clone is the same handle.
#[derive(Clone)]
pub struct Approvals(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) redact: Arc<dyn Redact>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) store: Store,
    requirements: RwLock<Arc<BTreeMap<String, Requirement>>>,
    /// One change at a time, so that what is recorded is what happens.
    deciding: Mutex<()>,
    /// Counts changes made by this process.
    pub(crate) changes: watch::Sender<u64>,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) places: Places,
    /// For bodies that wait on the disk.
    pub(crate) disk: gatewayd_core::Room,
    recovered: OnceCell<()>,
}

/// Which approvals to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In one of these states; empty means any.
    pub states: Vec<State>,
    /// Asked by this caller.
    pub requester: Option<Identity>,
    /// Asked by this person, or asking a group of theirs.
    pub concerning: Option<Identity>,
}

impl Approvals {
    /// Opens the store, which is made if it does not exist.
    ///
    /// # Errors
    /// If a setting is wrong, or the store cannot be used.
    pub fn open(
        path: &Path,
        config: Config,
        journal: Arc<dyn Journal>,
        redact: Arc<dyn Redact>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        config.check()?;
        let store = Store::open(path)?;
        Ok(Self(Arc::new(Inner {
            requirements: RwLock::new(Arc::new(config.requirements.clone())),
            places: Places::new(config.max_held, config.max_held_per_caller),
            disk: gatewayd_core::Room::new(config.disk_limit, config.disk_limit_per_caller),
            config,
            clock,
            redact,
            journal,
            store,
            deciding: Mutex::new(()),
            changes: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            recovered: OnceCell::new(),
        })))
    }

    /// Settles what the last run left open, asking the journal what became of it: a request that was let through
    /// without an answer is [`State::Indeterminate`]; one that surely was not may pass again.
    ///
    /// Only the process that serves requests calls this. The layer calls it by itself before the first request
    /// that needs approval; calling it at start makes lists truthful from the first moment.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn recover(&self) -> Result<(), Error> {
        self.0.recovered.get_or_try_init(|| self.settle_last_run()).await.copied()
    }

    /// Ends what is overdue, and forgets what ended long ago. To be called about once a minute.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn sweep(&self) -> Result<(), Error> {
        let now = self.now();
        for record in self.0.store.run(move |db| store::overdue(db, now)).await? {
            self.step(&record.id, Step::Tick).await?;
        }
        let keep = i64::try_from(self.0.config.keep.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp(now.0.saturating_sub(keep));
        self.0.store.run(move |db| store::forget(db, before)).await.map(|_| ())
    }

    /// Calls [`sweep`](Self::sweep) each minute until [`shutdown`](Self::shutdown).
    pub async fn maintain(&self) {
        let mut stopping = self.0.stopping.subscribe();
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "approvals: what is overdue could not be ended");
            }
            let stop = stopping.wait_for(|stop| *stop);
            if tokio::time::timeout(Duration::from_secs(60), stop).await.is_ok() {
                return;
            }
        }
    }

    /// Exchanges the requirements, for requests from now on. What waits already keeps what it was asked under.
    ///
    /// # Errors
    /// If one is wrong; then nothing changes.
    pub fn set_requirements(&self, requirements: BTreeMap<String, Requirement>) -> Result<(), Error> {
        check_requirements(&requirements)?;
        *self.0.requirements.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(requirements);
        Ok(())
    }

    /// Lets go of every held request with `503`, and holds no more. The approvals stay; the same requests attach
    /// to them again after the restart.
    pub fn shutdown(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Requests held right now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.places.taken()
    }

    /// True if some requirement in force asks a group of this person.
    #[must_use]
    pub fn is_approver(&self, person: &Identity) -> bool {
        let asks = |requirement: &Requirement| {
            requirement.may_decide(person) && person.groups.iter().any(|group| requirement.names_group(group))
        };
        self.requirements().values().any(asks)
    }

    /// Approvals, newest first, without bodies; at most 1,000.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<View>, Error> {
        let requester = filter.requester.as_ref().map(Identity::key);
        let mut stored = filter.states.clone();
        if stored.contains(&State::Expired) {
            // What is overdue may not have been written down yet.
            stored.extend([State::Pending, State::Approved]);
        }
        let records = self.0.store.run(move |db| store::list(db, &stored, requester.as_deref())).await?;
        let now = self.now();
        let views = records.iter().map(|record| View::of(record, now, &self.0.config.public_url));
        let asked_for = |view: &View| {
            (filter.states.is_empty() || filter.states.contains(&view.state))
                && filter.concerning.as_ref().is_none_or(|person| view.concerns(person))
        };
        Ok(views.filter(asked_for).collect())
    }

    /// Everything that people need to decide on one.
    ///
    /// # Errors
    /// If there is none of that name, or the store cannot be used.
    pub async fn show(&self, id: &str) -> Result<View, Error> {
        let id = id.to_owned();
        let found = self.0.store.run(move |db| {
            let record = store::get(db, &id)?;
            let erased = record.progress.erased.is_some();
            let last = if erased { None } else { store::last_approved(db, &record)? };
            let before = store::same_before(db, &record)?;
            Ok((record, last, before))
        });
        let (record, last, before) = found.await?;
        let now = self.now();
        let mut view = View::of(&record, now, &self.0.config.public_url);
        view.changes = last.map(|last| {
            let mut changes = diff::between_headers(&last.asked.headers, &record.asked.headers);
            let (last, asked) = (&last.asked, &record.asked);
            changes.extend(diff::between(&last.preview.text, &asked.preview.text));
            let is_all_shown = !last.preview.truncated && !asked.preview.truncated && !changes.is_empty();
            if last.body_sha256 != asked.body_sha256 && !is_all_shown {
                changes.push(diff::elsewhere(&last.body_sha256, &asked.body_sha256));
            }
            changes
        });
        view.before = before.map(|before| Before {
            id: before.id.to_string(),
            state: before.progress.state_at(now),
            created: before.asked.created,
        });
        view.body.preview = Some(record.asked.preview);
        Ok(view)
    }

    /// Votes. The vote, and what it leads to, are recorded as evidence before they count.
    ///
    /// # Errors
    /// [`Error::Refused`] where this person has no vote on it (any more); nothing was done then.
    pub async fn vote(
        &self,
        id: &str,
        by: &Identity,
        verdict: Verdict,
        comment: &str,
    ) -> Result<View, Error> {
        let comment = crate::preview::short(&*self.0.redact, comment, MAX_COMMENT);
        let record = self.step(id, Step::Vote { by: by.clone(), verdict, comment }).await?;
        Ok(View::of(&record, self.now(), &self.0.config.public_url))
    }

    /// Takes it back: for the one who asked, or one who is asked (a program only where programs may vote).
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not theirs, decided already, or in use.
    pub async fn cancel(&self, id: &str, by: &Identity) -> Result<View, Error> {
        let record = self.step(id, Step::Cancel { by: by.clone() }).await?;
        Ok(View::of(&record, self.now(), &self.0.config.public_url))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn requirements(&self) -> Arc<BTreeMap<String, Requirement>> {
        Arc::clone(&self.0.requirements.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn get(&self, id: &Arc<str>) -> Result<Record, Error> {
        let id = Arc::clone(id);
        self.0.store.run(move |db| store::get(db, &id)).await
    }

    /// Finds the approval that a request attaches to, or puts `record` before people; `None` if there is no room.
    /// Goes on to its end even if the caller hangs up.
    pub(crate) async fn attach(&self, record: Record) -> Result<Option<Record>, Error> {
        let this = self.clone();
        to_its_end(async move {
            this.end_if_overdue(record.digest).await?;
            let _one_at_a_time = this.0.deciding.lock().await;
            this.attach_now(record).await
        })
        .await
    }

    /// Takes a step, to its end even if the caller hangs up.
    pub(crate) async fn step(&self, id: &str, step: Step) -> Result<Record, Error> {
        let (this, id) = (self.clone(), id.to_owned());
        to_its_end(async move {
            let _one_at_a_time = this.0.deciding.lock().await;
            this.step_now(&id, step).await
        })
        .await
    }

    async fn end_if_overdue(&self, digest: RequestDigest) -> Result<(), Error> {
        let open = self.0.store.run(move |db| store::open_by_digest(db, digest)).await?;
        match open {
            Some(record) if record.progress.state_at(self.now()) == State::Expired => {
                self.step(&record.id, Step::Tick).await.map(|_| ())
            }
            _ => Ok(()),
        }
    }

    async fn attach_now(&self, record: Record) -> Result<Option<Record>, Error> {
        let now = self.now();
        let denied_for = i64::try_from(self.0.config.denied_for.as_micros()).unwrap_or(i64::MAX);
        let denied_since = Timestamp(now.0.saturating_sub(denied_for));
        let room =
            Room { per_caller: self.0.config.max_pending_per_caller, in_all: self.0.config.max_pending };
        let (digest, caller) = (record.digest, record.progress.requester.key());
        let looked = self.0.store.run(move |db| {
            let existing = store::find(db, digest, now, denied_since)?;
            Ok((existing, store::has_room(db, &caller, room, now)?))
        });
        match looked.await? {
            (Some(existing), _) => return Ok(Some(existing)),
            (None, false) => return Ok(None),
            (None, true) => {}
        }
        self.write_down(Event {
            kind: EventKind::ApprovalRequested,
            actor: Some(record.progress.requester.clone()),
            object: Arc::clone(&record.id),
            outcome: record.asked.requirement.as_str().into(),
            request: record.asked.request,
        })
        .await?;
        let copy = record.clone();
        match self.0.store.run(move |db| store::place(db, &copy, now, denied_since, room)).await? {
            Placed::New => {
                self.0.changes.send_modify(|count| *count += 1);
                Ok(Some(record))
            }
            Placed::Existing(existing) => Ok(Some(*existing)),
            Placed::NoRoom => Ok(None),
        }
    }

    /// Works out what a step leads to, records that, and makes it so if nobody came in between.
    async fn step_now(&self, id: &str, step: Step) -> Result<Record, Error> {
        let mut written_down = false;
        for _ in 0..TRIES {
            let name = id.to_owned();
            let mut record = self.0.store.run(move |db| store::get(db, &name)).await?;
            let (seen, before) = (record.revision, record.progress.clone());
            let refused = record.progress.take(step.clone(), self.now()).err();
            if record.progress == before {
                return refused.map_or(Ok(record), |refused| Err(refused.into()));
            }
            if !written_down {
                self.write_down_step(&record, before.state, &step, refused.is_none()).await?;
                written_down = true;
            }
            if record.progress.erased.is_some() {
                record.asked.erase();
            }
            record.revision += 1;
            let copy = record.clone();
            if self.0.store.run(move |db| store::replace(db, &copy, seen)).await? {
                self.0.changes.send_modify(|count| *count += 1);
                return refused.map_or(Ok(record), |refused| Err(refused.into()));
            }
        }
        Err(Error::Store("others changed it again and again in between".to_owned()))
    }

    /// Records a step and the state it leads to. What people do is not done if it cannot be recorded; what has
    /// happened already is kept all the same.
    async fn write_down_step(
        &self,
        record: &Record,
        was: State,
        step: &Step,
        taken: bool,
    ) -> Result<(), Error> {
        let (actor, by_people) = match step {
            Step::Vote { by, .. } | Step::Cancel { by } | Step::Erase { by } => (Some(by.clone()), true),
            _ => (None, false),
        };
        let event = |kind, actor, outcome: &str| Event {
            kind,
            actor,
            object: Arc::clone(&record.id),
            outcome: outcome.into(),
            request: record.progress.used_by,
        };
        if let (Step::Vote { verdict, .. }, true) = (step, taken) {
            self.write_down(event(EventKind::ApprovalVote, actor.clone(), verdict.as_str())).await?;
        }
        let state = record.progress.state;
        if state == was {
            return Ok(());
        }
        let actor = actor.filter(|_| state == State::Cancelled);
        let written = self.write_down(event(EventKind::ApprovalState, actor, state.as_str())).await;
        match written {
            Err(error) if by_people && taken => Err(error),
            Err(error) => {
                tracing::error!(approval = &*record.id, state = state.as_str(), %error,
                    "an approval's state is kept but could not be recorded");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn write_down(&self, event: Event) -> Result<(), Error> {
        match tokio::time::timeout(JOURNAL_PATIENCE, self.0.journal.record(event)).await {
            Ok(recorded) => recorded.map_err(|error| Error::Journal(printable(&error.0, 200))),
            Err(_) => Err(Error::Journal("the journal does not answer".to_owned())),
        }
    }

    async fn settle_last_run(&self) -> Result<(), Error> {
        for record in self.0.store.run(|db| store::in_use(db)).await? {
            let Some(taken) = record.progress.in_use else { continue };
            let request = taken.request;
            let step = match self.claimed(&record.id, taken).await {
                Claimed::No => Step::Release(request),
                Claimed::By(by) => Step::Lose { request, by },
                Claimed::Unknown => Step::Lose { request, by: request },
            };
            self.step(&record.id, step).await?;
        }
        self.sweep().await
    }

    /// What the journal says of this use.
    async fn claimed(&self, id: &Arc<str>, taken: Use) -> Claimed {
        if !taken.claimed_in_journal {
            return Claimed::Unknown;
        }
        let claim = claim(id);
        match tokio::time::timeout(JOURNAL_PATIENCE, self.0.journal.claimed(&claim)).await {
            Ok(Ok(Some(by))) => Claimed::By(by),
            Ok(Ok(None)) => Claimed::No,
            Ok(Err(_)) | Err(_) => {
                tracing::error!(approval = &**id, "the journal does not say whether an approval was used");
                Claimed::Unknown
            }
        }
    }

    /// Settles a use, as far as it can be known. `answered` is true if an answer of the upstream began.
    pub(crate) async fn settle(&self, id: &Arc<str>, taken: Use, answered: bool) {
        let request = taken.request;
        let step = if answered {
            Step::Finish { request, by: request }
        } else {
            match self.claimed(id, taken).await {
                Claimed::No => Step::Release(request),
                Claimed::By(by) => Step::Finish { request, by },
                Claimed::Unknown => Step::Lose { request, by: request },
            }
        };
        match self.step(id, step).await {
            // It never got to be used, or was settled already.
            Ok(_) | Err(Error::Refused(Refused::NotUsable(_))) => {}
            Err(error) => {
                tracing::error!(approval = &**id, %error, "what became of an approval is not kept; it stays in use");
            }
        }
    }
}

/// What the journal says of a use.
enum Claimed {
    No,
    By(RequestId),
    Unknown,
}

/// Runs work to its end even if whoever waits for it goes away.
async fn to_its_end<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    tokio::spawn(work).await.unwrap_or_else(|error| Err(Error::Store(error.to_string())))
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Approvals({} held)", self.held())
    }
}

/// The claim of an approval.
pub(crate) fn claim(id: &Arc<str>) -> Claim {
    Claim { kind: CLAIM_KIND, id: Arc::clone(id) }
}

/// The claim of one request that passes on a grant: so that the record names the grant, which may be used again.
pub(crate) fn grant_claim(id: &Arc<str>, request: RequestId) -> Claim {
    Claim { kind: GRANT_CLAIM_KIND, id: format!("{id}/{request}").into() }
}

/// A name for a new approval: sorts by time, and cannot be guessed.
pub(crate) fn new_id() -> Arc<str> {
    format!("apr-{}", uuid::Uuid::now_v7().simple()).into()
}
