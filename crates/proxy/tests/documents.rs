//! The fetcher of small documents, and the agent of the command line.

use std::time::Duration;

use gatewayd_core::{Fetch as _, FetchError, Secret};
use gatewayd_proxy::{Agent, AgentConfig, AgentError, FetchConfig, HttpFetch};
use gatewayd_testkit::{FakeUpstream, Pki, Reply};
use http_body_util::BodyExt as _;

fn fetcher(change: impl FnOnce(&mut FetchConfig)) -> HttpFetch {
    let mut config = FetchConfig::default();
    change(&mut config);
    HttpFetch::new(&config).expect("a sound configuration")
}

#[tokio::test]
async fn a_document_comes_with_status_and_age() {
    let upstream = FakeUpstream::start(Reply::Whole {
        status: 404,
        headers: vec![("cache-control", "public, max-age=60".to_owned())],
        body: "{}".into(),
    });
    let fetched = fetcher(|_| {}).get(&upstream.url()).await.expect("an answer");
    assert_eq!(
        (fetched.status, &*fetched.body, fetched.max_age),
        (404, &b"{}"[..], Some(Duration::from_secs(60)))
    );
}

#[tokio::test]
async fn size_and_time_are_bounded() {
    let long = FakeUpstream::start(Reply::json(2000));
    let small = fetcher(|config| config.limit = 1000);
    assert!(matches!(small.get(&long.url()).await, Err(FetchError::TooLarge(1000))));
    let endless = FakeUpstream::start(Reply::events(100, Duration::ZERO));
    assert!(matches!(small.get(&endless.url()).await, Err(FetchError::TooLarge(1000))));
    let hanging = FakeUpstream::start(Reply::Hang);
    let hasty = fetcher(|config| config.timeout = Duration::from_millis(100));
    assert!(matches!(hasty.get(&hanging.url()).await, Err(FetchError::Timeout(_))));
    let slow = FakeUpstream::start(Reply::events(100, Duration::from_millis(30)));
    assert!(matches!(hasty.get(&slow.url()).await, Err(FetchError::Timeout(_))), "the whole is bounded");
    assert!(matches!(hasty.get("http://127.0.0.1:1/").await, Err(FetchError::Unreachable(_))));
    assert!(matches!(hasty.get("file:///etc/passwd").await, Err(FetchError::Unreachable(_))));
}

#[tokio::test]
async fn redirects_stay_at_home() {
    let elsewhere = FakeUpstream::start(Reply::json(20));
    let target = elsewhere.url();
    let home = FakeUpstream::start_with(move |seen| match seen.uri.path() {
        "/away" => redirect(&format!("{target}/x")),
        "/home" => redirect("/found"),
        "/loop" => redirect("/loop"),
        _ => Reply::body("application/json", "found"),
    });
    let fetch = fetcher(|_| {});
    let url = |path: &str| format!("{}{path}", home.url());
    assert_eq!(&*fetch.get(&url("/home")).await.expect("an answer").body, b"found");
    assert_eq!(fetch.get(&url("/away")).await.expect("an answer").status, 302);
    assert_eq!(fetch.get(&url("/loop")).await.expect("an answer").status, 302);
    assert!(elsewhere.seen().is_empty());
}

fn redirect(to: &str) -> Reply {
    Reply::Whole { status: 302, headers: vec![("location", to.to_owned())], body: "".into() }
}

#[tokio::test]
async fn a_private_authority_for_documents() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pki = Pki::create(directory.path());
    let upstream = FakeUpstream::tls(Reply::json(20), &pki, false);
    let knowing = fetcher(|config| config.ca = Some(pki.ca()));
    assert_eq!(knowing.get(&upstream.url()).await.expect("an answer").status, 200);
    assert!(matches!(fetcher(|_| {}).get(&upstream.url()).await, Err(FetchError::Unreachable(_))));
}

#[tokio::test]
async fn the_agent_speaks_json_with_its_token() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let mut config = AgentConfig::new(upstream.url() + "/base/");
    config.token = Some(Secret::new(b"local-admin".to_vec()));
    let agent = Agent::new(&config).expect("a sound configuration");
    assert!(!format!("{agent:?}").contains("local-admin"));
    let answer =
        agent.post("/approvals/1?x=2", &serde_json::json!({"vote": "approve"})).await.expect("an answer");
    let echo = answer.json().expect("JSON");
    assert_eq!(answer.status, 200);
    assert_eq!((&echo["method"], &echo["uri"]), (&"POST".into(), &"/base/approvals/1?x=2".into()));
    assert_eq!(echo["body"], "{\"vote\":\"approve\"}");
    assert!(echo["headers"].to_string().contains("Bearer local-admin"));
    for path in ["//evil.example/", "http://evil.example/", "x"] {
        assert!(matches!(agent.get(path).await, Err(AgentError::BadPath(_))), "{path}");
    }
    let (status, body) = agent.stream("/sessions").await.expect("an answer");
    assert_eq!(status, 200);
    assert!(!body.collect().await.expect("no error").to_bytes().is_empty());
    assert_eq!(agent.delete("/tokens/1").await.expect("an answer").json().expect("JSON")["method"], "DELETE");
}

#[tokio::test]
async fn the_agent_says_what_to_do_when_nobody_is_there() {
    let agent = Agent::new(&AgentConfig::new("http://127.0.0.1:1")).expect("a sound configuration");
    let error = agent.get("/").await.expect_err("nobody is there");
    assert!(matches!(error, AgentError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}
