//! Names of members that nearly every body has, looked at once for all bodies.

use std::sync::{Arc, PoisonError, RwLock};

use crate::lane::Session;

/// Names in the answers of the dialects we know. One that a rule or a known secret has something to do with is
/// treated like any other.
const COMMON: &[&str] = &[
    "annotations",
    "arguments",
    "audio",
    "cached_tokens",
    "candidates",
    "choices",
    "completion_tokens",
    "completion_tokens_details",
    "content",
    "content_block",
    "content_index",
    "created",
    "created_at",
    "data",
    "delta",
    "description",
    "details",
    "done",
    "done_reason",
    "embedding",
    "error",
    "eval_count",
    "eval_duration",
    "event",
    "finishReason",
    "finish_reason",
    "function",
    "function_call",
    "generated_text",
    "id",
    "index",
    "input_tokens",
    "instructions",
    "item_id",
    "load_duration",
    "logprob",
    "logprobs",
    "message",
    "messages",
    "metadata",
    "model",
    "modelVersion",
    "name",
    "object",
    "output",
    "output_index",
    "output_tokens",
    "parameters",
    "parts",
    "prompt_eval_count",
    "prompt_eval_duration",
    "prompt_tokens",
    "prompt_tokens_details",
    "reasoning",
    "reasoning_content",
    "reasoning_tokens",
    "refusal",
    "response",
    "role",
    "sequence_number",
    "service_tier",
    "special",
    "status",
    "stop_reason",
    "stop_sequence",
    "system_fingerprint",
    "text",
    "title",
    "tool_call_id",
    "tool_calls",
    "total_duration",
    "total_tokens",
    "type",
    "usage",
    "usageMetadata",
];

/// How many names are remembered at most.
const PLACES: usize = 256;
/// Longer ones are not.
const LONGEST: usize = 64;

/// The names that are plain for one masker: clean, and no context for what follows.
pub(crate) struct Names {
    /// Random, so that nobody can choose two names, or two paths, with one hash.
    seed: u64,
    table: RwLock<Arc<Plain>>,
}

/// Those of one generation of known secrets.
#[derive(Debug)]
pub(crate) struct Plain {
    /// None before the first body.
    generation: Option<u64>,
    hashes: Vec<u64>,
}

impl Default for Names {
    fn default() -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0u8) | 1;
        Self { seed, table: RwLock::new(Arc::new(Plain { generation: None, hashes: Vec::new() })) }
    }
}

impl Names {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    fn table(&self) -> Arc<Plain> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Plain {
    /// The plain names for the known secrets that a session knows of.
    pub(crate) fn of(session: &mut Session) -> Arc<Self> {
        let inner = Arc::clone(&session.inner);
        let generation = Some(session.generation());
        let known = inner.names.table();
        if known.generation == generation {
            return known;
        }
        let mut plain = Self { generation, hashes: vec![0; PLACES] };
        for name in COMMON.iter().map(|name| name.as_bytes()) {
            if session.find(name).is_empty() && !session.primes(name, b"\": \"") {
                plain.remember(hash(inner.names.seed, name));
            }
        }
        let plain = Arc::new(plain);
        *inner.names.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&plain);
        plain
    }

    /// Whether a name with this hash is one of them.
    pub(crate) fn has(&self, hash: u64) -> bool {
        slots(hash, self.hashes.len()).iter().any(|slot| self.hashes.get(*slot) == Some(&hash))
    }

    fn remember(&mut self, hash: u64) {
        remember(&mut self.hashes, hash);
    }
}

/// Whether a name may be remembered.
pub(super) fn is_short(spelled: &[u8]) -> bool {
    spelled.len() <= LONGEST
}

/// The hash of a name. Zero is a free place.
pub(super) fn hash(seed: u64, name: &[u8]) -> u64 {
    mix(seed, seed, name) | 1
}

/// Remembers a hash in a table, perhaps in place of another.
pub(super) fn remember(table: &mut [u64], hash: u64) {
    let [first, second] = slots(hash, table.len());
    let free = if table.get(first) == Some(&0) { first } else { second };
    if let Some(known) = table.get_mut(free) {
        *known = hash;
    }
}

/// The two places of a table in which a hash may be.
pub(super) fn slots(hash: u64, length: usize) -> [usize; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "a few bits of a hash")]
    let at = |bits: u64| (bits as usize).checked_rem(length).unwrap_or_default();
    [at(hash >> 8), at(hash >> 32)]
}

/// Mixes bytes into a key.
pub(super) fn mix(seed: u64, mut key: u64, bytes: &[u8]) -> u64 {
    key ^= bytes.len() as u64;
    let factor = u128::from(0x9E37_79B9_7F4A_7C15 ^ seed.rotate_left(23));
    let mut fold = |word: u64| {
        let wide = u128::from(key ^ word ^ seed) * factor;
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let folded = (wide as u64) ^ ((wide >> 64) as u64);
        key = folded.wrapping_add(0x2545_F491_4F6C_DD1D);
    };
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        fold(u64::from_be_bytes(*word));
    }
    if !rest.is_empty() {
        fold(rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
    }
    key
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}
