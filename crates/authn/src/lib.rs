//! gatewayd: authn.
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
pub use token_store::{NewToken, TokenInfo, TokenStore};
