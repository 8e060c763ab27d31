//! The Merkle tree over a log, as in RFC 6962 section 2.1 and RFC 9162.
//!
//! The hash of every complete subtree is in memory, 64 bytes per leaf, so that roots and proofs of any size take logarithmic time.

use hospes_core::id::{Digest, Hasher};

/// A hash in the tree.
pub(super) type Hash = [u8; 32];

/// Maximum hashes of an inclusion proof: the height of a tree of 2^64 leaves.
pub(super) const PROOF_HASHES_MAX: usize = 64;

/// An append-only tree.
#[derive(Default)]
pub(super) struct Tree {
    /// `levels[h][i]`: the subtree of 2^h leaves that begins at leaf i·2^h, once it is complete.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The hash of a leaf.
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.levels.first()?.get(usize::try_from(index).ok()?).copied()
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for height in 0.. {
            if self.levels.len() == height {
                self.levels.push(Vec::new());
            }
            let Some(level) = self.levels.get_mut(height) else { return };
            let left = level.last().copied();
            level.push(hash);
            match left {
                Some(left) if level.len().is_multiple_of(2) => hash = node(&left, &hash),
                Some(_) | None => return,
            }
        }
    }

    /// The root over the first `size` leaves; `None` if there are fewer.
    pub fn root(&self, size: u64) -> Option<Hash> {
        if size == 0 {
            return Some(*Digest::of(&[]).as_bytes());
        }
        self.subtree(0, size)
    }

    /// The inclusion proof of leaf `index` in the first `size` leaves, from the leaf upwards.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut begin, mut end) = (0, size);
        let mut path = Vec::with_capacity(PROOF_HASHES_MAX);
        while end - begin > 1 {
            let middle = begin + split(end - begin);
            if index < middle {
                path.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                path.push(self.subtree(begin, middle)?);
                begin = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962 section 2.1.2). `None` unless
    /// `old <= new <=` the number of leaves.
    pub fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        if old > new || new > self.size() {
            return None;
        }
        let mut path = Vec::with_capacity(2 * PROOF_HASHES_MAX);
        if old == 0 || old == new {
            return Some(path);
        }
        let (mut begin, mut end) = (0, new);
        // Searches for `old`, which is greater than `begin` and at most `end`.
        while end != old {
            let middle = begin + split(end - begin);
            if old <= middle {
                path.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                path.push(self.subtree(begin, middle)?);
                begin = middle;
            }
        }
        // The verifier knows the old tree itself.
        if begin > 0 {
            path.push(self.subtree(begin, end)?);
        }
        path.reverse();
        Some(path)
    }

    /// The tree of the first `size` leaves, which can be extended; `None` if there are fewer.
    pub fn beginning(&self, size: u64) -> Option<Beginning> {
        Some(Beginning { size, parts: self.parts(0, size)? })
    }

    /// The hash of leaves `begin..end`, which must be a subtree in a tree of some size.
    fn subtree(&self, begin: u64, end: u64) -> Option<Hash> {
        joined(&self.parts(begin, end)?)
    }

    /// The complete subtrees of those leaves, largest first.
    fn parts(&self, begin: u64, end: u64) -> Option<Vec<Hash>> {
        let mut parts = Vec::with_capacity(PROOF_HASHES_MAX);
        let mut begin = begin;
        while begin < end {
            let height = (end - begin).ilog2();
            let level = self.levels.get(height as usize)?;
            parts.push(*level.get(usize::try_from(begin >> height).ok()?)?);
            begin += 1 << height;
        }
        Some(parts)
    }
}

/// A prefix of the tree that can be extended with other leaves.
pub(super) struct Beginning {
    size: u64,
    /// Its complete subtrees, largest first.
    parts: Vec<Hash>,
}

impl Beginning {
    /// Adds a leaf, and returns the new size and root.
    pub fn push(&mut self, leaf: Hash) -> (u64, Hash) {
        let complete = self.size.trailing_ones() as usize;
        let lefts = self.parts.split_off(self.parts.len().saturating_sub(complete));
        self.parts.push(lefts.iter().rev().fold(leaf, |right, left| node(left, &right)));
        self.size += 1;
        (self.size, joined(&self.parts).unwrap_or(leaf))
    }
}

