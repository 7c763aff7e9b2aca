//! What can go wrong, for the operator ([`Error`]) and for the caller ([`Rejected`]).

use std::path::PathBuf;
use std::time::Duration;

use gatewayd_core::{Refusal, RefusalCode};

/// Why authentication could not be set up, or a token store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither an issuer nor a token store: nobody could ever sign in.
    #[error("nobody could sign in: configure at least one issuer, or a token store")]
    NobodyCouldSignIn,
    /// Two issuers of the same name.
    #[error("issuer `{0}` is configured twice: merge the two entries")]
    DuplicateIssuer(String),
    /// An issuer's settings do not hold.
    #[error("issuer `{issuer}`: {problem}")]
    Issuer {
        /// The issuer as configured.
        issuer: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The leeway is so large that expiry would mean little.
    #[error("a leeway of {0:?} is too much: synchronise the clocks and use at most five minutes")]
    Leeway(Duration),
    /// A claim path that names nothing.
    #[error(
        "the claim path `{0}` is empty or has an empty part: write it as `groups`, `a.b`, or a list of keys"
    )]
    ClaimPath(String),
    /// The stored hash of the local administrator key cannot be read.
    #[error("the local administrator key's hash must be 64 hexadecimal digits: make a new key")]
    AdminKey,
    /// An issuer's keys could not be had.
    #[error("the keys of issuer `{issuer}` cannot be had: {problem}")]
    Keys {
        /// The issuer as configured.
        issuer: String,
        /// What went wrong.
        problem: String,
    },
    /// The token store cannot be opened.
    #[error("the token store {path} cannot be used: {problem}; check the path, its owner and its mode")]
    Store {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        problem: String,
    },
    /// The token store was written by a later version.
    #[error("the token store {path} was written by a newer gatewayd (format {found}): use that version")]
    NewerStore {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: i64,
    },
    /// What was asked of the token store does not hold.
    #[error("no token was made: {0}")]
    NewToken(String),
    /// No token of that id.
    #[error("there is no token `{0}`: list the tokens to see their ids")]
    NoSuchToken(String),
    /// The journal could not take the event, so nothing was done.
    #[error(transparent)]
    Journal(#[from] gatewayd_core::JournalError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: try again")]
    Randomness,
}

/// Why a presented credential is not accepted.
///
/// The texts go to callers and into a quoted string of a header: fixed words, nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum Rejected {
    #[error(
        "no credential was sent: send 'Authorization: Bearer <token>', or the token as x-api-key or api-key"
    )]
    Missing,
    #[error("a credential header was sent twice: send exactly one")]
    Duplicate,
    #[error("different credentials were sent in several headers: send exactly one")]
    Several,
    #[error("the Authorization header must be 'Bearer <token>'")]
    Scheme,
    #[error("the token is larger than 16 KiB")]
    TooLarge,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the token has critical header members that are not understood")]
    Critical,
    #[error("the token's type is not that of an access or ID token")]
    Type,
    #[error("the token is bound to a key, and proof of possession is not supported here")]
    Bound,
    #[error("the token's issuer is not accepted")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is for another client")]
    Client,
    #[error("the token has no usable expiry")]
    NoExpiry,
    #[error("the token has expired: get a new one")]
    Expired,
    #[error("the token is not valid yet: check the clocks")]
    NotYet,
    #[error("the token's time of issue does not hold: check the clocks")]
    IssuedAt,
    #[error("the token is older than this gateway accepts: get a new one")]
    TooOld,
    #[error("the token names no usable subject")]
    Subject,
    #[error("the token's groups cannot be read: they must be a string or a list of strings")]
    Groups,
    #[error("the token leaves its groups out because there are too many: have the issuer send fewer")]
    GroupsElsewhere,
    #[error("the token is signed with a key its issuer does not publish")]
    UnknownKey,
    #[error("the token's signature does not hold")]
    Signature,
    #[error("the token is not known here, or was revoked")]
    UnknownToken,
    #[error("the issuer's keys cannot be had at the moment: try again")]
    NoKeys,
    #[error("the token store cannot be read at the moment: try again")]
    NoStore,
}

impl Rejected {
    /// How long a caller should wait before asking again where the fault is ours.
    const RETRY: Duration = Duration::from_secs(2);

    pub(crate) fn refusal(self) -> Refusal {
        let text = self.to_string();
        match self {
            Self::Missing => {
                Refusal::new(RefusalCode::MissingCredentials, text).challenge("Bearer realm=\"gatewayd\"")
            }
            Self::NoKeys | Self::NoStore => {
                Refusal::new(RefusalCode::IdentityProviderUnavailable, text).retry_after(Self::RETRY)
            }
            _ => {
                let challenge = format!(
                    "Bearer realm=\"gatewayd\", error=\"invalid_token\", error_description=\"{text}\""
                );
                Refusal::new(RefusalCode::InvalidToken, text).challenge(challenge)
            }
        }
    }
}
