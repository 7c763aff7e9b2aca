//! The local administrator: a key on this machine, for the first sign-in and for emergencies.

use std::sync::Arc;

use gatewayd_core::{Identity, IdentityKind, Secret};
use subtle::ConstantTimeEq as _;

use crate::Error;
use crate::gateway_token::{ADMIN_PREFIX, SecretHash, generate, hash};

/// Subject of the local administrator; no gateway token may have it.
pub(crate) const SUBJECT: &str = "local-admin";

/// The local administrator: the hash of a key, and the groups that whoever holds it is in.
#[derive(Clone)]
pub struct LocalAdmin {
    hash: SecretHash,
    identity: Identity,
}

impl LocalAdmin {
    /// A fresh key, shown this once, and the administrator it makes.
    ///
    /// # Errors
    /// If the operating system gives no random bytes.
    pub fn generate(groups: &[String]) -> Result<(Secret, Self), Error> {
        let key = generate(ADMIN_PREFIX)?;
        let hash = hash(ADMIN_PREFIX, &key).ok_or(Error::AdminKey)?;
        Ok((Secret::new(key.as_bytes().to_vec()), Self::new(hash, groups)))
    }

    /// From the key itself, as read from a file.
    ///
    /// # Errors
    /// If it is no such key.
    pub fn from_key(key: &Secret, groups: &[String]) -> Result<Self, Error> {
        let text = std::str::from_utf8(key.expose()).map_err(|_| Error::AdminKey)?;
        Ok(Self::new(hash(ADMIN_PREFIX, text.trim_ascii()).ok_or(Error::AdminKey)?, groups))
    }

    /// From the key's hash, as [`to_hex`](Self::to_hex) spells it.
    ///
    /// # Errors
    /// If it is not 64 hexadecimal digits.
    pub fn from_hex(hex_hash: &str, groups: &[String]) -> Result<Self, Error> {
        let mut hash = [0; 32];
        hex::decode_to_slice(hex_hash.trim_ascii(), &mut hash).map_err(|_| Error::AdminKey)?;
        Ok(Self::new(hash, groups))
    }

    /// The key's hash (SHA-256), fit to be stored: it is of no use to a caller.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.hash)
    }

    /// The identity, if this is the key.
    pub(crate) fn check(&self, presented: &str) -> Option<Identity> {
        let hash = hash(ADMIN_PREFIX, presented)?;
        bool::from(hash.ct_eq(&self.hash)).then(|| self.identity.clone())
    }

    fn new(hash: SecretHash, groups: &[String]) -> Self {
        let mut groups: Vec<Arc<str>> = groups.iter().map(|group| group.as_str().into()).collect();
        groups.sort_unstable();
        groups.dedup();
        let identity = Identity {
            kind: IdentityKind::LocalAdmin,
            issuer: "gatewayd".into(),
            subject: SUBJECT.into(),
            name: None,
            groups: groups.into(),
            expires: None,
        };
        Self { hash, identity }
    }
}

impl std::fmt::Debug for LocalAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalAdmin").field("groups", &self.identity.groups).finish_non_exhaustive()
    }
}
