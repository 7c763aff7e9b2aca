//! Each program is run, seen to work and seen to refuse; each configuration is loaded and asked.
#![allow(clippy::panic, clippy::indexing_slicing, reason = "also outside of test functions this is a test")]

mod configs;
mod misplaced;
mod with_approvals;
mod with_authn;
mod with_dialects;
mod with_mask_filter;
mod with_masked_sse;
mod with_policy;
mod with_recorder;
mod with_reverse_proxy;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// A request without a body; `token` empty for none.
fn request(method: Method, path: &str, token: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Body::empty()).expect("a request")
}

async fn send(app: &Router, request: Request<Body>) -> Response<Body> {
    app.clone().oneshot(request).await.expect("axum's routers do not fail")
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

async fn json(response: Response<Body>) -> serde_json::Value {
    serde_json::from_str(&text(response).await).expect("JSON")
}

/// Status and body of an answer to a request without a body.
async fn ask(app: &Router, method: Method, path: &str, token: &str) -> (StatusCode, String) {
    let response = send(app, request(method, path, token)).await;
    (response.status(), text(response).await)
}
