//! Decisions that were made before.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use gatewayd_core::{Decision, Identity, Operation, Timestamp, UpstreamName};
use quick_cache::sync::Cache as Bounded;

use crate::engine::Entry;
use crate::window::Window;

/// Decisions kept. An entry is about 100 bytes.
const CAPACITY: usize = 8192;
/// A request whose inputs are longer than this is decided anew each time, so that nobody can make the key costly.
const MAX_INPUT: usize = 4096;

/// Which inputs some rule looks at. What no rule looks at stays out of the key, so that more requests share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses {
    subject: bool,
    source: bool,
    now: bool,
    windows: Vec<Window>,
}

impl Uses {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut uses = Self::default();
        for entry in entries {
            match &entry.rule {
                Some(rule) => {
                    uses.subject |= rule.spec.subjects.is_some();
                    uses.source |= rule.sources.is_some();
                    if let Some(window) = &rule.window
                        && !uses.windows.contains(window)
                    {
                        uses.windows.push(window.clone());
                    }
                }
                None => {
                    // A Cedar file may look at anything about the caller. Whether it looks at the clock or the
                    // address is told by the name, which stands plainly in the JSON form however it is written.
                    let form = entry.policy.to_json().map(|json| json.to_string());
                    let names = |name: &str| form.as_ref().map_or(true, |form| form.contains(name));
                    uses.subject = true;
                    uses.source |= names("\"source\"");
                    uses.now |= names("\"now\"");
                }
            }
        }
        uses
    }
}

/// The windows that are open, one bit each. A decision holds as long as they stay the same.
pub(crate) type OpenWindows = Vec<u64>;

pub(crate) struct Cache {
    uses: Uses,
    /// Two keyed hashes make the key: whoever chooses the inputs does not know the keys, so cannot make two
    /// requests meet, and 128 bits do not meet by chance.
    hashers: [RandomState; 2],
    decisions: Bounded<u128, Decision>,
}

impl Cache {
    pub(crate) fn new(uses: Uses) -> Self {
        Self { uses, hashers: [RandomState::new(), RandomState::new()], decisions: Bounded::new(CAPACITY) }
    }

    pub(crate) fn open_windows(&self, now: Timestamp) -> OpenWindows {
        let word = |windows: &[Window]| {
            windows
                .iter()
                .enumerate()
                .fold(0u64, |word, (bit, window)| word | u64::from(window.is_open(now)) << bit)
        };
        self.uses.windows.chunks(64).map(word).collect()
    }

    /// The key of the inputs, or `None` where the decision must not be kept.
    pub(crate) fn key(
        &self,
        identity: &Identity,
        operation: &Operation,
        upstream: &UpstreamName,
        source: Option<IpAddr>,
        windows: &OpenWindows,
    ) -> Option<u128> {
        let model = operation.model.as_deref();
        let others = &operation.other_models;
        let named = model.map_or(0, str::len) + others.iter().map(|other| other.len()).sum::<usize>();
        if self.uses.now || named + operation.route.len() > MAX_INPUT {
            return None;
        }
        let subject = self.uses.subject.then_some((&*identity.subject, identity.kind));
        let source = source.filter(|_| self.uses.source).map(|address| address.to_canonical());
        let inputs = (
            (&*identity.issuer, subject, &identity.groups),
            (operation.action, operation.dialect, operation.streaming, &*operation.route, model, others),
            (&*upstream.0, source, windows),
        );
        let [high, low] = &self.hashers;
        Some((u128::from(high.hash_one(inputs)) << 64) | u128::from(low.hash_one(inputs)))
    }

    pub(crate) fn get(&self, key: u128) -> Option<Decision> {
        self.decisions.get(&key)
    }

    pub(crate) fn put(&self, key: u128, decision: Decision) {
        self.decisions.insert(key, decision);
    }
}
