#[path = "../../src/bin/masked_sse.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use gatewayd_masker::Masker;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;

use crate::{ask, request, send};

/// Made once: compiling the rules takes a moment.
static MASKER: LazyLock<Masker> = LazyLock::new(|| {
    Masker::builder().known_secret("the-password-of-my-database").build().expect("the rules hold")
});

fn masker() -> Masker {
    MASKER.clone()
}

/// What the deltas of the events add up to.
fn told(events: &str) -> String {
    let data = events.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| {
        let event: serde_json::Value = serde_json::from_str(data).expect("JSON");
        event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
    })
    .collect()
}

#[tokio::test]
async fn a_key_that_comes_token_by_token_is_masked() {
    let secret = program::TOKENS.concat();
    assert_eq!(masker().find(secret.as_bytes()).len(), 1, "the program says a secret");
    let (status, events) = ask(&program::app(masker(), Duration::ZERO), Method::GET, "/chat", "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(told(&events), "The key is [REDACTED:aws-access-key-id], keep it safe.");
    assert!(events.ends_with("data: [DONE]\n\n"), "{events}");
}

#[tokio::test]
async fn events_are_not_collected_first() {
    let app = program::app(masker(), Duration::from_millis(50));
    let response = send(&app, request(Method::GET, "/chat", "")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = response.into_body().frame().await.expect("a frame").expect("no error");
    let first = first.into_data().expect("data");
    assert_eq!(told(std::str::from_utf8(&first).expect("UTF-8")), "The ");
}

#[tokio::test]
async fn headers_are_masked_masks_are_counted_and_what_cannot_be_masked_is_refused() {
    let routes = Router::new()
        .route("/moved", get(|| async { ([("x-note", "the-password-of-my-database")], "") }))
        .route("/base64", get(|| async { "dGhlLXBhc3N3b3JkLW9mLW15LWRhdGFiYXNl" }))
        .route(
            "/part",
            get(|| async { (StatusCode::PARTIAL_CONTENT, [("content-range", "bytes 4-8/9")], "half") }),
        )
        .route("/coded", get(|| async { ([("content-encoding", "rot13")], "frperg") }));
    let masks = Arc::new(AtomicU64::new(0));
    let app = program::masked(routes, masker(), Arc::clone(&masks));

    let response = send(&app, request(Method::GET, "/moved", "")).await;
    assert_eq!(response.headers()["x-note"], "[REDACTED:known-secret]");
    assert_eq!(ask(&app, Method::GET, "/base64", "").await.1, "[REDACTED:known-secret]");
    assert_eq!(masks.load(Ordering::Relaxed), 2);
    for path in ["/part", "/coded"] {
        let (status, body) = ask(&app, Method::GET, path, "").await;
        assert_eq!(status, StatusCode::BAD_GATEWAY, "{path}");
        assert!(
            body.contains("masking_failed") && !body.contains("half") && !body.contains("frperg"),
            "{body}"
        );
    }
}
