//! With whose secret: a reverse proxy whose callers never see the key of the server behind it.
//!
//! ```console
//! $ printf 'sk-of-the-server' > server.key
//! $ UPSTREAM=http://127.0.0.1:8000 cargo run -p gatewayd-examples --bin reverse_proxy
//! $ curl http://127.0.0.1:3000/model/v1/models       # arrives as /v1/models with Authorization: Bearer sk-of-the-server
//! $ printf 'sk-new' > server.key                     # the next request has the new one
//! ```
//!
//! Whoever reaches this port may use the key, so it listens on loopback. Put a login in front of it before anything else.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::Extension;
use axum::http::header;
use gatewayd_core::{NullJournal, SystemClock, UpstreamName};
use gatewayd_credentials::{Config, CredentialConfig, Credentials, CredentialsLayer, Source};
use gatewayd_proxy::{Config as ProxyConfig, Proxy, UpstreamConfig, Upstreams};
use tower::ServiceBuilder;

/// The one upstream of this program.
const SERVER: &str = "server";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let credentials = credentials(Path::new("server.key"))?;
    // Looks at the file each second, and when its directory says that something changed.
    tokio::spawn(credentials.watch());
    let app = app(credentials, &std::env::var("UPSTREAM")?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

/// The key is in a file of its own, never in a configuration, and bound to one upstream by name.
pub(crate) fn credentials(key: &Path) -> Result<Credentials, Box<dyn Error>> {
    let key = CredentialConfig {
        name: "server-key".to_owned(),
        source: Source::File(key.to_owned()),
        header: header::AUTHORIZATION,
        prefix: "Bearer ".to_owned(),
        upstreams: vec![SERVER.to_owned()],
    };
    let config = Config { credentials: vec![key], ..Config::default() };
    // Told of each new value before it is used. With gatewayd-masker: `known.insert(secret.expose())`, so that the
    // key is masked should the server ever repeat it.
    let on_version = Arc::new(|_: &_, _: &_| {});
    Ok(Credentials::new(config, Arc::new(SystemClock), Arc::new(NullJournal), on_version)?)
}

pub(crate) fn app(credentials: Credentials, url: &str) -> Result<Router, Box<dyn Error>> {
    let upstreams = Upstreams::new(&ProxyConfig { upstreams: vec![UpstreamConfig::new(SERVER, url)] })?;
    let model = ServiceBuilder::new()
        // Where it goes is said here and nowhere else: no Host header, no path and no absolute URI has a say in it.
        .layer(Extension(UpstreamName(SERVER.into())))
        // Takes off what the caller sent in the way of credentials, puts on ours.
        .layer(CredentialsLayer::new(credentials))
        // Streams both ways; what goes wrong becomes a 502 or 504, never an error.
        .service(Proxy::new(upstreams));
    // axum takes `/model` off the path before the proxy sees it.
    Ok(Router::new().nest_service("/model", model))
}
