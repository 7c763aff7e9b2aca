//! Whether an entry that is shown is the one that was signed: the words of a reader are worth no more than that.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;

use crate::codec::Digest;
use crate::error::Error;
use crate::hashes::StoredHashes;
use crate::note::{self, Checkpoint, LOG_KEY, PublicKey};
use crate::proof;
use crate::prove;
use crate::tree::{TILE, leaf_hash};

/// Compares entries with the newest checkpoint. The key is that of the directory: whoever wants more uses `verify`.
#[derive(Default)]
pub(crate) struct Witness {
    head: Option<Checkpoint>,
    /// The hashes of 256 entries, once they were seen to lead to the signed root; `None` if they do not.
    rows: HashMap<u64, Option<Vec<Digest>>>,
}

impl Witness {
    /// False if the entry is not the one that was signed. One that no checkpoint covers yet may be.
    pub(crate) fn holds(
        &mut self,
        conn: &Connection,
        dir: &Path,
        index: u64,
        entry: &[u8],
    ) -> Result<bool, Error> {
        if self.head.as_ref().is_none_or(|head| head.size <= index) {
            self.rows.clear();
            self.head = newest(conn, dir);
        }
        let Some(head) = &self.head else { return Ok(false) };
        if index >= head.size {
            return Ok(true);
        }
        let n = index / TILE as u64;
        let row = match self.rows.get(&n) {
            Some(row) => row,
            None => {
                let row = row(conn, head, n)?;
                self.rows.entry(n).or_insert(row)
            }
        };
        let at = usize::try_from(index % TILE as u64).unwrap_or(usize::MAX);
        Ok(row.as_ref().and_then(|row| row.get(at)) == Some(&leaf_hash(entry)))
    }
}

fn newest(conn: &Connection, dir: &Path) -> Option<Checkpoint> {
    let key = PublicKey::parse(&note::read(&dir.join(LOG_KEY)).ok()?).ok()?;
    key.open(&prove::newest(conn, dir).ok()?).ok()
}

/// The hashes of the entries of a tile. The path of the first of them to the root is made of all the others, so that it
/// proves them all.
fn row(conn: &Connection, head: &Checkpoint, n: u64) -> Result<Option<Vec<Digest>>, Error> {
    let start = n * TILE as u64;
    let end = (start + TILE as u64).min(head.size);
    let mut hashes = StoredHashes(conn);
    let path = proof::inclusion(&mut hashes, start, head.size);
    let (Ok(row), Ok(path)) = (hashes.range(0, start, end), path) else { return Ok(None) };
    let first = row.first().copied().unwrap_or_default();
    Ok(proof::includes(first, start, head.size, &path, &head.root).then_some(row))
}
