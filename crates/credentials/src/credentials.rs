//! The handle: which credential goes to which upstream, in which version.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_lc_rs::hmac;
use gatewayd_core::{Clock, CredentialVersion, Event, EventKind, Journal, Secret, Timestamp};

use crate::error::Problem;
use crate::source::Value;
use crate::version::Version;
use crate::{Config, CredentialConfig, Error, Source};

/// How long the last value serves after its file is gone: some tools remove before they write.
const MISSING_GRACE: Duration = Duration::from_secs(5);

/// Called with each new version before it is used, so that a masker knows the value in time.
pub type OnVersion = Arc<dyn Fn(&CredentialVersion, &Secret) + Send + Sync>;

/// The credentials of all upstreams. Clones are the same credentials.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    entries: Vec<Arc<Entry>>,
    /// What each known upstream gets; `None` where it wants nothing.
    upstreams: HashMap<String, Option<Arc<Entry>>>,
    version_key: Option<hmac::Key>,
    clock: Arc<dyn Clock>,
    journal: Arc<dyn Journal>,
    on_version: OnVersion,
    /// Held by whoever reads the sources, so that an older value never follows a newer one.
    reading: tokio::sync::Mutex<()>,
}

/// One credential and its version in force.
pub(crate) struct Entry {
    pub(crate) config: CredentialConfig,
    current: ArcSwapOption<Version>,
    /// A new version that the journal could not take yet.
    pending: Mutex<Option<Version>>,
    trouble: Mutex<Option<Trouble>>,
}

struct Trouble {
    problem: Problem,
    since: Timestamp,
}

/// The state of one credential, for health checks and people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CredentialStatus {
    /// Its name.
    pub name: String,
    /// The version in force, if there is one.
    pub version: Option<Arc<str>>,
    /// When it came into force.
    pub since: Option<Timestamp>,
    /// What is wrong with its source now, if anything is.
    pub problem: Option<String>,
}

impl Credentials {
    /// Sets the credentials up and reads them. A value that cannot be had yet is no error: requests for
    /// its upstreams are refused until it can.
    ///
    /// # Errors
    /// If the settings do not hold.
    pub fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        journal: Arc<dyn Journal>,
        on_version: OnVersion,
    ) -> Result<Self, Error> {
        Self::build(config, clock, journal, on_version, None)
    }

    /// The same under another configuration. Credentials that are read and sent as before keep their
    /// versions; the hook hears of new ones only. This handle stays as it is.
    ///
    /// # Errors
    /// If the settings do not hold.
    pub fn reconfigured(&self, config: Config) -> Result<Self, Error> {
        let Inner { clock, journal, on_version, .. } = &*self.0;
        Self::build(config, Arc::clone(clock), Arc::clone(journal), Arc::clone(on_version), Some(&self.0))
    }

    /// Reads all sources now and puts new values in force, each once the journal has it.
    pub async fn reload(&self) -> Vec<CredentialStatus> {
        let guard = self.0.reading.lock().await;
        for entry in &self.0.entries {
            let source = entry.config.source.clone();
            let read = tokio::task::spawn_blocking(move || source.read()).await;
            let read = read.unwrap_or_else(|_| Err(Problem::Unreadable("reading was given up".to_owned())));
            self.0.take(entry, read).await;
        }
        drop(guard);
        self.status()
    }

    /// The state of each credential, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<CredentialStatus> {
        self.0.entries.iter().map(|entry| entry.status()).collect()
    }

    /// True if every credential has a version in force.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.0.entries.iter().all(|entry| entry.current.load().is_some())
    }

    /// What the upstream gets: outer `None` if it is unknown, inner `None` if it wants nothing.
    pub(crate) fn of_upstream(&self, upstream: &str) -> Option<Option<&Entry>> {
        self.0.upstreams.get(upstream).map(Option::as_deref)
    }

    fn build(
        config: Config,
        clock: Arc<dyn Clock>,
        journal: Arc<dyn Journal>,
        on_version: OnVersion,
        before: Option<&Inner>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let version_key =
            config.version_key.as_ref().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
        let entries: Vec<Arc<Entry>> = config.credentials.into_iter().map(Entry::new).map(Arc::new).collect();
        let mut upstreams: HashMap<_, _> = config.without.into_iter().map(|name| (name, None)).collect();
        for entry in &entries {
            upstreams
                .extend(entry.config.upstreams.iter().map(|name| (name.clone(), Some(Arc::clone(entry)))));
        }
        let reading = tokio::sync::Mutex::new(());
        let inner = Inner { entries, upstreams, version_key, clock, journal, on_version, reading };
        for entry in &inner.entries {
            let kept = before.and_then(|before| before.kept(entry));
            entry.current.store(kept);
            if let Err(problem) = inner.read_first(entry) {
                entry.note(problem, inner.clock.now());
            }
        }
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.entries.iter().map(|entry| &entry.config.source)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials").field(&self.status()).finish()
    }
}

