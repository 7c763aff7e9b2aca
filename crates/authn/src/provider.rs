//! One OpenID Connect provider: where its keys are, when they are fetched, how long they are good.
//!
//! Keys are fetched by one task at a time. A request waits for it only if its token names a key that is
//! not known; a budget bounds how often such tokens can cause a fetch, so a storm of them costs none.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gatewayd_core::{Clock, Fetch, Timestamp};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::IssuerConfig;
use crate::jwt::Unverified;
use crate::keys::{Key, KeySet};
use crate::strict_json;

/// A fetch takes no longer than this, whatever the client's own limit is.
const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// A key set or discovery document is no larger than this.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Keys are not fetched more often than this because they got old, whatever `max-age` says.
const SHORTEST_REFRESH: Duration = Duration::from_secs(60);
/// Where the keys are is looked up again after this time, and after any failure.
const DISCOVERY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Unknown keys cause this many fetches in a row, then one each [`UNKNOWN_KEY_INTERVAL`].
const UNKNOWN_KEY_BURST: u32 = 3;
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// Requests that wait for keys at once; more are answered without waiting.
const MOST_WAITING: usize = 1024;
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What a look for a token's keys came to.
pub(crate) enum Found {
    /// Keys that may have signed it.
    Keys(Vec<Arc<Key>>),
    /// The keys are known, and none of them fits.
    Unknown,
    /// The keys are not known.
    Unavailable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The keys are old, or there are none.
    Due,
    /// A token names a key that is not there.
    UnknownKey,
}

pub(crate) struct Provider {
    pub(crate) config: IssuerConfig,
    dangerous_allow_http: bool,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<KeySet>,
    refresh_at: AtomicI64,
    usable_until: Arc<AtomicI64>,
    gate: Arc<tokio::sync::Mutex<Gate>>,
    waiting: Semaphore,
    last_problem: Mutex<Option<String>>,
}

/// Held by whoever fetches.
#[derive(Debug, Default)]
struct Gate {
    last_attempt: Option<Timestamp>,
    failures: u32,
    jwks_url: Option<(String, Timestamp)>,
    spent: u32,
    refilled: Timestamp,
}

impl Gate {
    /// Whether a fetch may start now; if so, it counts.
    fn admit(&mut self, why: Why, now: Timestamp) -> bool {
        if self.failures > 0 {
            let wait = Duration::from_secs(1 << self.failures.min(5).saturating_sub(1)).min(LONGEST_RETRY);
            // A clock that was set back must not make this wait for ever.
            if self.last_attempt.is_some_and(|last| now >= last && now.since(last) < wait) {
                return false;
            }
        }
        if why == Why::UnknownKey {
            self.refill(now);
            if self.spent >= UNKNOWN_KEY_BURST {
                return false;
            }
            self.spent += 1;
        }
        self.last_attempt = Some(now);
        true
    }

    fn refill(&mut self, now: Timestamp) {
        while self.spent > 0 && now.since(self.refilled) >= UNKNOWN_KEY_INTERVAL {
            self.spent -= 1;
            self.refilled = self.refilled.plus(UNKNOWN_KEY_INTERVAL);
        }
        // A full budget saves nothing up; a clock that was set back starts the count anew.
        if self.spent == 0 || now < self.refilled {
            self.refilled = now;
        }
    }
}

