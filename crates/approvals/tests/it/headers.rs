//! The headers are part of what people agree to; those that differ from try to try are not.

use gatewayd_core::Body;

use crate::world::{Ask, World, bob};

/// As OpenAI's client for Python sends them, at the try of that number.
fn of_a_client(count: &'static str) -> Vec<(&'static str, &'static str)> {
    let (key, request) = match count {
        "0" => ("stainless-python-retry-0a61", "11111111-aaaa"),
        _ => ("stainless-python-retry-9f3c", "22222222-bbbb"),
    };
    vec![
        ("host", "gateway.example"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("user-agent", "OpenAI/Python 1.99.1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "1.99.1"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-runtime-version", "3.12.4"),
        ("x-stainless-async", "false"),
        ("x-stainless-read-timeout", "600"),
        ("x-stainless-retry-count", count),
        ("openai-organization", "org-1"),
        ("idempotency-key", key),
        ("x-client-request-id", request),
        ("traceparent", if count == "0" { "00-11-22-01" } else { "00-33-44-01" }),
    ]
}

fn with(headers: Vec<(&'static str, &'static str)>) -> http::Request<Body> {
    let mut request = Ask::new("quick", "{}");
    request.headers = headers;
    request.request()
}

#[tokio::test]
async fn a_client_that_tries_again_attaches_again() {
    let world = World::new();
    let id = world.send(with(of_a_client("0"))).await.id();
    assert_eq!(world.send(with(of_a_client("1"))).await.id(), id);
    let view = world.approvals.show(&id).await.unwrap();
    let names: Vec<_> = view.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["content-type", "openai-organization"]);
    world.yes(&id, &bob()).await;
    let mut other_order = of_a_client("2");
    other_order.reverse();
    assert!(world.send(with(other_order)).await.passed());
}

#[tokio::test]
async fn other_headers_are_another_request() {
    let world = World::new();
    let agreed = vec![("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-made-up", "1")];
    let first = world.send(with(agreed.clone())).await.id();
    world.yes(&first, &bob()).await;
    let others = [
        vec![],
        vec![("anthropic-beta", "a"), ("x-made-up", "1")],
        vec![("anthropic-beta", "b"), ("anthropic-beta", "a"), ("x-made-up", "1")],
        vec![("anthropic-beta", "ab"), ("x-made-up", "1")],
        vec![("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-made-up", "2")],
        vec![("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-made-uq", "1")],
        vec![("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-made-up", "1"), ("openai-beta", "x")],
        vec![
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
            ("x-made-up", "1"),
            ("content-encoding", "gzip"),
        ],
        vec![
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
            ("x-made-up", "1"),
            ("connection", "x-made-up"),
        ],
    ];
    let mut ids = vec![first];
    for headers in others {
        let answer = world.send(with(headers.clone())).await;
        assert_eq!(answer.code(), "403 approval_pending", "{headers:?}");
        assert!(!ids.contains(&answer.id()), "no two of them share an approval: {headers:?}");
        ids.push(answer.id());
    }
    assert!(world.send(with(agreed)).await.passed());
}

#[tokio::test]
async fn an_upload_is_bound_to_its_headers_too() {
    let world = World::new();
    let upload = |boundary: &'static str, beta: &'static str| {
        let body = "--B\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nfine-tune\r\n--B--\r\n";
        let mut request = Ask::new("quick", "");
        request.body = Body::full(bytes::Bytes::from(body.replace("--B", &format!("--{boundary}"))));
        request.content_type = match boundary {
            "one" => "multipart/form-data; boundary=one",
            _ => "multipart/form-data; boundary=two",
        };
        request.headers = vec![("openai-beta", beta)];
        request.request()
    };
    let first = world.send(upload("one", "a")).await.id();
    assert_eq!(world.send(upload("two", "a")).await.id(), first, "the boundary does not count");
    assert_ne!(world.send(upload("one", "b")).await.id(), first);
}

#[tokio::test]
async fn more_headers_than_people_look_at_are_refused() {
    let world = World::new();
    let answer = world.send(with(vec![("x-padding", "1"); 64])).await;
    assert_eq!(answer.code(), "431 headers_too_large");
    assert_eq!(world.upstream.seen(), 0);
    assert_eq!(world.send(with(vec![("x-padding", "1"); 63])).await.code(), "403 approval_pending");
}
