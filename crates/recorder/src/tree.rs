//! The Merkle tree of RFC 6962 (section 2.1), grown one leaf at a time and cut into tiles of 256 hashes
//! (C2SP tlog-tiles).

use crate::codec::{Digest, sha256};

/// Hashes in a full tile.
pub(crate) const TILE: usize = 256;
/// A tile spans this many levels of the tree.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// Hash of a leaf.
pub(crate) fn leaf_hash(leaf: &[u8]) -> Digest {
    sha256(&[&[0], leaf])
}

/// Hash of an inner node.
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut block = [1_u8; 65];
    let (_, hashes) = block.split_at_mut(1);
    let (l, r) = hashes.split_at_mut(32);
    l.copy_from_slice(left);
    r.copy_from_slice(right);
    sha256(&[&block])
}

/// Hash of the tree without leaves.
pub(crate) fn empty_root() -> Digest {
    sha256(&[])
}

/// A full tile: 256 hashes of one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullTile {
    pub(crate) level: u8,
    pub(crate) index: u64,
    pub(crate) hashes: Vec<u8>,
}

/// The right edge of a tree: for each tile level the hashes of the tile that is not full yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    size: u64,
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// A tree of `size` leaves, whose edge is read tile by tile: `hash(level, i)` is the `i`th hash of
    /// that tile level.
    pub(crate) fn from_edge<E>(
        size: u64,
        mut hash: impl FnMut(u8, u64) -> Result<Digest, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        let mut count = size;
        let mut level = 0_u8;
        while count > 0 {
            let first = count - count % TILE as u64;
            levels.push((first..count).map(|i| hash(level, i)).collect::<Result<Vec<_>, E>>()?);
            count /= TILE as u64;
            level += 1;
        }
        Ok(Self { size, levels })
    }

    /// How many leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash; tiles that became full are handed out.
    pub(crate) fn push(&mut self, leaf: Digest, full: &mut Vec<FullTile>) {
        self.size += 1;
        let mut carried = Some(leaf);
        let mut level = 0_u8;
        while let Some(hash) = carried.take() {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::with_capacity(TILE));
            }
            let edge = self.levels.get_mut(usize::from(level)).expect("the level was added above");
            edge.push(hash);
            if edge.len() == TILE {
                // After the push, the level holds this many full tiles.
                let index = (self.size >> (TILE_HEIGHT * (u32::from(level) + 1))) - 1;
                full.push(FullTile { level, index, hashes: edge.concat() });
                carried = Some(perfect_root(edge));
                edge.clear();
            }
            level += 1;
        }
    }

    /// Hash of the whole tree.
    pub(crate) fn root(&self) -> Digest {
        // The tree is a row of perfect subtrees, the largest first; the smallest are joined first.
        let mut root: Option<Digest> = None;
        for edge in &self.levels {
            let mut end = edge.len();
            for bit in 0..TILE_HEIGHT {
                let width = 1_usize << bit;
                if end & width == 0 {
                    continue;
                }
                let start = end - width;
                let subtree = perfect_root(edge.get(start..end).expect("a range within the edge"));
                root = Some(match root {
                    None => subtree,
                    Some(right) => node_hash(&subtree, &right),
                });
                end = start;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

/// Root of a perfect subtree over a power of two of hashes.
pub(crate) fn perfect_root(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => empty_root(),
        [one] => *one,
        many => {
            let mut row: Vec<Digest> = pairs(many);
            while row.len() > 1 {
                row = pairs(&row);
            }
            row.first().copied().unwrap_or_else(empty_root)
        }
    }
}

fn pairs(row: &[Digest]) -> Vec<Digest> {
    row.chunks_exact(2)
        .map(|pair| match pair {
            [left, right] => node_hash(left, right),
            _ => unreachable!("chunks of exactly two"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of RFC 6962, section 2.1, word by word.
    fn by_definition(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let k = many.len().next_power_of_two() / 2;
                node_hash(&by_definition(&many[..k]), &by_definition(&many[k..]))
            }
        }
    }

    #[test]
    fn vectors_of_certificate_transparency() {
        // The eight inputs and roots that the reference implementations of RFC 6962 test with.
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let mut tree = Tree::default();
        for (input, root) in inputs.iter().zip(roots) {
            tree.push(leaf_hash(&hex::decode(input).unwrap()), &mut Vec::new());
            assert_eq!(hex::encode(tree.root()), root);
        }
    }

    #[test]
    fn growing_agrees_with_the_definition_and_with_reading_the_edge() {
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        let mut full = Vec::new();
        for n in 0..700_u32 {
            assert_eq!(tree.root(), by_definition(&leaves), "size {n}");
            let hash = leaf_hash(&n.to_be_bytes());
            leaves.push(hash);
            tree.push(hash, &mut full);
        }
        assert_eq!(full.len(), 2);
        assert_eq!(full[1].index, 1);
        let read = Tree::from_edge(700, |level, i| {
            Ok::<_, ()>(match level {
                0 => leaves[usize::try_from(i).unwrap()],
                _ => perfect_root(&leaves[usize::try_from(i).unwrap() * TILE..][..TILE]),
            })
        });
        assert_eq!(read, Ok(tree));
    }
}
