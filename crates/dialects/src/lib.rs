//! Which operation is this request, and where does it go?
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
