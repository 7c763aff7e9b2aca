//! Checkpoints as signed notes (C2SP signed-note and tlog-checkpoint), with Ed25519.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::codec::{Digest, sha256};

/// The algorithm byte of Ed25519 in signed notes.
const ED25519_BYTE: u8 = 1;
/// No checkpoint is longer. Sixteen signatures of post-quantum witnesses, of 5 kB each, have room.
const MAX_NOTE: usize = 128 * 1024;

/// No file that holds a note or a key is read further: one byte more than any may have.
const MAX_FILE: u64 = MAX_NOTE as u64 + 1;

/// Name of the file that holds the public key of the log.
pub(crate) const LOG_KEY: &str = "log.pub";

/// Reads a file that holds a note or a key. Whoever can write the directory may have put anything in its place.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Why a key or a note is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is not of the form `name+hash+key`.
    #[error("the key is not of the form name+hash+key (C2SP signed-note)")]
    MalformedKey,
    /// The text is not a signed note that holds a checkpoint.
    #[error("this is not a checkpoint (C2SP tlog-checkpoint)")]
    Malformed,
    /// The note is of another log.
    #[error("the checkpoint is of the log {found:?}, not of {expected:?}")]
    OtherLog {
        /// The name that was expected.
        expected: String,
        /// The name in the note.
        found: String,
    },
    /// No signature of the key is on the note, or one does not hold.
    #[error("the checkpoint has no signature of {0:?}, or one that does not hold")]
    BadSignature(String),
}

/// The head of a log at one moment: how many entries, and the hash over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// RFC 6962 hash of the tree over them.
    pub root: [u8; 32],
}

impl Checkpoint {
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Reads the checkpoint of a note without judging its signatures.
    ///
    /// # Errors
    /// If it is no checkpoint.
    pub fn parse_unverified(note: &str) -> Result<Self, NoteError> {
        let (text, _) = split(note)?;
        let mut lines = text.lines();
        // Extension lines would follow the third; our logs sign none.
        let (origin, size, root) = match (lines.next(), lines.next(), lines.next(), lines.next()) {
            (Some(origin), Some(size), Some(root), None) if is_name(origin) => (origin, size, root),
            _ => return Err(NoteError::Malformed),
        };
        let canonical = size == "0" || !size.starts_with(['0', '+']);
        let size = size.parse().ok().filter(|_| canonical).ok_or(NoteError::Malformed)?;
        let root =
            STANDARD.decode(root).ok().and_then(|root| root.try_into().ok()).ok_or(NoteError::Malformed)?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

/// Splits a note into its text, with the last line break, and its signature lines.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > MAX_NOTE || note.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = note.split_at(at + 1);
    match signatures.strip_prefix('\n') {
        Some(signatures) if signatures.ends_with('\n') => Ok((text, signatures)),
        _ => Err(NoteError::Malformed),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// Takes `— name base64(4 bytes key hash || signature)` apart.
fn signature_parts(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, blob) = line.strip_prefix("— ")?.split_once(' ')?;
    let blob = STANDARD.decode(blob).ok()?;
    let (id, signature) = blob.split_first_chunk()?;
    (is_name(name) && !signature.is_empty()).then(|| (name, *id, signature.to_vec()))
}

/// The four bytes that name a key in signature lines.
fn key_id(name: &str, public: &[u8]) -> [u8; 4] {
    let digest = sha256(&[name.as_bytes(), b"\n", &[ED25519_BYTE], public]);
    let mut id = [0; 4];
    id.copy_from_slice(digest.split_at(4).0);
    id
}

/// The public key of a log, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: Digest,
}

impl PublicKey {
    /// Reads `name+hash+key`, as written to `log.pub`.
    ///
    /// # Errors
    /// If it is not of that form or the hash does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, hash, key) = key_parts(text.trim_end()).ok_or(NoteError::MalformedKey)?;
        if key_id(name, &key) != hash {
            return Err(NoteError::MalformedKey);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Name of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// Reads a note and makes sure that this key signed it and that it speaks of this log. Signatures by other keys
    /// are not looked at; all those of this one must hold.
    ///
    /// # Errors
    /// Says which of these does not hold.
    pub fn open(&self, note: &str) -> Result<Checkpoint, NoteError> {
        let checkpoint = Checkpoint::parse_unverified(note)?;
        if checkpoint.origin != self.name {
            return Err(NoteError::OtherLog { expected: self.name.clone(), found: checkpoint.origin });
        }
        let (text, signatures) = split(note)?;
        let (ours, key) = (key_id(&self.name, &self.key), UnparsedPublicKey::new(&ED25519, &self.key));
        let bad = || NoteError::BadSignature(self.name.clone());
        let mut signed = false;
        for line in signatures.lines() {
            let (name, id, signature) = signature_parts(line).ok_or(NoteError::Malformed)?;
            // Witnesses sign, too, with keys that are not known here.
            if name == self.name && id == ours {
                key.verify(text.as_bytes(), &signature).map_err(|_| bad())?;
                signed = true;
            }
        }
        if signed { Ok(checkpoint) } else { Err(bad()) }
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut blob = vec![ED25519_BYTE];
        blob.extend_from_slice(&self.key);
        write!(f, "{}+{}+{}", self.name, hex::encode(key_id(&self.name, &self.key)), STANDARD.encode(blob))
    }
}

/// Takes `name+hash+base64(1 || 32 bytes)` apart.
fn key_parts(text: &str) -> Option<(&str, [u8; 4], Digest)> {
    let (name, rest) = text.split_once('+')?;
    let (hash, blob) = rest.split_once('+')?;
    if !is_name(name) {
        return None;
    }
    let hash = hex::decode(hash).ok()?.try_into().ok()?;
    let blob = Zeroizing::new(STANDARD.decode(blob).ok()?);
    let (algorithm, key) = blob.split_first()?;
    (*algorithm == ED25519_BYTE).then_some(())?;
    Some((name, hash, key.try_into().ok()?))
}

/// The key that signs checkpoints.
pub(crate) struct LogKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl LogKey {
    /// From its 32 secret bytes.
    pub(crate) fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let key = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { pair, public: PublicKey { name: name.to_owned(), key } })
    }

