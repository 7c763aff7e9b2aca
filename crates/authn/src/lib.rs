//! Who is calling: OpenID Connect tokens, and tokens of the gateway's own, become one [`Identity`].
//!
//! A caller presents one credential, in `Authorization: Bearer`, `x-api-key` or `api-key`. What it is
//! shows in its first bytes:
//!
//! | it begins with | it is | judged by |
//! |---|---|---|
//! | `gwd_` | a token that this gateway issued to a program | [`TokenStore`] |
//! | `gwa_` | the key of the local administrator | [`LocalAdmin`], only on a handle that was told of it |
//! | anything else | a JSON Web Token of an OpenID Connect provider | its issuer's [`IssuerConfig`] |
//!
//! [`Authn`] is the handle: headers in, an [`Identity`] or a [`Refusal`] out. [`AuthnLayer`] puts it in
//! front of a tower service, takes the credential off the request, and leaves the identity in the
//! request's extensions. With it stands [`Presented`]: whoever holds a request back for a while asks
//! [`Authn::authenticate_presented`] whether its caller is still good before it goes on.
//!
//! ```
//! use std::sync::Arc;
//! use gatewayd_authn::{Authn, AuthnLayer, Config, IssuerConfig};
//! use gatewayd_core::{Body, Fetch, Identity, SystemClock};
//! use http::{Request, Response, StatusCode};
//! use tower::{Layer, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A provider in memory; a real one is reached by whatever implements `Fetch`.
//! let provider = gatewayd_testkit::FakeIssuer::new("https://id.example", Arc::new(SystemClock));
//! let fetch: Arc<dyn Fetch> = Arc::new(provider.clone());
//!
//! let mut issuer = IssuerConfig::new("https://id.example", ["gateway"]);
//! issuer.groups_claim = "realm_access.roles".parse()?;
//! let config = Config { issuers: vec![issuer], ..Config::default() };
//! let authn = Authn::new(config, fetch, None, Arc::new(SystemClock))?;
//!
//! let service = AuthnLayer::new(authn).layer(tower::service_fn(|request: Request<Body>| async move {
//!     let who = request.extensions().get::<Identity>().expect("the layer puts it there");
//!     assert!(who.in_group("ml-eng"));
//!     assert!(request.headers().is_empty(), "the credential goes no further");
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
//! }));
//!
//! let roles = serde_json::json!({"roles": ["ml-eng"]});
//! let token = provider.token("alice").claim("realm_access", roles).sign();
//! let request = Request::get("/v1/models").header("authorization", format!("Bearer {token}"));
//! let response = service.clone().oneshot(request.body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! let request = Request::get("/v1/models").header("authorization", "Bearer forged");
//! let response = service.oneshot(request.body(Body::empty())?).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! # Ok(())
//! # }
//! ```
//!
//! # What a token must be
//!
//! In this order, so that a token that is no good costs neither a fetch nor a verification:
//!
//! 1. at most 16 KiB, three parts of base64url, JSON without duplicate keys;
//! 2. an algorithm with a public key, accepted by its issuer's settings; no `crit`; the type of an access
//!    or ID token. Keys and addresses of keys in the header (`jwk`, `jku`, `x5c`, `x5u`) are not looked at;
//! 3. of a configured issuer, for one of its audiences, and for one of its clients where they are listed;
//! 4. with an expiry that is not over, not from the future, and not bound to a key by `cnf`;
//! 5. with a subject and, if it has any, groups that can be read;
//! 6. signed by a key its issuer publishes, of a type and use that fit the algorithm.
//!
//! # Keys and verdicts
//!
//! Keys are found by discovery, refreshed when the provider's `max-age` says so (spawn
//! [`Authn::refresh`]), and fetched when a token names one that is not known: by one task at a time, that no
//! caller can stop, within a budget that a storm of made-up key ids cannot exceed. If a provider is down its
//! keys serve until [`IssuerConfig::max_staleness`]; then, or if there never were any, its callers get 503.
//!
//! A verified token is remembered by its SHA-256 until it expires, until its key is published no longer, or
//! until the issuer's keys are too old. The way of a request whose token was seen before takes no lock
//! beyond the cache's own, and does not wait.
//!
//! # Tokens for programs
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use gatewayd_authn::{NewToken, TokenStore};
//! use gatewayd_core::SystemClock;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! let store = TokenStore::open(directory.path().join("tokens.db"), Arc::new(SystemClock))?;
//! let (secret, info) = store.create(&NewToken {
//!     subject: "nightly-eval".to_owned(),
//!     groups: vec!["ml-eng".to_owned()],
//!     ttl: Duration::from_secs(90 * 24 * 3600),
//!     created_by: "alice".to_owned(),
//! })?;
//! // Shown this once; the store keeps its hash.
//! assert!(secret.expose().starts_with(b"gwd_"));
//! store.revoke(&info.id, "alice")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Identity`]: gatewayd_core::Identity
//! [`Refusal`]: gatewayd_core::Refusal
#![forbid(unsafe_code)]

mod authn;
mod claims;
mod config;
mod error;
mod gateway_token;
mod jwt;
mod keys;
mod layer;
mod local_admin;
mod presented;
mod provider;
mod strict_json;
mod token_db;
mod token_store;
mod verdicts;

pub use authn::{Authn, IssuerStatus};
pub use config::{Algorithm, ClaimPath, Config, IssuerConfig};
pub use error::Error;
pub use layer::{AuthnFuture, AuthnLayer, AuthnService};
pub use local_admin::LocalAdmin;
pub use presented::Presented;
pub use token_store::{NewToken, TokenInfo, TokenStore};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
