//! The keys of bodies: one a session, wrapped by one a subject, wrapped by the root. Losing any of them
//! makes everything below it unreadable, which is how erasure works.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::codec::{Digest, sha256};
use crate::error::Error;
use crate::note::LogKey;

/// A wrapped key: nonce, ciphertext, tag.
pub(crate) const WRAPPED: usize = NONCE_LEN + 32 + 16;

/// A key that seals: AES-256-GCM.
pub(crate) struct SealKey(LessSafeKey);

impl SealKey {
    fn new(secret: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret)?)))
    }

    /// Encrypts in place and appends the tag. The caller never uses a nonce twice with one key.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], text: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)?)
    }

    /// Decrypts in place; `None` if the bytes were not sealed by this key in this place.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed).ok()
    }

    /// A fresh key below this one, and its wrapped form, bound to a purpose.
    pub(crate) fn make_below(&self, purpose: &[u8]) -> Result<(Self, [u8; WRAPPED]), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(secret.as_mut())?;
        Ok((Self::new(&secret)?, self.wrap(purpose, &secret)?))
    }

    fn wrap(&self, purpose: &[u8], secret: &[u8; 32]) -> Result<[u8; WRAPPED], Error> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(48);
        sealed.extend_from_slice(secret);
        self.seal(nonce, purpose, &mut sealed)?;
        let mut wrapped = [0; WRAPPED];
        let (head, tail) = wrapped.split_at_mut(NONCE_LEN);
        head.copy_from_slice(&nonce);
        tail.copy_from_slice(&sealed);
        Ok(wrapped)
    }

    fn unwrap_secret(&self, purpose: &[u8], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let secret = self.open(nonce.try_into().ok()?, purpose, &mut sealed)?;
        let mut out = Zeroizing::new([0; 32]);
        if secret.len() != out.len() {
            return None;
        }
        out.copy_from_slice(secret);
        Some(out)
    }

    /// The key below this one.
    pub(crate) fn unwrap_below(&self, purpose: &[u8], wrapped: &[u8]) -> Option<Self> {
        Self::new(&*self.unwrap_secret(purpose, wrapped)?).ok()
    }

    /// Wraps a key below `self` again, below `other`.
    pub(crate) fn rewrap(&self, other: &Self, purpose: &[u8], wrapped: &[u8]) -> Option<[u8; WRAPPED]> {
        other.wrap(purpose, &*self.unwrap_secret(purpose, wrapped)?).ok()
    }
}

/// What the key of a subject is bound to.
pub(crate) fn subject_purpose(subject: &str) -> Vec<u8> {
    [b"gatewayd subject ", subject.as_bytes()].concat()
}

/// What the key of a session is bound to.
pub(crate) fn session_purpose(id: &[u8; 16]) -> Vec<u8> {
    [&b"gatewayd session "[..], id].concat()
}

/// The key above all.
pub(crate) struct RootKey {
    pub(crate) key: SealKey,
    /// Names the key without saying anything of it.
    pub(crate) name: Digest,
}

impl RootKey {
    fn from_secret(secret: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self { key: SealKey::new(secret)?, name: sha256(&[b"gatewayd root key\n", secret]) })
    }

    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let text = read_secret(path)?;
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_end(), secret.as_mut_slice())
            .map_err(|_| Error::BadKey { path: path.to_owned(), why: "it must hold 64 hex digits".into() })?;
        Self::from_secret(&secret)
    }

    /// Reads the file, or makes it with a fresh key.
    pub(crate) fn load_or_make(path: &Path) -> Result<Self, Error> {
        if !path.exists() {
            let mut secret = Zeroizing::new([0; 32]);
            rand::fill(secret.as_mut())?;
            write_secret(path, &Zeroizing::new(hex::encode(*secret)))?;
        }
        Self::load(path)
    }
}

impl LogKey {
    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let text = read_secret(path)?;
        Self::parse(&text).map_err(|e| Error::BadKey { path: path.to_owned(), why: e.to_string() })
    }

    /// Reads the file, or makes it with a fresh key of that name.
    pub(crate) fn load_or_make(path: &Path, origin: &str) -> Result<Self, Error> {
        if !path.exists() {
            let mut seed = Zeroizing::new([0; 32]);
            rand::fill(seed.as_mut())?;
            let text = Self::secret_text(origin, &seed).ok_or_else(|| Error::BadKey {
                path: path.to_owned(),
                why: format!("{origin:?} cannot be the name of a log: no spaces, no +"),
            })?;
            write_secret(path, &text)?;
        }
        Self::load(path)
    }
}

fn read_secret(path: &Path) -> Result<Zeroizing<String>, Error> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(Error::file("read the key file", path))?);
    let mode = fs::metadata(path).map_err(Error::file("look at", path))?.permissions().mode();
    if mode & 0o007 != 0 {
        let why = format!(
            "everybody on this machine can use it (mode {:o}); set its mode to 600, and think of it as known",
            mode & 0o777
        );
        return Err(Error::BadKey { path: path.to_owned(), why });
    }
    if mode & 0o070 != 0 {
        tracing::warn!(file = %path.display(), mode = format!("{:o}", mode & 0o777), "a key file can be read by its group; set its mode to 600 if that is not meant");
    }
    Ok(text)
}

/// Writes a new file that only its owner can read, whole or not at all, and makes sure that it stays.
fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    let mut begun = path.as_os_str().to_owned();
    begun.push(".begun");
    // What a crash or a full disk left of an earlier attempt never was a key.
    let _there_is_none = fs::remove_file(&begun);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&begun)
        .map_err(Error::file("make the key file", path))?;
    file.write_all(text.as_bytes()).map_err(Error::file("write the key file", path))?;
    file.sync_all().map_err(Error::file("write the key file", path))?;
    fs::rename(&begun, path).map_err(Error::file("make the key file", path))?;
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(Error::file("sync the directory", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_only_what_it_sealed_and_where() {
        let dir = tempfile::tempdir().unwrap();
        let root = RootKey::load_or_make(&dir.path().join("root.key")).unwrap();
        assert_eq!(fs::metadata(dir.path().join("root.key")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(RootKey::load_or_make(&dir.path().join("root.key")).unwrap().name, root.name);
        let (subject, wrapped) = root.key.make_below(&subject_purpose("alice")).unwrap();
        assert!(root.key.unwrap_below(&subject_purpose("bob"), &wrapped).is_none());
        let again = root.key.unwrap_below(&subject_purpose("alice"), &wrapped).unwrap();
        let mut text = b"hello".to_vec();
        subject.seal([1; 12], b"here", &mut text).unwrap();
        assert!(again.open([1; 12], b"there", &mut text.clone()).is_none());
        assert_eq!(again.open([1; 12], b"here", &mut text).unwrap(), b"hello");
    }
}