    /// From `PRIVATE+KEY+name+hash+key`, as other tools for signed notes write it.
    pub(crate) fn parse(text: &str) -> Result<Self, NoteError> {
        let rest = text.trim_end().strip_prefix("PRIVATE+KEY+").ok_or(NoteError::MalformedKey)?;
        let (name, hash, seed) = key_parts(rest).ok_or(NoteError::MalformedKey)?;
        let seed = Zeroizing::new(seed);
        let key = Self::from_seed(name, &seed).ok_or(NoteError::MalformedKey)?;
        if key_id(name, key.public.bytes()) == hash { Ok(key) } else { Err(NoteError::MalformedKey) }
    }

    /// The text form of a secret key; wiped when dropped.
    pub(crate) fn secret_text(name: &str, seed: &[u8; 32]) -> Option<Zeroizing<String>> {
        let key = Self::from_seed(name, seed)?;
        let mut blob = Zeroizing::new(vec![ED25519_BYTE]);
        blob.extend_from_slice(seed);
        let hash = hex::encode(key_id(name, key.public.bytes()));
        Some(Zeroizing::new(format!("PRIVATE+KEY+{name}+{hash}+{}\n", STANDARD.encode(&*blob))))
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signed note for a head of the log.
    pub(crate) fn sign(&self, size: u64, root: Digest) -> String {
        let text = Checkpoint { origin: self.public.name.clone(), size, root }.text();
        let mut blob = key_id(&self.public.name, &self.public.key).to_vec();
        blob.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {} {}\n", self.public.name, STANDARD.encode(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> LogKey {
        LogKey::from_seed("log.example/one", &[7; 32]).unwrap()
    }

    #[test]
    fn a_signed_head_opens_and_a_changed_one_does_not() {
        let key = key();
        let note = key.sign(42, [3; 32]);
        let checkpoint = key.public().open(&note).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (42, [3; 32]));
        for (at, _) in note.char_indices() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(key.public().open(&changed).is_err(), "byte {at}");
            }
        }
    }

    /// As a witness or a stranger leaves them, around a good note.
    #[test]
    fn other_signatures_are_let_be_and_nothing_else_is() {
        let key = key();
        let note = key.sign(42, [3; 32]);
        let opens = |note: &str| key.public().open(note);
        let line = |name: &str, blob: &[u8]| format!("— {name} {}\n", STANDARD.encode(blob));
        let own = key_id("log.example/one", key.public().bytes());
        let bad = line("log.example/one", &[&own[..], &[7; 64]].concat());
        let witness = line("witness.example", &[9; 76]);
        // A key of the same name that is not ours, and one of the same hash.
        let namesakes =
            [line("log.example/one", &[9; 68]), line("other.example", &[&own[..], &[7; 64]].concat())];
        let dearest: String = (0..16).map(|n| line(&format!("w{n}.example"), &[n; 5004])).collect();
        for more in [&witness, &namesakes[0], &namesakes[1], &dearest] {
            assert!(opens(&format!("{note}{more}")).is_ok(), "{more}");
            assert!(opens(&note.replace("\n\n", &format!("\n\n{more}"))).is_ok(), "{more}");
            assert!(signed_note::Note::from_bytes(format!("{note}{more}").as_bytes()).is_ok());
        }
        assert_eq!(opens(&format!("{note}{bad}")), Err(NoteError::BadSignature("log.example/one".into())));
        assert_eq!(
            opens(&note.replace("\n\n", &format!("\n\n{bad}"))),
            Err(NoteError::BadSignature("log.example/one".into()))
        );
        let none = [
            "what is no signature\n".to_owned(),
            "\n".to_owned(),
            "— witness.example\n".to_owned(),
            "— witness.example =\n".to_owned(),
            line("witness.example", &[9; 4]),
            line("two words", &[9; 76]),
            line("a+b", &[9; 76]),
            line("", &[9; 76]),
            line("bell\u{7}", &[9; 76]),
            witness.replace("— ", "-- "),
            witness.trim_end().to_owned(),
            witness.replace('\n', " \n"),
            dearest.repeat(2),
        ];
        for more in &none {
            assert_eq!(opens(&format!("{note}{more}")), Err(NoteError::Malformed), "{more}");
        }
    }

    #[test]
    fn a_checkpoint_has_three_lines() {
        let key = key();
        for text in
            ["log.example/one\n42\nAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n", "log.example/one\n42\n"]
        {
            for more in ["", "extension\n", "\nextension\n"] {
                let text = format!("{text}{more}");
                let mut blob = key_id("log.example/one", key.public().bytes()).to_vec();
                blob.extend_from_slice(key.pair.sign(text.as_bytes()).as_ref());
                let note = format!("{text}\n— log.example/one {}\n", STANDARD.encode(blob));
                let good = more.is_empty() && text.lines().count() == 3;
                assert_eq!(key.public().open(&note).is_ok(), good, "{note}");
            }
        }
    }

    #[test]
    fn keys_come_back_from_their_text() {
        let text = LogKey::secret_text("log.example/one", &[7; 32]).unwrap();
        assert_eq!(LogKey::parse(&text).unwrap().public(), key().public());
        assert_eq!(&PublicKey::parse(&key().public().to_string()).unwrap(), key().public());
        assert!(LogKey::from_seed("two words", &[7; 32]).is_none());
    }

    /// The implementation of the people who run such logs reads what we write, and we read theirs.
    #[test]
    fn agrees_with_signed_note_and_tlog_tiles() {
        let key = key();
        let note = key.sign(42, [3; 32]);
        let verifier = signed_note::StandardVerifier::new(&key.public().to_string()).unwrap();
        let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
        let (good, _) = theirs.verify(&signed_note::VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!(good.len(), 1);
        let checkpoint = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
        assert_eq!((checkpoint.size(), checkpoint.hash().0), (42, [3; 32]));

        let secret = LogKey::secret_text("log.example/one", &[7; 32]).unwrap();
        let signer = signed_note::StandardSigner::new(secret.trim_end()).unwrap();
        let mut made = signed_note::Note::new(
            b"log.example/one\n42\nAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n",
            &[],
        )
        .unwrap();
        made.add_sigs(&[&signer]).unwrap();
        assert_eq!(String::from_utf8(made.to_bytes()).unwrap(), note);
    }
}
