//! `/healthz`, `/readyz`, `/metrics`: for orchestrators and Prometheus.

use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};

use super::AdminState;

/// The process runs and answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Requests can be served; else which control cannot do its work.
pub(crate) async fn ready(State(state): State<AdminState>) -> (StatusCode, String) {
    match state.gateway().ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

/// The figures, as OpenMetrics text.
pub(crate) async fn metrics(State(state): State<AdminState>) -> ([(HeaderName, &'static str); 1], String) {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, media_type)], state.gateway().lasting().metrics.encode())
}
