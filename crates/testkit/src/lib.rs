//! What tests and benches of gatewayd share: a fake upstream, a private authority, tokens. Not published.
//!
//! ```
//! use gatewayd_testkit::{FakeUpstream, Reply};
//!
//! let upstream = FakeUpstream::start(Reply::json(1024));
//! assert!(upstream.url().starts_with("http://127.0.0.1:"));
//! assert!(upstream.seen().is_empty());
//! ```
#![forbid(unsafe_code)]

mod pki;
mod reply;
mod tokens;
mod upstream;

pub use pki::Pki;
pub use reply::{Reply, StreamEnding};
pub use tokens::{FakeIssuer, FakeIssuers, TestKey, TestKeyKind, TokenBuilder};
pub use upstream::{FakeUpstream, Seen};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
