//! What this crate is told.

use std::time::Duration;

/// Configuration of [`Dialects`](crate::Dialects).
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The upstreams, in the order in which they are asked whether they serve a model.
    pub upstreams: Vec<UpstreamRule>,
    /// Name of the upstream for requests below no prefix whose model nobody serves; without it they get 404.
    pub default: Option<String>,
    /// Limits on request bodies.
    pub limits: Limits,
}

/// When a request goes to an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRule {
    /// The upstream's name in the configuration.
    pub name: String,
    /// Globs (`*` is any text) of the models it serves, by exact case. None at all is the same as `*`.
    pub models: Vec<String>,
    /// Requests below this path go only to upstreams with the same prefix; `/team-a`, not `/team-a/`.
    pub path_prefix: Option<String>,
    /// Takes the prefix off the path that is sent.
    pub strip_prefix: bool,
}

impl UpstreamRule {
    /// An upstream that serves these models, below no prefix.
    #[must_use]
    pub fn new(name: impl Into<String>, models: &[&str]) -> Self {
        Self {
            name: name.into(),
            models: models.iter().map(|&model| model.to_owned()).collect(),
            path_prefix: None,
            strip_prefix: true,
        }
    }
}

/// Limits on request bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest JSON body, in bytes: it is read whole. Also how much of a form is read to find its model.
    pub json: usize,
    /// Longest body that streams through, in bytes: files, blobs, recordings.
    pub stream: u64,
    /// Longest wait: for the whole of a JSON body, or between two pieces of a streaming one.
    pub wait: Duration,
}

impl Default for Limits {
    /// 8 MiB of JSON, 16 GiB of stream, 30 seconds.
    fn default() -> Self {
        Self { json: 8 << 20, stream: 16 << 30, wait: Duration::from_secs(30) }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two upstreams have one name.
    #[error("two upstreams are named `{0}`; give each its own name")]
    DuplicateName(String),
    /// The default names no upstream.
    #[error("the default upstream `{0}` is not configured; name one that is")]
    UnknownDefault(String),
    /// A path prefix could be read in two ways.
    #[error(
        "upstream `{0}`: path prefix `{1}` must start with `/`, not end with `/`, and hold only plain characters"
    )]
    BadPrefix(String, String),
    /// Upstreams of one prefix disagree on taking it off.
    #[error(
        "upstream `{0}`: another upstream with prefix `{1}` says otherwise about stripping it; make them agree"
    )]
    MixedStrip(String, String),
}
