#[path = "../../src/bin/reverse_proxy.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use axum::body::Body;
use gatewayd_testkit::{FakeUpstream, Reply};
use http::{Request, StatusCode};

use crate::{ask, send};

#[tokio::test]
async fn the_server_gets_our_key_and_the_caller_never_sees_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("server.key");
    std::fs::write(&key, "sk-first\n").expect("it can be written");
    let server = FakeUpstream::start(Reply::json(64));
    let elsewhere = FakeUpstream::start(Reply::json(64));
    let credentials = program::credentials(&key).expect("they hold");
    let app = program::app(credentials.clone(), &server.url()).expect("it holds");

    let request = Request::get("/model/v1/models?limit=2")
        .header("host", elsewhere.address().to_string())
        .header("authorization", "Bearer of-the-caller")
        .header("x-api-key", "of-the-caller")
        .header("x-forwarded-host", elsewhere.address().to_string());
    let response = send(&app, request.body(Body::empty()).expect("a request")).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!format!("{response:?}").contains("sk-first"));
    let seen = server.seen().remove(0);
    assert_eq!(seen.uri, "/v1/models?limit=2");
    assert_eq!(seen.headers["authorization"], "Bearer sk-first");
    assert!(!format!("{:?}", seen.headers).contains("of-the-caller"));
    assert!(elsewhere.seen().is_empty(), "a caller does not choose where the key goes");

    // A new key, without a restart. (`watch` notices by itself; this is the same at once.)
    std::fs::write(&key, "sk-second\n").expect("it can be written");
    credentials.reload().await;
    ask(&app, http::Method::GET, "/model/v1/models", "").await;
    assert_eq!(server.seen()[1].headers["authorization"], "Bearer sk-second");
}

#[tokio::test]
async fn without_a_key_and_without_a_server_the_answer_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeUpstream::start(Reply::json(64));
    let credentials = program::credentials(&folder.path().join("none")).expect("it may still come");
    let app = program::app(credentials, &server.url()).expect("it holds");
    let (status, body) = ask(&app, http::Method::GET, "/model/v1/models", "of-the-caller").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(server.seen().is_empty(), "nothing is sent without the key");

    let key = folder.path().join("server.key");
    std::fs::write(&key, "sk-first").expect("it can be written");
    let url = server.url();
    drop(server);
    let app = program::app(program::credentials(&key).expect("they hold"), &url).expect("it holds");
    let (status, body) = ask(&app, http::Method::GET, "/model/v1/models", "").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY, "{body}");
    assert!(!body.contains("sk-first") && !body.contains("127.0.0.1"), "{body}");
}
