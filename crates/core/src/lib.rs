//! The plain vocabulary that gatewayd's controls share. No I/O, no runtime.
//!
//! A request on its way through the gateway collects facts, each put into the request's extensions by
//! the control that established it and noted on the request's [`Trail`]:
//!
//! | fact | type | established by |
//! |---|---|---|
//! | who is calling | [`Identity`] | authn |
//! | what they want | [`Operation`], [`UpstreamName`] | dialects |
//! | may they | [`Decision`] | policy |
//! | people agreed | [`Claim`] | approvals |
//! | with which secret | [`CredentialVersion`] | credentials |
//! | what happened | [`Trail`], [`Ending`] | recorder |
//!
//! A control that says no answers with a [`Refusal`], which becomes a response in the caller's own
//! [`Dialect`], so that an OpenAI client sees an OpenAI error and an Ollama client sees Ollama's.
//! What happens beside requests (a vote, a rotation, a changed policy) is an [`Event`] for the [`Journal`].
//!
//! ```
//! use gatewayd_core::{Dialect, Refusal, RefusalCode};
//! use http::StatusCode;
//!
//! let refusal = Refusal::new(RefusalCode::PolicyDenied, "rule `no-training` denies train on `llama`");
//! let response = refusal.response(Dialect::OpenAi);
//! assert_eq!(response.status(), StatusCode::FORBIDDEN);
//! assert_eq!(response.headers()["content-type"], "application/json");
//! ```
#![forbid(unsafe_code)]

mod body;
mod clock;
mod decision;
mod done;
mod fetch;
mod identity;
mod journal;
mod operation;
mod query;
mod redact;
mod refusal;
mod request_id;
mod room;
mod secret;
mod terminal;
mod trail;

pub use body::{Body, BoxError};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use decision::{Claim, Decision, Effect};
pub use done::DoneMark;
pub use fetch::{BoxFuture, Fetch, FetchError, Fetched};
pub use identity::{Identity, IdentityKind};
pub use journal::{Event, EventKind, Journal, JournalError, NullJournal};
pub use operation::{Action, Dialect, Operation, UpstreamName};
pub use query::without_credentials;
pub use redact::{Redact, RedactStream};
pub use refusal::{Refusal, RefusalCode};
pub use request_id::RequestId;
pub use room::{NoRoom, Room, Taken};
pub use secret::Secret;
pub use terminal::{inert_json, inert_text, is_obeyed_or_unseen};
pub use trail::{CredentialVersion, Ending, MaskCount, MaskPlace, Peer, Trail};
