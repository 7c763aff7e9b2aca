//! Who is calling: an OpenID Connect provider in front of two routes of an axum service.
//!
//! ```console
//! $ OIDC_ISSUER=https://id.example.com OIDC_AUDIENCE=my-service cargo run -p gatewayd-examples --bin authn
//! $ curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:3000/me
//! ```

use std::error::Error;
use std::sync::Arc;

use axum::extract::Extension;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use gatewayd_authn::{Authn, AuthnLayer, Config, IssuerConfig};
use gatewayd_core::{Fetch, Identity, SystemClock};
use gatewayd_proxy::{FetchConfig, HttpFetch};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (issuer, audience) = (std::env::var("OIDC_ISSUER")?, std::env::var("OIDC_AUDIENCE")?);
    // The library says which documents it wants and leaves the HTTP client to you. This one follows no redirect
    // to another origin and bounds size and time; your own only has to implement `Fetch`.
    let authn = authn(&issuer, &audience, Arc::new(HttpFetch::new(&FetchConfig::default())?))?;
    // An issuer that cannot be reached is found out now, not by the first caller.
    authn.load().await?;
    // Fetches keys before they are old, so that no request waits for them.
    tokio::spawn(authn.refresh());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(authn)).await?)
}

/// One issuer. Its tokens must be meant for us (`audience`), and say in `realm_access.roles` which groups
/// the caller is in: that is where Keycloak puts them.
pub(crate) fn authn(issuer: &str, audience: &str, fetch: Arc<dyn Fetch>) -> Result<Authn, Box<dyn Error>> {
    let mut issuer = IssuerConfig::new(issuer, [audience]);
    issuer.groups_claim = "realm_access.roles".parse()?;
    let config = Config { issuers: vec![issuer], ..Config::default() };
    Ok(Authn::new(config, fetch, None, Arc::new(SystemClock))?)
}

/// The service: what is above `layer` needs a token, what is below does not.
pub(crate) fn app(authn: Authn) -> Router {
    Router::new()
        .route("/me", get(me))
        .route("/admin", get(admin))
        .layer(AuthnLayer::new(authn))
        .route("/health", get(|| async { "well" }))
}

/// The layer answers 401 by itself, so a handler never sees a caller without an identity.
async fn me(Extension(who): Extension<Identity>) -> Json<Identity> {
    Json(who)
}

/// Groups are compared exactly.
async fn admin(Extension(who): Extension<Identity>) -> Result<&'static str, StatusCode> {
    if who.in_group("admins") { Ok("the keys of the house") } else { Err(StatusCode::FORBIDDEN) }
}
