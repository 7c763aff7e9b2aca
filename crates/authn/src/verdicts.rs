//! Verdicts on tokens seen before, so that a signature is verified once.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use gatewayd_core::{Identity, Timestamp};
use quick_cache::sync::Cache;

use crate::error::Rejected;
use crate::keys::KeyLife;

/// The name a token has in the cache: its SHA-256. The token itself is not kept.
pub(crate) type TokenDigest = [u8; 32];

pub(crate) fn digest_of(token: &str) -> TokenDigest {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    name
}

/// How long a bad signature is remembered: long enough to make a client's loop cheap.
const BAD_LIFE: Duration = Duration::from_secs(30);
const BAD_CAPACITY: usize = 1024;

pub(crate) struct Verdicts {
    good: Cache<TokenDigest, Arc<Good>>,
    // Apart, so that a flood of bad tokens drives out no good one.
    bad: Cache<TokenDigest, Bad>,
}

struct Good {
    identity: Identity,
    deadline: Timestamp,
    /// The key that signed it.
    key: Arc<KeyLife>,
}

#[derive(Clone, Copy)]
struct Bad {
    until: Timestamp,
    from: Timestamp,
}

impl Verdicts {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { good: Cache::new(capacity.max(1)), bad: Cache::new(BAD_CAPACITY) }
    }

    /// The verdict, if there is one and it is still good: not expired, its key still published.
    pub(crate) fn get(&self, token: &TokenDigest, now: Timestamp) -> Option<Result<Identity, Rejected>> {
        if let Some(good) = self.good.get(token) {
            if now < good.deadline && !good.key.is_over(now) {
                return Some(Ok(good.identity.clone()));
            }
            self.good.remove(token);
            return None;
        }
        let bad = self.bad.get(token)?;
        if bad.from <= now && now < bad.until {
            return Some(Err(Rejected::Signature));
        }
        self.bad.remove(token);
        None
    }

    pub(crate) fn keep(
        &self,
        token: TokenDigest,
        identity: Identity,
        deadline: Timestamp,
        key: Arc<KeyLife>,
    ) {
        self.good.insert(token, Arc::new(Good { identity, deadline, key }));
    }

    /// Remembers that the token's signature does not hold under the keys at hand. New keys cannot make
    /// it hold: a key is found by its id, and one of that id was tried.
    pub(crate) fn keep_bad(&self, token: TokenDigest, now: Timestamp) {
        self.bad.insert(token, Bad { from: now, until: now.plus(BAD_LIFE) });
    }
}
