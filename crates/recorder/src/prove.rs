//! Proofs that can be handed on: one entry, or one checkpoint after another, without the rest of the log.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, OptionalExtension as _};

use crate::codec::Digest;
use crate::error::Error;
use crate::hashes::StoredHashes;
use crate::note::{self, Checkpoint, NoteError, PublicKey};
use crate::proof;
use crate::publish::CHECKPOINT;
use crate::store;
use crate::tree::leaf_hash;

/// First line of a proof (C2SP tlog-proof).
const TITLE: &str = "c2sp.org/tlog-proof@v1";

/// One entry and what it takes to see that it is in the log: nothing but the public key is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryProof {
    /// Index of the entry.
    pub index: u64,
    /// The entry's bytes, as `docs/evidence-format.md` describes them.
    pub entry: Vec<u8>,
    /// The hashes from the entry to the root.
    pub path: Vec<[u8; 32]>,
    /// A signed checkpoint that covers it.
    pub checkpoint: String,
}

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The text is no proof.
    #[error("this is not a proof (C2SP tlog-proof with the entry as extra data)")]
    Malformed,
    /// The checkpoint does not hold.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The path does not lead from the entry to the signed root.
    #[error("the entry is not the one that was signed at this place")]
    NotIncluded,
}

impl EntryProof {
    /// Reads the text form.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let (proof, checkpoint) = text.split_once("\n\n").ok_or(ProofError::Malformed)?;
        let mut lines = proof.lines();
        let line =
            |line: Option<&str>, start: &str| line.and_then(|l| l.strip_prefix(start)).map(str::to_owned);
        let title = lines.next() == Some(TITLE);
        let entry = line(lines.next(), "extra ").and_then(|entry| STANDARD.decode(entry).ok());
        let index = line(lines.next(), "index ").and_then(|index| index.parse().ok());
        let hash = |line: &str| STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
        let path = lines.map(hash).collect::<Option<Vec<Digest>>>();
        match (title, entry, index, path) {
            (true, Some(entry), Some(index), Some(path)) => {
                Ok(Self { index, entry, path, checkpoint: checkpoint.to_owned() })
            }
            _ => Err(ProofError::Malformed),
        }
    }

    /// Makes sure that the entry is in the log of this key; gives the checkpoint that says so.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify(&self, key: &PublicKey) -> Result<Checkpoint, ProofError> {
        let checkpoint = key.open(&self.checkpoint)?;
        let leaf = leaf_hash(&self.entry);
        if proof::includes(leaf, self.index, checkpoint.size, &self.path, &checkpoint.root) {
            Ok(checkpoint)
        } else {
            Err(ProofError::NotIncluded)
        }
    }
}

impl std::fmt::Display for EntryProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{TITLE}\nextra {}\nindex {}", STANDARD.encode(&self.entry), self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

/// True if `path`, as [`Reader::consistency`](crate::Reader::consistency) gives it, shows that the log of the
/// old checkpoint is the beginning of the log of the new one. Both were opened with the log's key.
#[must_use]
pub fn is_continuation(old: &Checkpoint, new: &Checkpoint, path: &[[u8; 32]]) -> bool {
    old.origin == new.origin && proof::extends((old.size, &old.root), (new.size, &new.root), path)
}

/// The proof of one entry against the newest checkpoint that covers it.
pub(crate) fn entry(conn: &Connection, dir: &Path, index: u64) -> Result<EntryProof, Error> {
    let checkpoint = newest(conn, dir)?;
    let size = Checkpoint::parse_unverified(&checkpoint)?.size;
    if index >= size {
        return Err(Error::NotSigned(index));
    }
    let path = proof::inclusion(&mut StoredHashes(conn), index, size)?;
    Ok(EntryProof { index, entry: store::leaf(conn, index)?, path, checkpoint })
}

/// The hashes that lead from one size of the log to a later one.
pub(crate) fn consistency(conn: &Connection, old: u64, new: u64) -> Result<Vec<Digest>, Error> {
    let size = store::tree_size(conn)?;
    if new > size {
        return Err(Error::Unavailable(format!("the log has {size} entries, fewer than {new}")));
    }
    proof::consistency(&mut StoredHashes(conn), old, new)
}

/// The newest checkpoint of entries that are there.
pub(crate) fn newest(conn: &Connection, dir: &Path) -> Result<String, Error> {
    let stored: Option<String> = conn
        .query_row("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1", [], |row| row.get(0))
        .optional()?;
    let size = |note: &String| Checkpoint::parse_unverified(note).map_or(0, |c| c.size);
    let candidates = [stored, note::read(&dir.join(CHECKPOINT)).ok()].into_iter().flatten();
    let within = store::tree_size(conn)?;
    candidates
        .filter(|note| size(note) <= within)
        .max_by_key(size)
        .ok_or_else(|| Error::Unavailable("there is no checkpoint yet".into()))
}
