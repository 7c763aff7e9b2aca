//! Fetches small documents for the other controls.

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gatewayd_core::{BoxFuture, Fetch, FetchError, Fetched};
use http::header::{CACHE_CONTROL, HeaderMap};
use reqwest::{Client, redirect};

use crate::error::{ConfigError, in_one_line};
use crate::tls::{self, Trust};
use crate::upstreams::{USER_AGENT, plain_client};

/// How documents are fetched.
#[derive(Debug, Clone)]
pub struct FetchConfig {
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Longest wait for a whole document. 10 seconds.
    pub timeout: Duration,
    /// Longest document, in bytes. 1 MiB.
    pub limit: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { ca: None, timeout: Duration::from_secs(10), limit: 1 << 20 }
    }
}

/// Fetches documents such as discovery documents and key sets: bounded in size and time, with at most
/// three redirects, none of them to another origin.
#[derive(Debug, Clone)]
pub struct HttpFetch {
    client: Client,
    timeout: Duration,
    limit: usize,
}

impl HttpFetch {
    /// Sets the client up.
    ///
    /// # Errors
    /// If the authorities cannot be read.
    pub fn new(config: &FetchConfig) -> Result<Self, ConfigError> {
        let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
        let tls = match &config.ca {
            Some(path) => tls::client_config(Trust::Only(path), None, alpn)?,
            // A machine without authorities can still fetch over plain HTTP, from itself.
            None => tls::client_config(Trust::System, None, alpn).or_else(|error| {
                tracing::warn!(%error, "no authorities of the system: nothing is fetched over https");
                tls::client_config(Trust::Nobody, None, alpn)
            })?,
        };
        let client = plain_client(tls)
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::custom(same_origin))
            .connect_timeout(config.timeout)
            .http2_max_header_list_size(64 * 1024)
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        Ok(Self { client, timeout: config.timeout, limit: config.limit })
    }

    async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let unreachable = |error: reqwest::Error| FetchError::Unreachable(in_one_line(&error.without_url()));
        let mut answer = self.client.get(url).send().await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let max_age = max_age(answer.headers());
        let limit = self.limit as u64;
        if answer.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge(self.limit));
        }
        let mut body = BytesMut::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > self.limit {
                return Err(FetchError::TooLarge(self.limit));
            }
            body.extend_from_slice(&piece);
        }
        let body: Bytes = body.freeze();
        Ok(Fetched { status, body, max_age })
    }
}

impl Fetch for HttpFetch {
    fn get<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            match tokio::time::timeout(self.timeout, self.fetch(url)).await {
                Ok(fetched) => fetched,
                Err(_elapsed) => Err(FetchError::Timeout(self.timeout)),
            }
        })
    }
}

fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let is_at_home = attempt.previous().iter().all(|url| url.origin() == attempt.url().origin());
    if is_at_home && attempt.previous().len() <= 3 { attempt.follow() } else { attempt.stop() }
}

/// `max-age` of `Cache-Control`; `no-store` and `no-cache` are an age of zero.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let mut found = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let directive = directive.trim();
            if directive.eq_ignore_ascii_case("no-store") || directive.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            let (name, seconds) = directive.split_once('=').unwrap_or((directive, ""));
            if name.eq_ignore_ascii_case("max-age") {
                found = found.or_else(|| seconds.trim_matches('"').parse().ok().map(Duration::from_secs));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_age_a_document_may_reach() {
        for (value, wanted) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=\"5\"", Some(5)),
            ("max-age=60, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("max-age=x", None),
            ("public", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
            assert_eq!(max_age(&headers), wanted.map(Duration::from_secs), "{value}");
        }
    }
}
