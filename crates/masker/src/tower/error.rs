//! Why a response cannot be masked.

use crate::format::FormatError;

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a response cannot be masked, and is therefore not let through. Says nothing of its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// The format of the body does not allow it.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The body is encoded in a way that is not known.
    #[error(
        "the upstream encoded its answer in a way that cannot be read (Content-Encoding); have it send gzip, br, zstd, deflate or none"
    )]
    UnknownEncoding,
    /// The body is not what its `Content-Encoding` says.
    #[error("the upstream's answer does not decode as its Content-Encoding says")]
    Undecodable,
    /// The body grows beyond all measure when decoded.
    #[error("the upstream's answer decodes to more than is allowed")]
    Bomb,
    /// A part of a body can hide a secret that the whole would show.
    #[error(
        "the upstream answered with a part (206, Content-Range), which cannot be masked; ask for the whole"
    )]
    Partial,
    /// The connection is to become something that is not looked at.
    #[error("the upstream wants to switch protocols, and what follows could not be masked")]
    Upgrade,
    /// Two different statements of what the body is.
    #[error(
        "the upstream's answer has headers that disagree or cannot be read: Content-Type, Content-Encoding or Inference-Header-Content-Length; have it send one of each"
    )]
    Ambiguous,
}
