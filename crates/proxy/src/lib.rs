//! To whom it is sent: the end of the stack.
//!
//! [`Proxy`] is a tower service that sends each request to the [`UpstreamName`](gatewayd_core::UpstreamName)
//! in its extensions and streams the answer back. It never fails: what goes wrong becomes an answer in the
//! caller's dialect, or the last event of a stream that broke off.
//!
//! ```
//! use gatewayd_core::{Body, UpstreamName};
//! use gatewayd_proxy::{Config, Proxy, UpstreamConfig, Upstreams};
//! use http::{Request, StatusCode};
//! use tower::ServiceExt as _;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = gatewayd_testkit::FakeUpstream::start(gatewayd_testkit::Reply::json(64));
//! # let url = server.url();
//! let upstreams = Upstreams::new(&Config { upstreams: vec![UpstreamConfig::new("gpu", url)] })?;
//! let request = Request::post("/v1/chat/completions")
//!     .extension(UpstreamName("gpu".into()))
//!     .body(Body::from(r#"{"model":"llama-3"}"#))?;
//! let answer = Proxy::new(upstreams).oneshot(request).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//! # Ok(()) }
//! ```
//!
//! # What crosses, and what does not
//!
//! - Framing is ours: `Content-Length` and `Transfer-Encoding` are made anew from the body, never copied.
//! - Up: no hop-by-hop headers (nor those that `Connection` names), `Host` of the upstream, no cookies, no
//!   header by which a proxy in front would vouch for the caller (`Forwarded`, `X-Forwarded*`, `X-Real-IP`,
//!   `*-Client-IP`, `CF-*`, `X-Envoy-*`, `X-Amzn-*`, `X-Original-*`, client certificates, user names, another
//!   method or path), no header with `_` in its name (many servers take it for `-`). `X-Request-Id` is the
//!   [`Trail`](gatewayd_core::Trail)'s.
//! - Down: no hop-by-hop headers, no `Set-Cookie`, `Alt-Svc`, `Strict-Transport-Security`, `Clear-Site-Data`,
//!   `X-Accel-Redirect`, `X-Sendfile`, `Refresh`. A `Location` or `Content-Location` at the upstream becomes a
//!   path at the gateway; one anywhere else is dropped, whatever the status.
//! - No coding that the controls in front cannot see through: an answer with a transfer coding beside `chunked`
//!   is refused with 502; one that promises text, in no coding, and begins as gzip, zstd, lz4, xz or zlib do
//!   ends there, with an error event or line if it is a stream, broken off if not.
//! - No redirect is followed, no proxy taken from the environment, nothing compressed or decompressed.
//! - The path is sent byte for byte as the other controls judged it, or refused.
//!
//! # Waiting
//!
//! A slow model is not an error: there is a limit on connecting, and none on the head of an answer or on
//! silence within it unless configured. A caller who goes away ends the work upstream.
//!
//! # One runtime a core
//!
//! Connections live on the runtime that opened them. [`Upstreams::fresh`] gives another runtime the same
//! upstreams with connections of its own; nothing is shared that a request would wait for.
//!
//! # Beside requests
//!
//! [`HttpFetch`] fetches the small documents of the other controls (discovery, key sets), [`Agent`] calls the
//! admin API for the command line. No other crate of gatewayd has an HTTP client.
#![forbid(unsafe_code)]

mod agent;
mod coding;
mod config;
mod error;
mod failure;
mod fetch;
mod headers;
mod held;
mod incoming;
mod location;
mod outgoing;
mod patience;
mod proxy;
mod tls;
mod upstreams;

pub use agent::{Agent, AgentConfig, Answer};
pub use config::{ClientCertificate, Config, UpstreamConfig};
pub use error::{AgentError, ConfigError};
pub use fetch::{FetchConfig, HttpFetch};
pub use headers::is_sent;
pub use proxy::Proxy;
pub use upstreams::Upstreams;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
