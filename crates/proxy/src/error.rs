//! Why this crate cannot be set up, or a call of the [`Agent`](crate::Agent) fails.

use std::path::PathBuf;

/// Why an upstream, a fetcher or an agent cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two upstreams have one name.
    #[error("two upstreams are named `{0}`; give each its own name")]
    DuplicateName(String),
    /// The URL is no base URL.
    #[error("`{name}`: the URL is not usable: {why}")]
    BadUrl {
        /// Which upstream.
        name: String,
        /// What to change. Does not repeat the URL: it may hold a password.
        why: &'static str,
    },
    /// A PEM file cannot be used.
    #[error("cannot use {}: {why}", .path.display())]
    BadPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not fit.
    #[error("{} and its key do not belong together: {why}", .path.display())]
    BadClientCertificate {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS, or the client as a whole, cannot be set up.
    #[error("the HTTP client cannot be set up: {0}; check the TLS settings and the system's certificates")]
    Client(String),
}

/// Why a call of the [`Agent`](crate::Agent) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// No connection.
    #[error("cannot connect to {origin}: {why}; is the gateway running, and is this its admin address?")]
    Connect {
        /// Where to.
        origin: String,
        /// What the system says.
        why: String,
    },
    /// No answer, or a broken one.
    #[error("{origin} gave no usable answer: {why}")]
    Broken {
        /// Who.
        origin: String,
        /// What went wrong.
        why: String,
    },
    /// The path is not a path of that origin.
    #[error("`{0}` is not a plain path")]
    BadPath(String),
}

/// An error's causes in one line.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
