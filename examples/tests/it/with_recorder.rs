#[path = "../../src/bin/recorder.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::middleware::from_fn;
use gatewayd_core::SystemClock;
use gatewayd_examples::{Logins, note_peer, person};
use gatewayd_recorder::{Config, Recorder};
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::Value;

use crate::{ask, json, request, send, text};

fn service() -> (tempfile::TempDir, Recorder, Router) {
    let folder = tempfile::tempdir().expect("a folder");
    let evidence = folder.path().join("evidence");
    let recorder = Recorder::open(Config::new(&evidence), Arc::new(SystemClock)).expect("it opens");
    let logins = Logins::new([("ada", person("ada", &["auditors"])), ("bob", person("bob", &[]))]);
    let app = program::app(&recorder, &evidence, logins).expect("it holds");
    (folder, recorder, app)
}

fn echo(token: &str, body: &'static str) -> Request<Body> {
    request(Method::POST, "/echo", token).map(|_| Body::from(body))
}

/// The record of a request, once it has ended.
async fn record(app: &Router, id: &str) -> Value {
    for _ in 0..500 {
        let response = send(app, request(Method::GET, &format!("/records/{id}"), "ada")).await;
        let status = response.status();
        if status == StatusCode::OK {
            let found = json(response).await;
            if found["record"]["ending"] != "open" {
                return found;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("request {id} has no record");
}

fn name(response: &http::Response<Body>) -> String {
    response.headers()["x-request-id"].to_str().expect("ASCII").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_recorded_and_played_back() {
    let (_folder, recorder, app) = service();
    let response = send(&app, echo("bob", "my key is AKIAZQ3DRSTUVWXY2345")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let id = name(&response);
    assert_eq!(text(response).await, "MY KEY IS AKIAZQ3DRSTUVWXY2345");

    let found = record(&app, &id).await;
    assert_eq!(found["record"]["subject"], "bob");
    assert_eq!(found["record"]["ending"], "complete");
    assert_eq!(found["request"], "my key is [REDACTED:aws-access-key-id]");
    assert_eq!(found["response"], "MY KEY IS AKIAZQ3DRSTUVWXY2345");

    // A reader is on record too.
    let found = record(&app, &id).await;
    assert_eq!(found["record"]["events"][0]["actor"], "ada", "{found}");
    assert_eq!(ask(&app, Method::GET, &format!("/records/{id}"), "bob").await.0, StatusCode::FORBIDDEN);
    recorder.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_says_where_a_request_came_from_whatever_a_header_claims() {
    let (_folder, recorder, app) = service();
    let address: SocketAddr = ([192, 0, 2, 7], 4711).into();
    let app = app.layer(from_fn(note_peer)).layer(MockConnectInfo(address));
    let mut request = echo("bob", "hello");
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("10.0.0.1"));
    let response = send(&app, request).await;
    let id = name(&response);
    assert_eq!(text(response).await, "HELLO");
    let peer = &record(&app, &id).await["record"]["peer"];
    assert!(peer.as_str().is_some_and(|peer| peer.starts_with("192.0.2.7")), "{peer}");
    recorder.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_recorded_and_without_a_record_there_is_no_answer() {
    let (_folder, recorder, app) = service();
    let response = send(&app, echo("nobody", "hello")).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(record(&app, &name(&response)).await["record"]["status"], 401);

    recorder.close();
    let response = send(&app, echo("bob", "hello")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let body = text(response).await;
    assert!(body.contains("recorder_unavailable") && !body.contains("HELLO"), "{body}");
}