impl Inner {
    /// The version in force of the same credential, if it is read and sent in the same way.
    fn kept(&self, next: &Entry) -> Option<Arc<Version>> {
        let is_same = |entry: &&Arc<Entry>| {
            let (a, b) = (&entry.config, &next.config);
            (&a.name, &a.source, &a.header, &a.prefix) == (&b.name, &b.source, &b.header, &b.prefix)
        };
        self.entries.iter().find(is_same)?.current.load_full()
    }

    /// Reads a source as the gateway starts. No rotation: each request's record names its version.
    fn read_first(&self, entry: &Entry) -> Result<(), Problem> {
        let value = entry.config.source.read()?;
        // A value that is new to a running gateway is for `reload`, which records it.
        if entry.current.load().is_none() {
            entry.put_in_force(self.new_version(entry, &value)?);
        }
        Ok(())
    }

    async fn take(&self, entry: &Entry, read: Result<Value, Problem>) {
        let now = self.clock.now();
        let value = match read {
            Ok(value) => value,
            Err(problem) => {
                entry.note(problem, now);
                return self.withdraw_if_gone(entry, now).await;
            }
        };
        if entry.current.load().as_ref().is_some_and(|version| version.has_value(&value.bytes)) {
            return entry.all_well();
        }
        let pending = entry.take_pending().filter(|version| version.has_value(&value.bytes));
        match pending.map_or_else(|| self.new_version(entry, &value), Ok) {
            Err(problem) => entry.note(problem, now),
            Ok(version) => match self.record(&version.id, &version.id.version).await {
                Err(problem) => {
                    entry.note(problem, now);
                    entry.put_off(version);
                }
                Ok(()) => {
                    tracing::info!(
                        credential = entry.config.name,
                        version = &*version.id.version,
                        "a new version of the credential is in force"
                    );
                    entry.put_in_force(version);
                }
            },
        }
    }

    /// A file that stays away was taken away: its value is used no longer.
    async fn withdraw_if_gone(&self, entry: &Entry, now: Timestamp) {
        let Some(current) = entry.current.load_full() else { return };
        if !entry.is_gone(now) {
            return;
        }
        // Not using it is safe whether or not the log can take it.
        entry.current.store(None);
        tracing::warn!(
            credential = entry.config.name,
            version = &*current.id.version,
            "the credential's file is gone, so its last value is used no longer"
        );
        if let Err(problem) = self.record(&current.id, "withdrawn").await {
            tracing::error!(credential = entry.config.name, %problem, "the withdrawal is not in the record");
        }
    }

    /// Makes a version of the value and tells the hook, before anybody can use it.
    fn new_version(&self, entry: &Entry, value: &Value) -> Result<Version, Problem> {
        if value.world_readable {
            tracing::warn!(
                credential = entry.config.name,
                "everybody on this machine can read the credential's file: take the right away (chmod o-r)"
            );
        }
        let version = Version::new(&entry.config, &value.bytes, self.version_key.as_ref(), self.clock.now())?;
        (self.on_version)(&version.id, &version.secret);
        Ok(version)
    }

    async fn record(&self, version: &CredentialVersion, outcome: &str) -> Result<(), Problem> {
        let event = Event {
            kind: EventKind::CredentialRotated,
            actor: None,
            object: Arc::clone(&version.credential),
            outcome: outcome.into(),
            request: None,
        };
        self.journal.record(event).await.map_err(|error| Problem::Unrecorded(error.to_string()))
    }
}

impl Entry {
    pub(crate) fn current(&self) -> arc_swap::Guard<Option<Arc<Version>>> {
        self.current.load()
    }

    fn new(config: CredentialConfig) -> Self {
        Self { config, current: ArcSwapOption::empty(), pending: Mutex::default(), trouble: Mutex::default() }
    }

    fn put_in_force(&self, version: Version) {
        self.current.store(Some(Arc::new(version)));
        self.all_well();
    }

    fn put_off(&self, version: Version) {
        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }

    fn take_pending(&self) -> Option<Version> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn all_well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Notes what is wrong; says it once, not at every look.
    fn note(&self, problem: Problem, now: Timestamp) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.as_ref().is_some_and(|known| known.problem == problem) {
            return;
        }
        tracing::warn!(
            credential = self.config.name,
            %problem,
            last_value_serves = self.current.load().is_some(),
            "the credential's source gives no value"
        );
        *trouble = Some(Trouble { problem, since: now });
    }

    fn is_gone(&self, now: Timestamp) -> bool {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble
            .as_ref()
            .is_some_and(|known| known.problem == Problem::Missing && now.since(known.since) >= MISSING_GRACE)
    }

    fn status(&self) -> CredentialStatus {
        let current = self.current.load();
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        CredentialStatus {
            name: self.config.name.clone(),
            version: current.as_ref().map(|version| Arc::clone(&version.id.version)),
            since: current.as_ref().map(|version| version.since),
            problem: trouble.as_ref().map(|known| known.problem.to_string()),
        }
    }
}
