//! What can be wrong with the settings.

/// Why the credentials cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name is empty or used twice.
    #[error("the credential name `{0}` is empty or used twice: give each credential a name of its own")]
    Name(String),
    /// Two settings say what an upstream gets.
    #[error("upstream `{0}` is given a credential twice, or both one and none: leave one of the two")]
    Upstream(String),
    /// A credential that no upstream gets.
    #[error("credential `{0}` is bound to no upstream: name the upstreams that may see it, or remove it")]
    Unbound(String),
    /// The header has another meaning.
    #[error(
        "credential `{name}`: the header `{header}` has a meaning of its own: use `authorization` or a header of the upstream's"
    )]
    Header {
        /// The credential.
        name: String,
        /// The header.
        header: String,
    },
    /// The prefix cannot be in a header.
    #[error("credential `{0}`: the prefix must be printable ASCII, such as `Bearer ` with its space")]
    Prefix(String),
    /// The source names nothing.
    #[error("credential `{0}`: name a file, or an environment variable")]
    Source(String),
}

/// Why a source gives no credential. Says nothing of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("the file is missing")]
    Missing,
    #[error("the environment variable is not set, or is not text")]
    NotSet,
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("the value is empty")]
    Empty,
    #[error("the value is larger than 16 KiB")]
    TooLarge,
    #[error("the value has bytes that cannot be in a header: it must be one line of printable ASCII")]
    NotHeaderSafe,
    #[error("the value begins or ends with a space: remove it")]
    Padded,
    #[error("the new version could not be recorded, so it is not used: {0}")]
    Unrecorded(String),
    #[error("the operating system gave no random bytes")]
    Randomness,
}
