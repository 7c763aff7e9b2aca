//! To whom it is sent.
#![forbid(unsafe_code)]

mod agent;
mod config;
mod error;
mod failure;
mod fetch;
mod headers;
mod incoming;
mod outgoing;
mod proxy;
mod tls;
mod upstreams;

pub use agent::{Agent, AgentConfig, Answer};
pub use config::{ClientCertificate, Config, UpstreamConfig};
pub use error::{AgentError, ConfigError};
pub use fetch::{FetchConfig, HttpFetch};
pub use proxy::Proxy;
pub use upstreams::Upstreams;
