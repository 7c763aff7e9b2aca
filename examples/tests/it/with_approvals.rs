#[path = "../../src/bin/approvals.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use std::time::Duration;

use axum::Router;
use gatewayd_examples::{Logins, person};
use http::{Method, StatusCode};
use serde_json::Value;

use crate::ask;

fn service(hold: Duration) -> (tempfile::TempDir, Router) {
    let folder = tempfile::tempdir().expect("a folder");
    let approvals = program::approvals(&folder.path().join("approvals.db"), hold).expect("it opens");
    let logins = Logins::new([
        ("alice", person("alice", &["ml-eng", "operators"])),
        ("olga", person("olga", &["operators"])),
        ("eve", person("eve", &["ml-eng"])),
    ]);
    (folder, program::app(approvals, logins))
}

/// The name of the approval that waits, once there is one.
async fn waiting(app: &Router) -> String {
    for _ in 0..500 {
        let (status, body) = ask(app, Method::GET, "/approvals", "olga").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let list: Value = serde_json::from_str(&body).expect("JSON");
        if let Some(id) = list[0]["id"].as_str() {
            return id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing waits");
}

#[tokio::test]
async fn a_request_waits_and_passes_once_somebody_else_agrees() {
    let (_folder, app) = service(Duration::from_secs(30));
    let theirs = app.clone();
    let held = tokio::spawn(async move { ask(&theirs, Method::DELETE, "/models/llama-3", "alice").await });
    let id = waiting(&app).await;

    // Not by themselves, though they are an operator; not by somebody whose groups are not asked; not without a login.
    for (who, status) in
        [("alice", StatusCode::FORBIDDEN), ("eve", StatusCode::FORBIDDEN), ("", StatusCode::UNAUTHORIZED)]
    {
        assert_eq!(
            ask(&app, Method::POST, &format!("/approvals/{id}/approve"), who).await.0,
            status,
            "{who}"
        );
    }
    assert!(!held.is_finished());
    let (status, body) = ask(&app, Method::POST, &format!("/approvals/{id}/approve"), "olga").await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(held.await.expect("no panic"), (StatusCode::OK, "llama-3 is gone".to_owned()));
}

#[tokio::test]
async fn nothing_passes_that_nobody_agreed_to() {
    let (_folder, app) = service(Duration::from_millis(20));
    let (status, body) = ask(&app, Method::DELETE, "/models/llama-3", "alice").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("approval_pending"), "{body}");
    let id = waiting(&app).await;
    assert_eq!(ask(&app, Method::POST, &format!("/approvals/{id}/approve"), "olga").await.0, StatusCode::OK);

    // It covers that request of that caller: not another model, not another caller, not twice.
    for (path, who) in [("/models/llama-4", "alice"), ("/models/llama-3", "eve")] {
        assert_eq!(ask(&app, Method::DELETE, path, who).await.0, StatusCode::FORBIDDEN, "{who} {path}");
    }
    assert_eq!(ask(&app, Method::DELETE, "/models/llama-3", "alice").await.0, StatusCode::OK);
    assert_eq!(ask(&app, Method::DELETE, "/models/llama-3", "alice").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_no_is_a_no() {
    let (_folder, app) = service(Duration::from_millis(20));
    ask(&app, Method::DELETE, "/models/llama-3", "alice").await;
    let id = waiting(&app).await;
    assert_eq!(ask(&app, Method::POST, &format!("/approvals/{id}/deny"), "olga").await.0, StatusCode::OK);
    let (status, body) = ask(&app, Method::DELETE, "/models/llama-3", "alice").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains("approval_denied"), "{body}");
    assert_eq!(ask(&app, Method::POST, "/approvals/none/approve", "olga").await.0, StatusCode::NOT_FOUND);
}
