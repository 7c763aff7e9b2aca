//! Evidence before disclosure: a log of what was asked and answered that cannot be quietly changed.
#![forbid(unsafe_code)]

mod body;
mod budget;
mod capture;
mod codec;
mod codes;
mod commit;
mod config;
mod error;
mod facts;
mod hashes;
mod intent;
mod keys;
mod layer;
mod leaf;
mod note;
mod proof;
mod publish;
mod read;
mod recorder;
mod recovery;
mod replay;
mod reserve;
mod retention;
mod seal;
mod segment;
mod session;
mod shared;
mod store;
mod tiles;
mod track;
mod tree;
pub mod verify;
mod view;

pub use config::{Config, Durability};
pub use error::Error;
pub use intent::{IntentLayer, IntentService};
pub use layer::{RecordLayer, RecordService};
pub use note::{Checkpoint, NoteError, PublicKey};
pub use read::{Filter, Reader};
pub use recorder::{Recorder, Stats};
pub use replay::{Frame, Replay};
pub use retention::Target;
pub use view::{Bundle, EventView, StoredBody, Summary};
