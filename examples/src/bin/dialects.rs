//! What do they want: counts what callers of an OpenAI- or Ollama-like API ask for, by action.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin dialects
//! $ curl -d '{"model":"llama-3","messages":[]}' http://127.0.0.1:3000/v1/chat/completions
//! $ curl -d '{"model":"llama-3"}' http://127.0.0.1:3000/api/pull
//! $ curl http://127.0.0.1:3000/usage
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};
use gatewayd_core::{Operation, UpstreamName};
use gatewayd_dialects::{Config, Dialects, DialectsLayer, Limits, UpstreamRule};
use serde_json::{Value, json};

/// How often each action was asked for on each route. Routes are templates, so callers cannot make the map grow.
type Usage = Arc<Mutex<BTreeMap<String, u64>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app(dialects()?)).await?)
}

/// Two servers, chosen by the model that a request names; a model that neither serves is 404.
pub(crate) fn dialects() -> Result<Dialects, Box<dyn Error>> {
    let config = Config {
        upstreams: vec![UpstreamRule::new("big", &["*-70b"]), UpstreamRule::new("small", &["llama-*"])],
        // JSON is read whole, once, to find the model. This is how much of it.
        limits: Limits { json: 1 << 20, ..Limits::default() },
        ..Config::default()
    };
    Ok(Dialects::new(&config)?)
}

pub(crate) fn app(dialects: Dialects) -> Router {
    let usage = Usage::default();
    Router::new()
        // Takes every path: which routes there are is known by the dialects, not by this router. What could be read
        // in two ways (`"model"` twice, `/v1/../api`) is refused before the handler, in the caller's own dialect.
        .fallback(answer)
        .layer(DialectsLayer::new(dialects))
        .route("/usage", get(|State(usage): State<Usage>| async move { Json(counts(&usage).clone()) }))
        .with_state(usage)
}

/// Stands for what your service does with a request that it now understands.
async fn answer(
    State(usage): State<Usage>,
    Extension(operation): Extension<Operation>,
    Extension(UpstreamName(upstream)): Extension<UpstreamName>,
) -> Json<Value> {
    let key = format!("{} {}", operation.action.as_str(), operation.route);
    *counts(&usage).entry(key).or_default() += 1;
    Json(json!({"understood": operation, "upstream": upstream}))
}

fn counts(usage: &Usage) -> std::sync::MutexGuard<'_, BTreeMap<String, u64>> {
    // A map of counters is never half written.
    usage.lock().unwrap_or_else(PoisonError::into_inner)
}
