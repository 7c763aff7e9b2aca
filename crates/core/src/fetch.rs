//! Fetching small documents over HTTP, without saying with which client.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// A boxed, sendable future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Fetches small documents such as an OIDC discovery document or a JWKS.
///
/// Implementations follow no redirect to another origin, bound the size and the time, and verify TLS.
pub trait Fetch: Send + Sync + 'static {
    /// `GET url`, whatever the status.
    fn get<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}

/// A fetched document.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// HTTP status code.
    pub status: u16,
    /// The body, whole.
    pub body: Bytes,
    /// `max-age` of `Cache-Control` (RFC 9111), if given.
    pub max_age: Option<Duration>,
}

/// Why a document could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// No connection, a TLS failure, or a broken answer. The text holds no secret.
    #[error("could not fetch: {0}")]
    Unreachable(String),
    /// No answer within the limit.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer is larger than the limit in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}
