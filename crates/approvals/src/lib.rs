//! A request that policy marks waits until enough people agree to exactly that request, and then passes once.
#![forbid(unsafe_code)]

mod approvals;
mod config;
mod diff;
mod digest;
mod error;
mod gate;
mod hold;
mod layer;
mod passing;
mod person;
mod preview;
mod quorum;
mod record;
mod spool;
mod state;
#[cfg(test)]
mod state_model;
mod store;
mod view;

pub use approvals::{Approvals, CLAIM_KIND, Filter};
pub use config::{Config, Requirement, Seats};
pub use diff::Change;
pub use error::{Error, Refused};
pub use layer::{ApprovalsFuture, ApprovalsLayer, ApprovalsService};
pub use preview::Preview;
pub use state::{State, Verdict, Vote};
pub use view::{Before, BodyView, View};
