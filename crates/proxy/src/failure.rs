//! What went wrong between us and an upstream, in terms that a caller may see.

use std::error::Error as _;

use gatewayd_core::{Ending, RefusalCode};

/// What went wrong between us and an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// No head in time.
    HeadTimeout,
    /// Nothing for too long within an answer.
    IdleTimeout,
    /// The connection ended before the answer did.
    BrokeOff,
    /// What it said is not HTTP, or not what its headers promise.
    Nonsense,
    /// It is packed in a way that it did not say, or that is not undone.
    Packed,
    /// The caller's own body did not arrive.
    RequestBroke,
}

impl Failure {
    /// Sorts an error of the client.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            return if error.is_timeout() { Self::ConnectTimeout } else { Self::Unreachable };
        }
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<hyper::Error>() {
                if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
                    return Self::Nonsense;
                }
                if error.is_user() {
                    return Self::RequestBroke;
                }
            }
            cause = error.source();
        }
        Self::BrokeOff
    }

    pub(crate) fn code(self) -> RefusalCode {
        match self {
            Self::Unreachable | Self::BrokeOff => RefusalCode::UpstreamUnavailable,
            Self::ConnectTimeout | Self::HeadTimeout | Self::IdleTimeout => RefusalCode::UpstreamTimeout,
            Self::Nonsense | Self::Packed => RefusalCode::UpstreamInvalid,
            Self::RequestBroke => RefusalCode::InvalidRequest,
        }
    }

    /// What the caller is told. It names no address and repeats nothing of what the upstream said.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Unreachable => "the model server cannot be reached; try again later or tell the operator",
            Self::ConnectTimeout => "the model server accepts no connection in time; try again later",
            Self::HeadTimeout => "the model server did not begin to answer in time; try again later",
            Self::IdleTimeout => "the model server fell silent in mid-answer, so the answer is incomplete",
            Self::BrokeOff => "the model server broke off before its answer was complete; try again",
            Self::Nonsense => "the model server's answer is not valid HTTP; tell the operator",
            Self::Packed => {
                "the model server's answer is compressed in a way that is not allowed; tell the operator"
            }
            Self::RequestBroke => "the body of the request broke off before its end; send it again",
        }
    }

    /// How the answer ended, where it says more than that it was refused.
    pub(crate) fn ending(self) -> Option<Ending> {
        match self {
            Self::BrokeOff | Self::Nonsense | Self::Packed => Some(Ending::UpstreamCut),
            Self::ConnectTimeout | Self::HeadTimeout | Self::IdleTimeout => Some(Ending::Limit),
            Self::Unreachable | Self::RequestBroke => None,
        }
    }
}
