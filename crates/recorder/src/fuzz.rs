//! What must hold of any bytes that are said to be a part of a log. `fuzz/` searches for bytes of which it does not;
//! the tests below play what it found again.

use std::sync::LazyLock;

use crate::blocks::Blocks;
use crate::codec::Digest;
use crate::facts::{self, Masks, What, Who};
use crate::leaf::Leaf;
use crate::note::{Checkpoint, LogKey, PublicKey};
use crate::proof;
use crate::prove::EntryProof;
use crate::segment::{MAX_BLOCK, next_frame};
use crate::tree::{Tree, leaf_hash, perfect_root};

/// A property by the name of its fuzz target.
pub type Property = fn(&[u8]);

/// All of them.
pub const PROPERTIES: [(&str, Property); 5] =
    [("leaf", leaf), ("words", words), ("segment", segment), ("note", note), ("proof", proof)];

/// The log that the signed notes and proofs of the corpus are of: eight entries of one byte.
static LOG: LazyLock<(LogKey, Digest)> = LazyLock::new(|| {
    let hashes: Vec<Digest> = (0..8_u8).map(|n| leaf_hash(&[n])).collect();
    let key = LogKey::from_seed("log.example/fuzz", &[7; 32]).expect("this is the name of a log");
    (key, perfect_root(&hashes))
});

/// What is read at all is written the same again: an entry has one spelling.
pub fn leaf(bytes: &[u8]) {
    if let Ok(leaf) = Leaf::decode(bytes) {
        assert_eq!(leaf.encode(), bytes);
    }
}

/// The words in the database are read to their end or refused, and take no more room than their bytes.
pub fn words(bytes: &[u8]) {
    if let Ok(who) = Who::decode(bytes) {
        assert!(who.groups.len() < bytes.len());
        let _label = who.subject_key();
    }
    if let Ok(what) = What::decode(bytes) {
        assert!(what.method.len() + what.path.len() + 2 * what.claims.len() < bytes.len());
    }
    if let Ok(masks) = Masks::decode(bytes) {
        assert!(2 * masks.counts.len() + 5 * masks.places.len() < bytes.len());
    }
    if let Ok((object, outcome)) = facts::decode_event(bytes) {
        assert_eq!(facts::encode_event(&object, &outcome), bytes);
    }
}

/// Blocks come one after the other without a gap, in their one spelling, the same from a stream and from memory.
pub fn segment(bytes: &[u8]) {
    let whole = [b"GWDSEG1\n".as_slice(), &7_u64.to_be_bytes(), bytes].concat();
    let source = Box::new(std::io::Cursor::new(whole));
    let mut streamed = Blocks::new(source, 7).expect("memory can be read");
    assert!(streamed.is_segment());
    let mut rest = bytes;
    loop {
        let before = rest.len();
        let block = next_frame(&mut rest);
        let other = streamed.next_frame().expect("memory can be read");
        assert_eq!(block.as_ref().map(|b| b.bytes), other.as_ref().map(|b| b.bytes));
        let Some(block) = block else { break };
        assert_eq!(block.bytes.len(), before - rest.len());
        assert!(block.bytes.len() <= MAX_BLOCK);
        assert_eq!(block.head.encode(block.sealed.len()), block.aad);
        let _known = block.is_intact();
    }
}

/// No note is signed but those that the key signed, and a key has one spelling.
pub fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (key, root) = &*LOG;
    if let Ok(opened) = key.public().open(text) {
        assert_eq!((opened.size, &opened.root), (8, root));
    }
    let _unverified = Checkpoint::parse_unverified(text);
    if let Ok(key) = PublicKey::parse(text) {
        assert_eq!(PublicKey::parse(&key.to_string()).as_ref(), Ok(&key));
    }
}

/// No proof holds but of an entry that is there, and what is read is written the same again.
pub fn proof(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(found) = EntryProof::parse(text) else { return };
    assert_eq!(EntryProof::parse(&found.to_string()).as_ref(), Ok(&found));
    let (key, root) = &*LOG;
    if found.verify(key.public()).is_ok() {
        assert!(found.index < 8 && found.entry == [found.index.to_le_bytes()[0]]);
    }
    // The same hashes as a proof that the log grew: only from a log of these entries to this one.
    if let Some((old, path)) = found.path.split_first()
        && proof::extends((found.index, old), (8, root), path)
    {
        let mut tree = Tree::default();
        (0..8_u8)
            .filter(|n| u64::from(*n) < found.index)
            .for_each(|n| tree.push(leaf_hash(&[n]), &mut Vec::new()));
        assert_eq!(tree.root(), *old);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::segment::{BlockHead, Way, assemble};

    fn corpus(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name)
    }

    #[test]
    fn what_the_fuzzer_found_holds() {
        for (name, property) in PROPERTIES {
            let files: Vec<_> =
                fs::read_dir(corpus(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(files.len() >= 2, "{name} has {} inputs", files.len());
            for file in files {
                property(&fs::read(file).unwrap());
            }
        }
    }

    /// What the fuzzer begins with: without it, it does not find its way past a digest or a signature.
    #[test]
    #[ignore = "writes fuzz/seeds"]
    fn seeds() {
        let write = |name: &str, seed: &str, bytes: &[u8]| {
            fs::create_dir_all(corpus(name)).unwrap();
            fs::write(corpus(name).join(format!("seed-{seed}")), bytes).unwrap();
        };
        for leaf in crate::leaf::tests::longest() {
            write("leaf", leaf.kind.name(), &leaf.encode());
        }
        let what = facts::WhatRef { method: "POST", path: "/v1/x?y", model: Some("m"), ..Default::default() };
        write("words", "what", &what.encode());
        write("words", "who", &Who::encode(None, None));
        write(
            "words",
            "who-signed-in",
            b"\x01\x0bhttps://idp\x01\x05alice\x00\x02\x01a\x01b\x01\x09[::1]:443\x01",
        );
        write("words", "masks", b"\x02\x03jwt\x02\x04pass\x01\x01\x01\x04text\x20\x14\0");
        write("words", "event", &facts::encode_event("approval-1", "approve"));
        let mut blocks = Vec::new();
        for (number, way) in [Way::Request, Way::Response, Way::Response].into_iter().enumerate() {
            let number = number as u64 / 2;
            let head = BlockHead {
                way,
                compressed: true,
                chained: number > 0,
                headed: number == 0,
                id: [3; 16],
                number,
            };
            assemble(&head.encode(5), b"bytes", &mut blocks);
            write("segment", &format!("blocks-{number}"), &blocks);
        }
        let (key, root) = &*LOG;
        let note = key.sign(8, *root);
        write("note", "checkpoint", note.as_bytes());
        write("note", "key", key.public().to_string().as_bytes());
        let hashes: Vec<Digest> = (0..8_u8).map(|n| leaf_hash(&[n])).collect();
        for index in [0, 5] {
            let path = proof::inclusion(&mut proof::tests::Plain(hashes.clone()), index, 8).unwrap();
            let entry = vec![index.to_le_bytes()[0]];
            let proof = EntryProof { index, entry, path, checkpoint: note.clone() };
            proof.verify(key.public()).unwrap();
            write("proof", &index.to_string(), proof.to_string().as_bytes());
        }
    }
}