impl Provider {
    pub(crate) fn new(
        config: IssuerConfig,
        dangerous_allow_http: bool,
        fetch: Arc<dyn Fetch>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            config,
            dangerous_allow_http,
            fetch,
            clock,
            keys: ArcSwap::default(),
            refresh_at: AtomicI64::new(i64::MIN),
            usable_until: Arc::new(AtomicI64::new(i64::MIN)),
            gate: Arc::default(),
            waiting: Semaphore::new(MOST_WAITING),
            last_problem: Mutex::default(),
        }
    }

    /// The keys that fit the token, of those at hand. Starts a refresh where one is due, without waiting.
    pub(crate) fn look(self: &Arc<Self>, token: &Unverified<'_>) -> Found {
        let now = self.clock.now();
        if !self.has_keys(now) {
            return Found::Unavailable;
        }
        if self.is_due(now) {
            self.start_refresh();
        }
        let fitting = self.keys.load().fitting(token);
        if fitting.is_empty() { Found::Unknown } else { Found::Keys(fitting) }
    }

    /// As [`look`](Self::look), but fetches first if that may help and may be done.
    pub(crate) async fn fetch_and_look(self: &Arc<Self>, token: &Unverified<'_>) -> Found {
        let Ok(_place) = self.waiting.try_acquire() else { return Found::Unavailable };
        let seen = self.keys.load_full();
        let why = if self.has_keys(self.clock.now()) { Why::UnknownKey } else { Why::Due };
        let gate = Arc::clone(&self.gate).lock_owned().await;
        // Somebody else may have fetched while this one waited.
        if Arc::ptr_eq(&seen, &self.keys.load_full()) {
            self.load(gate, why).await;
        } else {
            drop(gate);
        }
        match self.look(token) {
            // The issuer may have published the key: that it was not seen is not the caller's fault.
            Found::Unknown if self.last_problem().is_some() => Found::Unavailable,
            found => found,
        }
    }

    /// Fetches the keys if they are old or missing, and waits for it.
    pub(crate) async fn refresh_if_due(self: &Arc<Self>) {
        if self.is_due(self.clock.now()) {
            let gate = Arc::clone(&self.gate).lock_owned().await;
            if self.is_due(self.clock.now()) {
                self.load(gate, Why::Due).await;
            }
        }
    }

    /// Starts a fetch if the keys are old or missing and nobody fetches already.
    pub(crate) fn start_refresh(self: &Arc<Self>) {
        if !self.is_due(self.clock.now()) {
            return;
        }
        if let Ok(gate) = Arc::clone(&self.gate).try_lock_owned() {
            // Runs by itself; the handle is not needed.
            drop(self.spawn_load(gate, Why::Due));
        }
    }

    pub(crate) fn has_keys(&self, now: Timestamp) -> bool {
        now.0 < self.usable_until.load(Ordering::Acquire)
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys.load().len()
    }

    pub(crate) fn last_problem(&self) -> Option<String> {
        self.last_problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_due(&self, now: Timestamp) -> bool {
        now.0 >= self.refresh_at.load(Ordering::Acquire)
    }

    async fn load(self: &Arc<Self>, gate: tokio::sync::OwnedMutexGuard<Gate>, why: Why) {
        if let Some(task) = self.spawn_load(gate, why) {
            // A panic in the task leaves the keys as they were.
            let _ = task.await;
        }
    }

    /// The fetch is a task of its own: a caller that goes away must not be able to stop it, or tokens
    /// with unknown keys, sent and dropped, could keep new keys out for ever.
    fn spawn_load(
        self: &Arc<Self>,
        mut gate: tokio::sync::OwnedMutexGuard<Gate>,
        why: Why,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let now = self.clock.now();
        if !gate.admit(why, now) {
            return None;
        }
        let this = Arc::clone(self);
        Some(tokio::spawn(async move {
            let outcome = this.fetch_keys(&mut gate, now).await;
            let problem = match outcome {
                Ok(()) => {
                    gate.failures = 0;
                    None
                }
                Err(problem) => {
                    gate.failures = gate.failures.saturating_add(1);
                    gate.jwks_url = None;
                    tracing::warn!(
                        issuer = this.config.issuer,
                        problem,
                        keys_at_hand = this.has_keys(now),
                        "the issuer's keys could not be fetched; the ones at hand serve until they are too old"
                    );
                    Some(problem)
                }
            };
            *this.last_problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        }))
    }

    async fn fetch_keys(&self, gate: &mut Gate, now: Timestamp) -> Result<(), String> {
        let url = match (&self.config.jwks_url, &gate.jwks_url) {
            (Some(url), _) => url.clone(),
            (None, Some((url, found))) if now.since(*found) < DISCOVERY_LIFE => url.clone(),
            (None, _) => {
                let url = self.discover().await?;
                gate.jwks_url = Some((url.clone(), now));
                url
            }
        };
        let (body, max_age) = self.get(&url).await?;
        let old = self.keys.load_full();
        let new = KeySet::parse(&body, &old, &self.usable_until).map_err(|why| format!("{url}: {why}"))?;
        if new.len() == 0 {
            tracing::warn!(issuer = self.config.issuer, "the issuer publishes no key that can be used here");
        }
        let age = max_age.unwrap_or(self.config.refresh).max(SHORTEST_REFRESH).min(self.config.refresh);
        // First out with the old, so that no verdict of a withdrawn key outlives its set.
        old.retire_except(&new);
        self.keys.store(Arc::new(new));
        self.refresh_at.store(now.plus(age).0, Ordering::Release);
        self.usable_until.store(now.plus(self.config.max_staleness).0, Ordering::Release);
        Ok(())
    }

    async fn discover(&self) -> Result<String, String> {
        let url = self.config.discovery_url();
        let (body, _) = self.get(&url).await?;
        let document = strict_json::object(&body).ok_or_else(|| format!("{url}: no JSON object"))?;
        if document.get("issuer").and_then(Value::as_str) != Some(self.config.issuer.as_str()) {
            return Err(format!(
                "{url}: the document is of another issuer: configure the issuer exactly as it says"
            ));
        }
        let Some(jwks) = document.get("jwks_uri").and_then(Value::as_str) else {
            return Err(format!("{url}: the document has no jwks_uri"));
        };
        match self.config.objection(jwks, self.dangerous_allow_http) {
            Some(objection) => Err(format!("{url}: the jwks_uri {objection}")),
            None => Ok(jwks.to_owned()),
        }
    }

    async fn get(&self, url: &str) -> Result<(bytes::Bytes, Option<Duration>), String> {
        let fetched = tokio::time::timeout(FETCH_LIMIT, self.fetch.get(url))
            .await
            .map_err(|_| format!("{url}: no answer within {FETCH_LIMIT:?}"))?
            .map_err(|error| format!("{url}: {error}"))?;
        if fetched.status != 200 {
            return Err(format!("{url}: the answer has status {}", fetched.status));
        }
        if fetched.body.len() > MAX_DOCUMENT {
            return Err(format!("{url}: the answer is larger than {MAX_DOCUMENT} bytes"));
        }
        Ok((fetched.body, fetched.max_age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn unknown_keys_have_a_budget_that_refills() {
        let mut gate = Gate::default();
        let admitted = |gate: &mut Gate, second: i64| gate.admit(Why::UnknownKey, at(second));
        assert!((0..3).all(|_| admitted(&mut gate, 100)));
        assert!((100..110).all(|second| !admitted(&mut gate, second)));
        assert!(admitted(&mut gate, 110));
        assert!(!admitted(&mut gate, 111));
        // An hour later the burst is back, and no more than the burst.
        assert!((0..3).all(|_| admitted(&mut gate, 4000)));
        assert!(!admitted(&mut gate, 4000));
        // The clock is set back: the budget is not stuck.
        assert!(!admitted(&mut gate, 50));
        assert!(admitted(&mut gate, 60));
    }

    #[test]
    fn failures_are_retried_ever_more_slowly() {
        let mut gate = Gate { failures: 1, last_attempt: Some(at(100)), ..Gate::default() };
        assert!(!gate.admit(Why::Due, Timestamp(at(101).0 - 1)));
        assert!(gate.admit(Why::Due, at(101)));
        gate.failures = 40;
        assert!(!gate.admit(Why::Due, at(116)));
        assert!(gate.admit(Why::Due, at(101 + 16)));
        assert!(gate.admit(Why::Due, at(1)), "the clock was set back");
    }
}
