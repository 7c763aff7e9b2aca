//! Inclusion and consistency proofs (RFC 6962, sections 2.1.1 and 2.1.2), and their checks.

use crate::codec::Digest;
use crate::tree::{TILE_HEIGHT, empty_root, node_hash};

/// Where the hashes of perfect subtrees come from.
pub(crate) trait Hashes {
    type Error;

    /// Hash of the perfect subtree of `2^height` leaves that is the `index`th of that height.
    fn subtree(&mut self, height: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// Hash over the leaves `start..end`, where `start` is a multiple of the next power of two of the length.
fn range<H: Hashes>(hashes: &mut H, start: u64, end: u64) -> Result<Digest, H::Error> {
    let len = end - start;
    if len == 0 {
        return Ok(empty_root());
    }
    if len.is_power_of_two() {
        return hashes.subtree(len.trailing_zeros(), start / len);
    }
    let split = largest_power_below(len);
    let left = range(hashes, start, start + split)?;
    let right = range(hashes, start + split, end)?;
    Ok(node_hash(&left, &right))
}

/// The largest power of two smaller than `len`, which is at least 2.
fn largest_power_below(len: u64) -> u64 {
    1 << (63 - (len - 1).leading_zeros())
}

/// Hash of the tree over the first `size` leaves.
pub(crate) fn root_at<H: Hashes>(hashes: &mut H, size: u64) -> Result<Digest, H::Error> {
    range(hashes, 0, size)
}

/// The hashes that lead from the leaf to the root. `index` is below `size`.
pub(crate) fn inclusion<H: Hashes>(hashes: &mut H, index: u64, size: u64) -> Result<Vec<Digest>, H::Error> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let split = start + largest_power_below(end - start);
        if index < split {
            path.push(range(hashes, split, end)?);
            end = split;
        } else {
            path.push(range(hashes, start, split)?);
            start = split;
        }
    }
    path.reverse();
    Ok(path)
}

/// The hashes that show the tree of `old` leaves to be the beginning of the tree of `new` leaves.
pub(crate) fn consistency<H: Hashes>(hashes: &mut H, old: u64, new: u64) -> Result<Vec<Digest>, H::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut start, mut end) = (0, new);
    let mut whole = true;
    loop {
        if old == end {
            if !whole {
                path.push(range(hashes, start, end)?);
            }
            break;
        }
        let split = start + largest_power_below(end - start);
        if old <= split {
            path.push(range(hashes, split, end)?);
            end = split;
        } else {
            path.push(range(hashes, start, split)?);
            start = split;
            whole = false;
        }
    }
    path.reverse();
    Ok(path)
}

/// True if `path` leads from the leaf's hash to the root.
pub(crate) fn includes(leaf: Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// True if `path` shows that the old tree is the beginning of the new one.
pub(crate) fn extends(old: (u64, &Digest), new: (u64, &Digest), path: &[Digest]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    let mut path = path.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// Splits a subtree into its place in a tile: tile level, and the range of that level's hashes it covers.
pub(crate) fn tile_range(height: u32, index: u64) -> (u8, u64, u64) {
    let level = height / TILE_HEIGHT;
    let width = 1_u64 << (height % TILE_HEIGHT);
    (u8::try_from(level).expect("a height is below 64"), index * width, (index + 1) * width)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tree::{Tree, leaf_hash};
    use proptest::prelude::*;

    /// Leaves in memory.
    pub(crate) struct Plain(pub(crate) Vec<Digest>);

    impl Hashes for Plain {
        type Error = std::convert::Infallible;

        fn subtree(&mut self, height: u32, index: u64) -> Result<Digest, Self::Error> {
            let width = 1_usize << height;
            let start = usize::try_from(index).unwrap() * width;
            Ok(crate::tree::perfect_root(&self.0[start..start + width]))
        }
    }

    fn leaves(count: u64) -> Vec<Vec<u8>> {
        (0..count).map(|n| n.to_be_bytes().to_vec()).collect()
    }

    fn plain(count: u64) -> Plain {
        Plain(leaves(count).iter().map(|leaf| leaf_hash(leaf)).collect())
    }

    #[test]
    fn roots_agree_with_ct_merkle_for_each_size_to_2000() {
        let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        let mut ours = Tree::default();
        for leaf in leaves(2001) {
            assert_eq!(ours.root()[..], theirs.root().as_bytes()[..], "size {}", ours.size());
            ours.push(leaf_hash(&leaf), &mut Vec::new());
            theirs.push(leaf);
        }
    }

    /// RFC 6962, section 2.1.3: the tree of seven leaves, its nodes by the letters they have there.
    #[test]
    fn the_examples_of_rfc_6962() {
        let [a, b, c, d, e, f, j]: [Digest; 7] =
            std::array::from_fn(|n| leaf_hash(&(n as u64).to_be_bytes()));
        let (g, h, i) = (node_hash(&a, &b), node_hash(&c, &d), node_hash(&e, &f));
        let (k, l) = (node_hash(&g, &h), node_hash(&i, &j));
        let mut tree = plain(7);
        assert_eq!(root_at(&mut tree, 7), Ok(node_hash(&k, &l)));
        for (leaf, path) in [(0, vec![b, h, l]), (3, vec![c, g, l]), (4, vec![f, j, k]), (6, vec![i, k])] {
            assert_eq!(inclusion(&mut tree, leaf, 7), Ok(path), "leaf {leaf}");
        }
        for (old, path) in [(3, vec![c, d, g, l]), (4, vec![l]), (6, vec![i, j, k])] {
            assert_eq!(consistency(&mut tree, old, 7), Ok(path), "{old} leaves");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn proofs_agree_with_ct_merkle(new in 1_u64..2000, a: u64, b: u64) {
            let (index, old) = (a % new, 1 + b % new);
            let mut theirs = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            leaves(new).into_iter().for_each(|leaf| theirs.push(leaf));
            let mut ours = plain(new);
            let at = usize::try_from(index).unwrap();

            let path = inclusion(&mut ours, index, new).unwrap();
            let expected = theirs.prove_inclusion(at);
            prop_assert_eq!(path.concat(), expected.as_bytes());
            let root = root_at(&mut ours, new).unwrap();
            let leaf = leaf_hash(&index.to_be_bytes());
            prop_assert!(includes(leaf, index, new, &path, &root));
            prop_assert!(!includes(leaf, index, new, &path, &[9; 32]));
            if new > 1 {
                prop_assert!(!includes(leaf, (index + 1) % new, new, &path, &root));
            }

            let path = consistency(&mut ours, old, new).unwrap();
            if old < new {
                let additions = usize::try_from(new - old).unwrap();
                let expected = theirs.prove_consistency(additions);
                prop_assert_eq!(path.concat(), expected.as_bytes());
            }
            let old_root = root_at(&mut ours, old).unwrap();
            prop_assert!(extends((old, &old_root), (new, &root), &path));
            prop_assert!(!extends((old, &[9; 32]), (new, &root), &path));
            prop_assert!(!extends((old, &old_root), (new, &[9; 32]), &path));
        }
    }
}
