//! Who is calling.

use std::sync::Arc;

use crate::Timestamp;

/// How the caller proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityKind {
    /// A token of an OpenID Connect provider.
    Oidc,
    /// A SAML assertion.
    Saml,
    /// A token issued by this gateway to a program.
    GatewayToken,
    /// The local administrator key, made at first start.
    LocalAdmin,
}

/// A verified caller. Cheap to clone: everything is shared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// How it was proven.
    pub kind: IdentityKind,
    /// Who vouches for it: the OIDC `iss`, or `gatewayd` for its own tokens.
    pub issuer: Arc<str>,
    /// The caller, unique within the issuer: the OIDC `sub`.
    pub subject: Arc<str>,
    /// A name for people, if the issuer gives one; never used to decide.
    pub name: Option<Arc<str>>,
    /// Groups, sorted and without duplicates.
    pub groups: Arc<[Arc<str>]>,
    /// When the proof ends.
    pub expires: Option<Timestamp>,
}

impl Identity {
    /// True if the caller is in the group; the comparison is exact.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| &**g == group)
    }

    /// `issuer` and `subject` as one string that no other pair yields.
    #[must_use]
    pub fn key(&self) -> String {
        Self::key_of(&self.issuer, &self.subject)
    }

    /// The [`key`](Self::key) of whoever has this issuer and this subject.
    #[must_use]
    pub fn key_of(issuer: &str, subject: &str) -> String {
        format!("{}:{issuer}|{subject}", issuer.len())
    }

    /// The same person, whatever way they signed in this time.
    #[must_use]
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}