/// The hash over subtrees, largest first.
fn joined(parts: &[Hash]) -> Option<Hash> {
    let (last, before) = parts.split_last()?;
    Some(before.iter().rev().fold(*last, |right, left| node(left, &right)))
}

/// The prefix of a leaf's bytes for hashing.
pub(super) const LEAF_PREFIX: u8 = 0;

/// The hash of a leaf.
pub(super) fn leaf(bytes: &[u8]) -> Hash {
    *Hasher::default().with(&[LEAF_PREFIX]).with(bytes).finish().as_bytes()
}

/// The hash of a leaf whose bytes already have the prefix. Hashing one slice is faster.
pub(super) fn leaf_behind_prefix(bytes: &[u8]) -> Hash {
    debug_assert_eq!(bytes.first(), Some(&LEAF_PREFIX));
    *Digest::of(bytes).as_bytes()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 1 + 2 * size_of::<Hash>()];
    bytes[1..=size_of::<Hash>()].copy_from_slice(left);
    bytes[1 + size_of::<Hash>()..].copy_from_slice(right);
    *Digest::of(&bytes).as_bytes()
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The root of a proof (RFC 9162 section 2.1.3.2); `None` if its length does not fit the index.
pub(super) fn root_of(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut first, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if first & 1 == 1 || first == last {
            hash = node(sibling, &hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        first >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Verifies that the tree of `old` leaves with one root is a prefix of the tree of `new` with another (RFC 9162 section 2.1.4.2).
pub(super) fn is_consistent(old: (u64, Hash), new: (u64, Hash), path: &[Hash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return false;
    }
    if old_size == new_size {
        return path.is_empty() && old_root == new_root;
    }
    if old_size == 0 {
        return path.is_empty() && Tree::default().root(0) == Some(old_root);
    }
    let mut hashes = path.iter();
    // If the old tree is complete, it is a subtree of the new one, and its root is the first hash of the proof.
    let first = if old_size.is_power_of_two() { Some(&old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    let (mut node_at, mut last) = (old_size - 1, new_size - 1);
    while node_at & 1 == 1 {
        node_at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if node_at & 1 == 1 || node_at == last {
            old_hash = node(hash, &old_hash);
            new_hash = node(hash, &new_hash);
            while node_at & 1 == 0 && node_at != 0 {
                node_at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node(&new_hash, hash);
        }
        node_at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use hospes_core::id::hex;

    /// RFC 6962 section 2.1.2, implemented literally: `SUBPROOF(m, D[n], b)`.
    fn naive_consistency(old: usize, leaves: &[Hash], is_whole: bool) -> Vec<Hash> {
        if old == leaves.len() {
            return if is_whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let middle = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) = if old <= middle {
            (naive_consistency(old, left, is_whole), naive_root(right))
        } else {
            (naive_consistency(old - middle, right, false), naive_root(left))
        };
        path.push(other);
        path
    }

    #[test]
    fn consistency_proofs_of_sizes_to_70_are_those_of_the_rfc() {
        let leaves: Vec<_> = (0..70_u8).map(|number| leaf(&[number])).collect();
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        let root = |size: usize| (size as u64, naive_root(&leaves[..size]));
        for new in 0..=leaves.len() {
            for old in 0..=new {
                let path = tree.consistency(old as u64, new as u64).expect("there are so many");
                if old > 0 {
                    assert_eq!(path, naive_consistency(old, &leaves[..new], true), "{old}, {new}");
                }
                assert!(is_consistent(root(old), root(new), &path), "{old}, {new}");
            }
        }
        assert_eq!(tree.consistency(3, 2), None);
        assert_eq!(tree.consistency(3, 71), None);
    }

    proptest! {
        #[test]
        fn a_tree_whose_past_was_changed_is_consistent_with_nothing_before(
            size in 1_u64..400,
            old in 1_u64..400,
            changed in 0_u64..400,
            broken in any::<prop::sample::Index>(),
        ) {
            let old = 1 + (old - 1) % size;
            let changed = changed % old;
            let (mut tree, mut other) = (Tree::default(), Tree::default());
            for index in 0..size {
                tree.push(leaf(&index.to_le_bytes()));
                let bytes = if index == changed { u64::MAX } else { index };
                other.push(leaf(&bytes.to_le_bytes()));
            }
            let root = |tree: &Tree, size| (size, tree.root(size).expect("a root"));
            let (past, now) = (root(&tree, old), root(&tree, size));
            let path = tree.consistency(old, size).expect("a proof");
            prop_assert!(path.len() <= 2 * PROOF_HASHES_MAX);
            prop_assert!(is_consistent(past, now, &path));
            // There is no valid proof for an old tree with a different leaf.
            let theirs = other.consistency(old, size).expect("a proof");
            prop_assert!(!is_consistent(past, root(&other, size), &theirs));
            prop_assert!(!is_consistent(past, root(&other, size), &path));
            // Any other path is invalid.
            let longer: Vec<_> = path.iter().copied().chain([now.1]).collect();
            prop_assert!(!is_consistent(past, now, &longer));
            if !path.is_empty() {
                let mut wrong = path.clone();
                wrong[broken.index(path.len())][0] ^= 1;
                prop_assert!(!is_consistent(past, now, &wrong));
                prop_assert!(!is_consistent(past, now, &path[1..]));
                prop_assert!(!is_consistent(past, now, &path[..path.len() - 1]));
            }
        }
    }

    /// RFC 6962 section 2.1, implemented literally.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => *Digest::of(&[]).as_bytes(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                node(&naive_root(left), &naive_root(right))
            }
        }
    }

    /// RFC 6962 section 2.1.1, implemented literally.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let middle = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(middle);
        let (mut path, other) = if index < middle {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - middle, right), naive_root(left))
        };
        path.push(other);
        path
    }

    #[test]
    fn roots_and_proofs_of_sizes_to_70_are_those_of_the_rfc() {
        let leaves: Vec<_> = (0..70_u8).map(|number| leaf(&[number])).collect();
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        for size in 1..=leaves.len() {
            let root = naive_root(&leaves[..size]);
            assert_eq!(tree.root(size as u64), Some(root), "size {size}");
            for index in 0..size {
                let path = naive_path(index, &leaves[..size]);
                let (index, size) = (index as u64, size as u64);
                assert_eq!(tree.inclusion(index, size).as_ref(), Some(&path), "{index} of {size}");
                let leaf = leaves[index as usize];
                assert_eq!(root_of(index, size, leaf, &path), Some(root), "{index} of {size}");
                assert_ne!(root_of(index, size, node(&leaf, &leaf), &path), Some(root));
                if let Some((_, shorter)) = path.split_last() {
                    assert_ne!(root_of(index, size, leaf, shorter), Some(root));
                }
                let longer: Vec<_> = path.iter().copied().chain([root]).collect();
                assert_eq!(root_of(index, size, leaf, &longer), None);
            }
        }
        assert_eq!(tree.root(71), None);
        assert_eq!(tree.inclusion(70, 70), None);
        assert_eq!(tree.inclusion(0, 71), None);
        assert_eq!(root_of(0, 0, leaves[0], &[]), None);
    }

    #[test]
    fn a_beginning_goes_on_as_the_tree_did() {
        let mut tree = Tree::default();
        (0..70_u8).for_each(|number| tree.push(leaf(&[number])));
        for size in 0..70 {
            let mut beginning = tree.beginning(size).expect("there");
            for index in size..70 {
                let root = tree.root(index + 1).expect("there");
                let leaf = tree.leaf(index).expect("there");
                assert_eq!(beginning.push(leaf), (index + 1, root), "{size} {index}");
            }
        }
        assert!(tree.beginning(71).is_none());
    }

    #[test]
    fn the_hashes_are_those_that_certificate_transparency_publishes() {
        // The empty tree, the empty leaf, and the tree of the eight leaves that the reference implementation tests with.
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Tree::default().root(0).map(|root| hex(&root)).as_deref(), Some(empty));
        let empty_leaf = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(hex(&leaf(b"")), empty_leaf);
        let mut tree = Tree::default();
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[
                0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
                0x6e, 0x6f,
            ],
        ];
        leaves.iter().for_each(|bytes| tree.push(leaf(bytes)));
        let root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
        assert_eq!(tree.root(8).map(|root| hex(&root)).as_deref(), Some(root));
    }
}
