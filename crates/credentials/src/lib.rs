//! With whose secret: the upstream's credential is put on a request here, and nowhere else.
//!
//! A caller never has the upstream's credential, and cannot have it sent elsewhere. Each credential has a
//! [`Source`] (a file or an environment variable), a header, and the upstreams it is bound to. The request's
//! upstream is the [`UpstreamName`](gatewayd_core::UpstreamName) in its extensions, which comes from
//! configuration; no host, header or path of the request has a say.
//!
//! ```
//! use std::sync::Arc;
//! use gatewayd_core::{Body, CredentialVersion, NullJournal, SystemClock, UpstreamName};
//! use gatewayd_credentials::{Config, CredentialConfig, Credentials, CredentialsLayer, Source};
//! use http::{Request, Response, header};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("llama-key");
//! std::fs::write(&path, "sk-upstream\n")?;
//! let config = Config {
//!     credentials: vec![CredentialConfig {
//!         name: "llama-key".to_owned(),
//!         source: Source::File(path.clone()),
//!         header: header::AUTHORIZATION,
//!         prefix: "Bearer ".to_owned(),
//!         upstreams: vec!["llama".to_owned()],
//!     }],
//!     ..Config::default()
//! };
//! // The hook hears of each value before it is used: a masker learns what must not come back.
//! let on_version = Arc::new(|_version: &CredentialVersion, _secret: &gatewayd_core::Secret| {});
//! let credentials = Credentials::new(config, Arc::new(SystemClock), Arc::new(NullJournal), on_version)?;
//!
//! let service = CredentialsLayer::new(credentials.clone()).layer(tower::service_fn(
//!     |request: Request<Body>| async move {
//!         let seen = request.headers()["authorization"].to_str().expect("ASCII").to_owned();
//!         Ok::<_, std::convert::Infallible>(Response::new(Body::from(seen)))
//!     },
//! ));
//! let request = || {
//!     let request = Request::get("/v1/models").header("authorization", "Bearer the callers own");
//!     request.extension(UpstreamName("llama".into())).body(Body::empty())
//! };
//! let response = service.clone().oneshot(request()?).await?;
//! assert_eq!(response.body().as_full(), Some(&b"Bearer sk-upstream"[..]));
//!
//! // A new value: `watch` would notice it by itself.
//! std::fs::write(&path, "sk-rotated\n")?;
//! credentials.reload().await;
//! let response = service.oneshot(request()?).await?;
//! assert_eq!(response.body().as_full(), Some(&b"Bearer sk-rotated"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Rotation
//!
//! Spawn [`Credentials::watch`]: it watches the files' directories and looks at their content each second.
//! A new value goes through four steps: it is judged (one line of printable ASCII, at most 16 KiB); it gets
//! a version id that says nothing of it; the hook hears of it; the journal records the rotation. Then the
//! next request carries it. Requests under way keep what they have. A value that does not hold, or that
//! cannot be recorded, leaves the last one in force, and the [`CredentialStatus`] says why.
//!
//! A file that is gone for five seconds was taken away: its upstreams are refused with 503 until it is back.
#![forbid(unsafe_code)]

mod config;
mod credentials;
mod error;
mod layer;
mod source;
mod version;
mod watch;

pub use config::{Config, CredentialConfig, Source};
pub use credentials::{CredentialStatus, Credentials, OnVersion};
pub use error::Error;
pub use layer::{CredentialsFuture, CredentialsLayer, CredentialsService};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
