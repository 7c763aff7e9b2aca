//! gatewayd: credentials.
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
