//! Which operation is this request, and where does it go?
//!
//! A policy judges an [`Operation`](gatewayd_core::Operation): infer, train, export, delete, on which model.
//! This crate makes it out of a request, from tables of routes that are data (`routes/*.toml`), for OpenAI,
//! Azure's way of serving it, Anthropic, Ollama, vLLM, llama.cpp and KServe v2. It also chooses the upstream.
//!
//! # As a function
//!
//! [`Dialects::classify`] needs no HTTP server; `gatewayd policy explain` uses it.
//!
//! ```
//! use gatewayd_core::{Action, Dialect};
//! use gatewayd_dialects::{Config, Dialects, UpstreamRule};
//! use http::{Method, Uri};
//!
//! let dialects = Dialects::new(&Config {
//!     upstreams: vec![UpstreamRule::new("gpu", &["llama-*"])],
//!     ..Config::default()
//! })?;
//! let uri = Uri::from_static("/v1/chat/completions");
//! let found = dialects.classify(&Method::POST, &uri, Some(br#"{"model":"llama-3","stream":true}"#))?;
//! assert_eq!(found.operation.dialect, Dialect::OpenAi);
//! assert_eq!(found.operation.action, Action::Infer);
//! assert_eq!(found.operation.model.as_deref(), Some("llama-3"));
//! assert!(found.operation.streaming);
//! assert_eq!(&*found.upstream.0, "gpu");
//!
//! // A route that no table knows is not guessed at: policy denies it unless a rule names it.
//! let uri = Uri::from_static("/admin/shutdown");
//! assert_eq!(dialects.classify(&Method::POST, &uri, None)?.operation.action, Action::Unknown);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # As a layer
//!
//! [`DialectsLayer`] reads what it must of the body, puts `Operation` and `UpstreamName` into the request's
//! extensions and on its [`Trail`](gatewayd_core::Trail), and hands the body on: JSON whole, as
//! [`Body::full`](gatewayd_core::Body::full), everything else as a stream.
//!
//! ```
//! use gatewayd_core::{Body, Operation};
//! use gatewayd_dialects::{Config, Dialects, DialectsLayer, UpstreamRule};
//! use http::{Request, Response};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let upstreams = vec![UpstreamRule::new("gpu", &["*"])];
//! let layer = DialectsLayer::new(Dialects::new(&Config { upstreams, ..Config::default() })?);
//! let service = layer.layer(service_fn(|request: Request<Body>| async move {
//!     let operation = request.extensions().get::<Operation>().expect("the layer put it there");
//!     Ok::<_, std::convert::Infallible>(Response::new(Body::from(operation.action.as_str())))
//! }));
//! let request = Request::post("/v1/fine_tuning/jobs").body(Body::from(r#"{"model":"llama-3"}"#))?;
//! let answer = service.oneshot(request).await?;
//! assert_eq!(answer.body().as_full(), Some(&b"train"[..]));
//! # Ok(()) }
//! ```
//!
//! # One reading
//!
//! A request that the upstream could read in another way than this crate would get around the policy. So:
//!
//! 1. **Path**: `//`, `.`, `..`, `;`, `\`, controls, non-ASCII, and percent-encodings of plain characters or
//!    of `/ \ % ; ? #` are refused with 400, in whatever table or none. One slash at the end changes nothing.
//!    Letter case counts. The path that is looked up is the path that is sent. ([`PathProblem`])
//! 2. **Method**: `HEAD` is `GET`; every other method is itself, and unknown if no table lists it. Headers by
//!    which servers let a caller override method or path are removed.
//! 3. **JSON**: the body must be one JSON value in UTF-8. `model` and `stream` may be there once, in exactly
//!    this case (Go's decoder takes `MODEL`), decoded from whatever escapes. ([`JsonProblem`])
//!    Members that name further models (`from`, `destination`, `fallbacks`) are read as well, as
//!    [`other_models`](gatewayd_core::Operation::other_models).
//! 4. **Forms**: framed as every parser wants them; `model` and `stream` once, in exactly this case, as plain text
//!    in UTF-8, also far behind the file: the whole of it is watched while it streams, and a second `model` ends
//!    the request. ([`FormProblem`])
//! 5. **Query**: where the body decides, a query that names `model`, `stream` or another member that decides is
//!    refused unless it says the same, and so is every other spelling (`Model`, `model[]`).
//! 6. **Content type**: a body that was read goes on with the type it was read by: `application/json` without
//!    parameters, or `multipart/form-data` with its boundary. Whatever else the caller wrote would have another
//!    parser read another body.
//! 7. **Model**: where path, query and body name one, they name the same.
//! 8. **Encoding**: a compressed body of which the model must be read is refused.
#![forbid(unsafe_code)]

mod arrival;
mod config;
mod engine;
mod form;
mod glob;
mod layer;
mod path;
mod peek;
mod problem;
mod table;
mod upstreams;

pub use config::{Config, ConfigError, Limits, UpstreamRule};
pub use engine::{Classified, Dialects, KnownRoute};
pub use form::FormProblem;
pub use layer::{DialectsLayer, DialectsService};
pub use path::PathProblem;
pub use peek::JsonProblem;
pub use problem::Problem;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
