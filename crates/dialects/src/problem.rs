//! Why a request cannot be understood.

use std::time::Duration;

use gatewayd_core::{NoRoom, RefusalCode};

use crate::form::FormProblem;
use crate::path::PathProblem;
use crate::peek::JsonProblem;

/// Why a request cannot be understood. Its text is fit for the caller: it holds nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The path or query can be read in two ways.
    #[error("the path cannot be accepted: {0}")]
    Path(#[from] PathProblem),
    /// The JSON body is broken or can be read in two ways.
    #[error("{0}")]
    Json(#[from] JsonProblem),
    /// The form is broken or can be read in two ways.
    #[error("the form cannot be accepted: {0}")]
    Form(#[from] FormProblem),
    /// The path names one model and the body another.
    #[error("the path names one model and the request another; make them agree")]
    ModelsDisagree,
    /// The query names what the body decides.
    #[error("`{0}` is in the query, where some servers look before the body; send it in the body alone")]
    QueryDecides(String),
    /// A header that decides is there twice.
    #[error("header `{0}` is there twice; send it once")]
    DuplicateHeader(&'static str),
    /// The body is compressed.
    #[error("the body has a content-encoding, which cannot be read here; send it without")]
    Encoded,
    /// A body where none belongs.
    #[error("this route takes no body; send the request without one")]
    UnexpectedBody,
    /// `CONNECT`, `Upgrade` and the like.
    #[error("protocol upgrades and tunnels are not passed on; send a plain request")]
    Upgrade,
    /// The body did not arrive whole.
    #[error("the body broke off before its end; send it again")]
    BrokenBody,
    /// The body is too long.
    #[error("the body is longer than {0} bytes; send less")]
    TooLarge(u64),
    /// The body is too slow.
    #[error("the body did not arrive within {} seconds; send it faster", .0.as_secs_f32())]
    TooSlow(Duration),
    /// As many bytes of bodies as may be are kept already.
    #[error("{0}")]
    NoRoom(#[from] NoRoom),
    /// No upstream serves it.
    #[error("no upstream serves this model; see `GET /v1/models`, or configure an upstream for it")]
    NoUpstream,
}

impl Problem {
    /// The code it is refused with.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::TooLarge(_) => RefusalCode::BodyTooLarge,
            Self::TooSlow(_) => RefusalCode::RequestTimeout,
            Self::NoRoom(_) => RefusalCode::TooManyRequests,
            Self::NoUpstream => RefusalCode::NotFound,
            _ => RefusalCode::InvalidRequest,
        }
    }
}
