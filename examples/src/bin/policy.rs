//! May they: rules in TOML decide over the routes of an axum service that has its own login.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin policy
//! $ curl -X DELETE -H 'Authorization: Bearer session-of-alice' http://127.0.0.1:3000/models/llama-3
//! ```

use std::error::Error;

use axum::Router;
use axum::extract::{MatchedPath, Path, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use gatewayd_core::{Action, UpstreamName};
use gatewayd_examples::{Logins, person, sign_in, wants};
use gatewayd_policy::{Config, Policy, PolicyHandle, PolicyLayer, RuleSpec};

/// What no rule allows is denied, and a deny wins.
pub(crate) const RULES: &str = r#"
[[rule]]
name = "engineers-see-and-train"
effect = "allow"
groups = ["ml-eng"]
actions = ["inspect", "train"]

[[rule]]
name = "owners-do-everything"
effect = "allow"
groups = ["owners"]

[[rule]]
name = "nobody-deletes-what-is-in-production"
effect = "deny"
actions = ["delete"]
models = ["prod-*"]
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let alice = person("alice", &["ml-eng"]);
    let logins = Logins::new([("session-of-alice", alice)]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(PolicyHandle::new(policy(RULES)?), logins)).await?)
}

/// Compiles the rules. All of them are checked here; a request cannot run into a rule that does not work.
pub(crate) fn policy(toml: &str) -> Result<Policy, Box<dyn Error>> {
    #[derive(serde::Deserialize)]
    struct File {
        rule: Vec<RuleSpec>,
    }
    let file: File = toml::from_str(toml)?;
    // `approvals` is empty: a rule with effect "approve" is refused, because nothing here could hold a request.
    Ok(Policy::new(&Config { rules: file.rule, ..Config::default() })?)
}

/// Keep the handle: `PolicyHandle::replace` puts other rules in force while requests run.
pub(crate) fn app(policy: PolicyHandle, logins: Logins) -> Router {
    Router::new()
        .route("/models/{model}", get(|Path(model): Path<String>| async move { format!("{model} is well") }))
        .route("/models/{model}", delete(|| async { "gone" }))
        .route("/models/{model}/train", post(|| async { "training" }))
        .route("/models/{model}/rename", post(|| async { "renamed" }))
        // The last layer is the outermost: first who, then what, then may they. `route_layer`, because what is no
        // route needs no decision: it is 404.
        .route_layer(PolicyLayer::new(policy))
        .route_layer(from_fn(describe))
        .route_layer(from_fn_with_state(logins, sign_in))
}

/// Says in the policy's words what a request wants. The controls read it from the extensions.
async fn describe(
    Path(model): Path<String>,
    route: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let action = match (request.method().as_str(), route.as_str()) {
        ("GET" | "HEAD", "/models/{model}") => Action::Inspect,
        ("DELETE", "/models/{model}") => Action::Delete,
        (_, "/models/{model}/train") => Action::Train,
        // A route that somebody adds and forgets here is denied, until a rule names "unknown".
        _ => Action::Unknown,
    };
    request.extensions_mut().insert(wants(action, Some(model), route.as_str()));
    request.extensions_mut().insert(UpstreamName("registry".into()));
    next.run(request).await
}
