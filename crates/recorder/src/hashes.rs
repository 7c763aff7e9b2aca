//! The hashes of the tree, read from the database.

use rusqlite::Connection;

use crate::codec::Digest;
use crate::error::Error;
use crate::proof::{Hashes, tile_range};
use crate::store;
use crate::tree::{TILE, perfect_root};

/// The hashes of the tree, read from the database.
pub(crate) struct StoredHashes<'a>(pub(crate) &'a Connection);

impl Hashes for StoredHashes<'_> {
    type Error = Error;

    fn subtree(&mut self, height: u32, index: u64) -> Result<Digest, Error> {
        let (level, start, end) = tile_range(height, index);
        let row: Vec<Digest> = self.range(level, start, end)?;
        Ok(perfect_root(&row))
    }
}

impl StoredHashes<'_> {
    /// The hashes `start..end` of a tile level, all of one tile.
    pub(crate) fn range(&self, level: u8, start: u64, end: u64) -> Result<Vec<Digest>, Error> {
        let (n, first) = (start / TILE as u64, start % TILE as u64);
        if let Ok(tile) = store::tile(self.0, level, n) {
            let skip = usize::try_from(first).unwrap_or(usize::MAX);
            let count = usize::try_from(end - start).unwrap_or(usize::MAX);
            let row: Vec<Digest> = tile
                .chunks_exact(32)
                .skip(skip)
                .take(count)
                .filter_map(|hash| hash.try_into().ok())
                .collect();
            return if row.len() == count {
                Ok(row)
            } else {
                Err(Error::Damaged(format!("tile {level}/{n}")))
            };
        }
        (start..end).map(|i| store::edge_hash(self.0, level, i)).collect()
    }

    /// The entries `start..end`, each with its length before it (2 bytes), as tlog-tiles bundles them.
    pub(crate) fn entries(&self, start: u64, end: u64) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        for i in start..end {
            let leaf = store::leaf(self.0, i)?;
            let len =
                u16::try_from(leaf.len()).map_err(|_| Error::Damaged(format!("entry {i} is too long")))?;
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(&leaf);
        }
        Ok(out)
    }
}
