#[path = "../../src/bin/dialects.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::Value;

use crate::{ask, json, send, text};

fn service() -> Router {
    program::app(program::dialects().expect("they hold"))
}

fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(path).body(Body::from(body.to_owned())).expect("a request")
}

async fn understood(app: &Router, request: Request<Body>) -> Value {
    let response = send(app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    json(response).await
}

#[tokio::test]
async fn requests_are_understood_routed_and_counted() {
    let app = service();
    let chat = post("/v1/chat/completions", r#"{"model":"llama-3-70b","stream":true}"#);
    let found = understood(&app, chat).await;
    assert_eq!((&found["understood"]["action"], &found["upstream"]), (&"infer".into(), &"big".into()));
    assert_eq!(found["understood"]["streaming"], true);

    let found = understood(&app, post("/api/pull", r#"{"model":"llama-3"}"#)).await;
    assert_eq!(
        (&found["understood"]["action"], &found["upstream"]),
        (&"manage-model".into(), &"small".into())
    );
    let job = "/v1/fine_tuning/jobs/ftjob-1/cancel?model=llama-3";
    send(&app, post(job, "")).await;

    let (_, usage) = ask(&app, Method::GET, "/usage", "").await;
    assert!(usage.contains(r#""infer /v1/chat/completions":1"#), "{usage}");
    assert!(!usage.contains("ftjob-1"), "{usage}");
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused() {
    let app = service();
    let twice = r#"{"model":"llama-3","model":"gpt-4o"}"#;
    let folded = r#"{"model":"llama-3","MODEL":"gpt-4o"}"#;
    for (path, body) in [
        ("/v1/chat/completions", twice),
        ("/v1/chat/completions", folded),
        ("/v1/chat/completions", r#"{"model":"llama-3""#),
        ("/v1/models/../chat/completions", r#"{"model":"llama-3"}"#),
        ("/v1//chat/completions", r#"{"model":"llama-3"}"#),
    ] {
        let response = send(&app, post(path, body)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path} {body}");
        let answer = text(response).await;
        assert!(answer.contains("invalid_request"), "{answer}");
    }
    let long = format!(r#"{{"model":"llama-3","x":"{}"}}"#, "x".repeat(1 << 20));
    let response = send(&app, post("/v1/chat/completions", &long)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let response = send(&app, post("/api/chat", r#"{"model":"somebody-elses"}"#)).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let answer = json(response).await;
    assert_eq!(answer["code"], "not_found");
    assert!(answer["error"].is_string(), "in Ollama's shape: {answer}");
    assert_eq!(ask(&app, Method::GET, "/usage", "").await.1, "{}", "nothing of it reached the handler");
}
