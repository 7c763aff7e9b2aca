//! A value that must not be shown.

use secrecy::{ExposeSecret as _, SecretSlice};

/// Secret bytes: not printable, not comparable by accident, wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Takes the bytes over. The caller wipes its own copies, if it made any.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(SecretSlice::from(bytes))
    }

    /// The bytes. Every use is a place to look at in a review.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.expose_secret().len()
    }

    /// True if there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}
