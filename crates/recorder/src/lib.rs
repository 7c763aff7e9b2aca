//! Evidence before disclosure: what was asked, what was decided and what was answered, in a log that cannot
//! be quietly changed, and that can be played back.
//!
//! Two layers put a service under record. [`RecordLayer`] goes outside of everything that may refuse a
//! request, [`IntentLayer`] directly around what forwards it:
//!
//! ```
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use gatewayd_core::{Action, Body, Dialect, Identity, IdentityKind, Operation, SystemClock};
//! use gatewayd_recorder::{Config, Filter, IntentLayer, Reader, RecordLayer, Recorder};
//! use http::{Request, Response};
//! use http_body_util::BodyExt as _;
//! use tower::{ServiceBuilder, ServiceExt as _, service_fn};
//! # use gatewayd_core::{Redact, RedactStream};
//! # struct AsItIs;
//! # impl Redact for AsItIs {
//! #     fn start(&self, _: Option<&str>) -> Box<dyn RedactStream> { Box::new(AsItIs) }
//! # }
//! # impl RedactStream for AsItIs {
//! #     fn push(&mut self, chunk: &[u8]) -> Result<bytes::Bytes, String> { Ok(bytes::Bytes::copy_from_slice(chunk)) }
//! #     fn finish(&mut self) -> Result<bytes::Bytes, String> { Ok(bytes::Bytes::new()) }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let dir = tempfile::tempdir()?;
//! let recorder = Recorder::open(Config::new(dir.path()), Arc::new(SystemClock))?;
//! let masker = Arc::new(AsItIs); // in a gateway: the masker
//! let model = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) });
//! let service = ServiceBuilder::new()
//!     .layer(RecordLayer::new(recorder.clone(), masker))
//!     // ... who is calling, what they want, whether they may ...
//!     .layer(IntentLayer::new(&recorder))
//!     .service(model);
//!
//! let mut request = Request::post("/v1/chat/completions").body(Body::from("hi"))?;
//! // What the layers in between establish; without it the intent layer refuses.
//! request.extensions_mut().insert(Identity {
//!     kind: IdentityKind::Oidc,
//!     issuer: "https://idp.example".into(),
//!     subject: "alice".into(),
//!     name: None,
//!     groups: Arc::new([]),
//!     expires: None,
//! });
//! request.extensions_mut().insert(Operation {
//!     dialect: Dialect::OpenAi,
//!     action: Action::Infer,
//!     model: Some("llama".into()),
//!     other_models: [].into(),
//!     streaming: false,
//!     route: "/v1/chat/completions".into(),
//! });
//! let response = service.oneshot(request).await?;
//! assert!(response.headers().contains_key("x-request-id"));
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//! recorder.close();
//!
//! let reader = Reader::open(dir.path())?;
//! let sessions = reader.list(&Filter { subject: Some("alice".into()), ..Filter::default() })?;
//! assert_eq!(sessions[0].ending, "complete");
//! assert_eq!(reader.replay(sessions[0].id)?.response[0].bytes, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # What is written, and when
//!
//! A forwarded request has two entries: its **intent** (who, what, which rule, which credential version, which
//! approvals it uses up) and its **outcome** (status, digests of the stored bodies with their timing, mask counts,
//! how it ended). A request that was not forwarded has one, a **refusal**. What happens beside requests comes
//! through [`Journal`](gatewayd_core::Journal), which [`Recorder`] implements.
//!
//! - No response byte leaves before the intent is durable. An operation without side effects is forwarded at
//!   once, so that the sync overlaps the model's own time; one with side effects is not forwarded before.
//! - A refusal is durable before it is told.
//! - Claims are made in the transaction of the intent, so that an approval is used once or not at all.
//! - If nothing can be written, or too much waits, requests get 503 and nothing is forwarded.
//! - All entries that wait go into one transaction and one sync ([`Durability`] says what that means).
//!
//! Bodies are masked, compressed, encrypted and written by a thread of their own; a stream holds at most
//! about 16 KiB here. Losing a key ([`Recorder::erase`]) makes bodies unreadable without breaking the log.
//!
//! # Reading and verifying
//!
//! [`Reader`] lists, shows and replays, beside the process that writes or on a copy. [`verify`] takes a
//! copied directory and the public key, and trusts nothing else. `docs/evidence-format.md` describes the format byte by byte.
//!
//! # Inside
//!
//! `session` is a request in flight; `capture` its bytes. `seal` (with `track` and `segment`) writes bodies,
//! `commit` (with `tree`, `publish`) writes entries; nothing else writes. Three narrow traits stand where another
//! back end than this machine's disk would go: `Sequencer` gives entries their place and makes them durable (here
//! SQLite, in `store`), `BlobStore` keeps segments (here files), `CheckpointLock` is the right to publish
//! checkpoints (here a locked directory). Reading, recovery and erasure still speak SQL to `store`. `leaf`, `facts`, `codec` and
//! `note` are the format.
#![forbid(unsafe_code)]

mod blobs;
mod blocks;
mod body;
mod budget;
mod capture;
mod codec;
mod codes;
mod commit;
mod config;
mod copy;
mod error;
pub mod export;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod hashes;
mod head;
mod intent;
mod keys;
mod layer;
mod leaf;
mod lock;
mod missing;
mod note;
mod pace;
mod proof;
mod prove;
mod publish;
mod queue;
mod read;
mod record;
mod recorder;
mod recovery;
mod replay;
mod reserve;
mod retention;
mod rotate;
mod schema;
mod seal;
mod segment;
mod sequence;
mod session;
mod shared;
mod store;
mod tiles;
mod track;
mod tree;
pub mod verify;
mod view;
mod watch;
mod witness;

pub use config::{Config, Durability};
pub use error::Error;
pub use head::HeaderField;
pub use intent::{IntentLayer, IntentService};
pub use layer::{RecordLayer, RecordService};
pub use note::{Checkpoint, NoteError, PublicKey};
pub use pace::Pace;
pub use prove::{EntryProof, ProofError, is_continuation};
pub use read::{Filter, Reader};
pub use recorder::{Recorder, Stats};
pub use replay::{Frame, Replay};
pub use retention::Target;
pub use rotate::rotate_root;
pub use view::{Bundle, EventView, HoldView, StoredBody, Summary};
