//! A request that policy marks waits until enough people agree to exactly that request, and then passes once.
//!
//! [`ApprovalsLayer`] sits behind policy. Where the `Decision` says approve, it takes the request's body, names the
//! request by a digest of everything that makes it this request, and puts it before people. The caller's
//! connection is held for a while; if nobody decides in that time, the answer is `403 approval_pending`, and the
//! same request sent again by the same caller attaches to the same approval.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use gatewayd_approvals::{Approvals, ApprovalsLayer, Config, Filter, Requirement, Seats, State, Verdict};
//! use gatewayd_core::{
//!     Action, Body, Decision, Dialect, Effect, Identity, IdentityKind, NullJournal, Operation, SystemClock, UpstreamName,
//! };
//! use http::{Request, Response};
//! use tower::{Layer as _, ServiceExt as _, service_fn};
//! # use bytes::Bytes;
//! # use gatewayd_core::{Redact, RedactStream};
//! # struct Plain;
//! # impl Redact for Plain {
//! #     fn start(&self, _: Option<&str>) -> Box<dyn RedactStream> { Box::new(Self) }
//! # }
//! # impl RedactStream for Plain {
//! #     fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> { Ok(Bytes::copy_from_slice(chunk)) }
//! #     fn finish(&mut self) -> Result<Bytes, String> { Ok(Bytes::new()) }
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("approvals.db");
//! # let mask = Arc::new(Plain);
//! // Two different people, one of each group. (A short `hold`, so that this example ends.)
//! let mut two_people = Requirement::all_of(vec![Seats::new("ml-leads", 1), Seats::new("security", 1)]);
//! two_people.hold = Duration::from_millis(10);
//! let config = Config {
//!     requirements: BTreeMap::from([("two-people".to_owned(), two_people)]),
//!     ..Config::default()
//! };
//! let approvals = Approvals::open(&path, config, Arc::new(NullJournal), mask, Arc::new(SystemClock))?;
//!
//! let person = |subject: &str, group: &str| Identity {
//!     kind: IdentityKind::Oidc,
//!     issuer: "https://id.example".into(),
//!     subject: subject.into(),
//!     name: None,
//!     groups: [group.into()].into(),
//!     expires: None,
//! };
//! // What the controls further out have found.
//! let request = || {
//!     let mut request = Request::post("/v1/fine_tuning/jobs").body(Body::from(r#"{"epochs": 3}"#)).unwrap();
//!     request.extensions_mut().insert(person("alice", "ml-eng"));
//!     request.extensions_mut().insert(UpstreamName("llama".into()));
//!     request.extensions_mut().insert(Operation {
//!         dialect: Dialect::OpenAi,
//!         action: Action::Train,
//!         model: None,
//!         other_models: [].into(),
//!         streaming: false,
//!         route: "/v1/fine_tuning/jobs".into(),
//!     });
//!     request.extensions_mut().insert(Decision {
//!         effect: Effect::Approve,
//!         rule: "training-needs-approval".into(),
//!         policy_version: "1".into(),
//!         approval: Some("two-people".into()),
//!     });
//!     request
//! };
//! let upstream = service_fn(|_: Request<Body>| async { Ok::<_, std::convert::Infallible>(Response::new(Body::empty())) });
//! let service = ApprovalsLayer::new(approvals.clone()).layer(upstream);
//!
//! assert_eq!(service.clone().oneshot(request()).await?.status(), 403); // approval_pending
//! let waiting = approvals.list(&Filter { states: vec![State::Pending], ..Filter::default() }).await?;
//! let id = &waiting[0].id;
//! approvals.vote(id, &person("bob", "ml-leads"), Verdict::Approve, "go ahead").await?;
//! approvals.vote(id, &person("carol", "security"), Verdict::Approve, "").await?;
//! assert_eq!(service.clone().oneshot(request()).await?.status(), 200); // that request, once
//! assert_eq!(service.oneshot(request()).await?.status(), 403); // asks anew
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What an approval is bound to
//!
//! Method, path and query, the headers, the operation (dialect, action, model, streaming, route), the upstream, the
//! caller (issuer and subject), the rule, its requirement and the policy's version, and every byte of the body.
//! Anything else is another request. Request trailers are dropped.
//!
//! All headers count, known or not, but for those that carry the request or name one try of it:
//!
//! - of a connection: `Connection`, `Keep-Alive`, `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`,
//!   `HTTP2-Settings`, `Host`, `Content-Length`, `Expect` (what `Connection` takes off the request does count);
//! - of the sender and the way: `Authorization`, `Proxy-Authorization`, `X-Api-Key`, `Api-Key`, `Cookie`, `Forwarded`,
//!   `X-Forwarded-*`, `Via`, `X-Real-IP`, `True-Client-IP`, `CF-Connecting-IP`, `CF-Ray`, `User-Agent`, `Sec-*`,
//!   `X-Stainless-*` (what the SDKs of OpenAI and Anthropic tell of themselves, with the count of retries);
//! - of the answer: `Accept`, `Accept-*`, `Cache-Control`, `Pragma`, `Priority`, `Date`;
//! - of one try: `Idempotency-Key`, `X-Request-ID`, `X-Client-Request-ID`, `X-MS-Client-Request-ID`,
//!   `X-Correlation-ID`, `traceparent`, `tracestate`, `baggage`, `B3`, `X-B3-*`, `Sentry-Trace`, `X-Datadog-*`,
//!   `X-Amzn-Trace-ID`, `X-Cloud-Trace-Context`, and `X-Approval-Reason`.
//!
//! People are shown the others, masked; a request with more than 64 of them is refused.
//!
//! Of a `multipart/form-data` body only the boundary does not count, since clients draw a new one each time: such a
//! body is named by its pieces.
//!
//! # A last look
//!
//! While people decide, a token may be revoked, and policy may change. [`ApprovalsLayer::recheck`] takes a hook that is
//! asked after they agreed, directly before the approval is taken for use. If it refuses, so is the request, and the
//! approval stays approved, for the same request under a good token.
//!
//! # States
//!
//! ```text
//! pending --> approved --> consumed
//!    |           |-------> indeterminate
//!    |           '-------> expired | cancelled
//!    '------> denied | expired | cancelled
//! ```
//!
//! While a request passes, the approval is approved and *in use*; a second one gets `409 approval_consumed` with
//! `x-should-retry: false`. With a `Trail` on the request the use is a claim that the recorder makes in the
//! transaction of the request's intent, and the journal is asked afterwards, or after a crash, whether it was made.
//! Without one this store alone knows, and what is in doubt becomes [`State::Indeterminate`]. Nothing is ever sent again
//! by the gateway itself.
//!
//! # Who decides
//!
//! A [`Requirement`] names groups and how many distinct people of each; alternatives are possible. A person takes one
//! seat, whatever their groups, and groups count as they are when the vote is cast. Nobody votes on their own
//! request, and nobody votes twice: two identities are taken for one person if issuer and subject are the same, or the
//! subject alone, or the name. Tokens of programs do not vote unless a requirement says so;
//! without that they neither see nor cancel what others ask for.
//!
//! Changes of the gateway itself can be put under the same quorum with [`Approvals::propose`].
//!
//! Votes are recorded in the journal before they count. If the process dies in between, the journal holds a vote
//! that did not count, and the person votes again.
//!
//! # Erasing
//!
//! [`Approvals::erase`] takes the words of a caller, or of one request, out of the store for good: who asked, the masked
//! request and its headers, why, and the comments of the votes. What was not used is withdrawn first. Ids, digests,
//! times, the rule, who voted how and the state stay. Votes that the caller cast on what others asked stay too.
#![forbid(unsafe_code)]

mod approvals;
mod change;
mod config;
mod diff;
mod digest;
mod erase;
mod error;
mod gate;
mod headers;
mod hold;
mod layer;
mod multipart;
mod passing;
mod person;
mod places;
mod preview;
mod quorum;
mod record;
mod spool;
mod state;
#[cfg(test)]
mod state_model;
mod store;
mod view;

pub use approvals::{Approvals, CLAIM_KIND, Filter, GRANT_CLAIM_KIND};
pub use change::{Agreement, Answer, Proposal};
pub use config::{Config, Requirement, Seats};
pub use diff::Change;
pub use erase::{Erased, Whose};
pub use error::{Error, Refused};
pub use layer::{ApprovalsFuture, ApprovalsLayer, ApprovalsService};
pub use preview::Preview;
pub use state::{State, Verdict, Vote};
pub use view::{Before, BodyView, View};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
