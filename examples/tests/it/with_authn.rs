#[path = "../../src/bin/authn.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use std::sync::Arc;

use gatewayd_core::SystemClock;
use gatewayd_testkit::FakeIssuer;
use http::{Method, StatusCode};
use serde_json::json;

use crate::ask;

fn provider() -> (FakeIssuer, axum::Router) {
    let provider = FakeIssuer::new("https://id.example", Arc::new(SystemClock));
    let authn =
        program::authn("https://id.example", "gateway", Arc::new(provider.clone())).expect("it holds");
    (provider, program::app(authn))
}

#[tokio::test]
async fn a_token_opens_the_door_and_its_groups_open_more() {
    let (provider, app) = provider();
    let token = provider.token("alice").claim("realm_access", json!({"roles": ["staff"]})).sign();
    let (status, body) = ask(&app, Method::GET, "/me", &token).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains(r#""subject":"alice""#) && body.contains(r#""groups":["staff"]"#), "{body}");
    assert!(!body.contains(&token), "the token goes nowhere");
    assert_eq!(ask(&app, Method::GET, "/admin", &token).await.0, StatusCode::FORBIDDEN);

    let token = provider.token("bob").claim("realm_access", json!({"roles": ["admins"]})).sign();
    assert_eq!(ask(&app, Method::GET, "/admin", &token).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_a_good_token_only_what_is_open_is_open() {
    let (provider, app) = provider();
    let other = FakeIssuer::new("https://id.example", Arc::new(SystemClock));
    let for_others = provider.token("alice").claim("aud", "another-service").sign();
    for token in ["", "forged", &other.token("alice").sign(), &for_others] {
        let (status, body) = ask(&app, Method::GET, "/me", token).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    }
    assert_eq!(ask(&app, Method::GET, "/health", "").await, (StatusCode::OK, "well".to_owned()));
}
