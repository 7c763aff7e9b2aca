//! What crosses the gateway and what does not.

mod setup;

use bytes::Bytes;
use gatewayd_core::{Body, Trail};
use gatewayd_testkit::{FakeUpstream, Reply};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use setup::{Setup, json, request, text, with_body};

/// The values of a header in an echo.
fn values(echo: &serde_json::Value, name: &str) -> Vec<String> {
    let pairs = echo["headers"].as_array().expect("pairs");
    pairs
        .iter()
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].as_str().expect("text").to_owned())
        .collect()
}

#[tokio::test]
async fn the_upstream_sees_its_own_host_and_nothing_of_the_way() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let mut sent = with_body(Method::POST, "/v1/chat/completions?x=1&y=%20", Body::full("{}"));
    let id = sent.extensions().get::<Trail>().expect("a trail").id().to_string();
    for (name, value) in [
        ("host", "evil.example"),
        ("content-length", "2"),
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=6.6.6.6"),
        ("cookie", "a=b"),
        ("x-request-id", "chosen-by-caller"),
        ("content-type", "application/json"),
        ("authorization", "Bearer injected"),
        ("x-custom", "stays"),
    ] {
        sent.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let answer = Setup::new(&upstream).send(sent).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let echo = json(answer.into_body()).await;
    assert_eq!(echo["method"], "POST");
    assert_eq!(echo["uri"], "/v1/chat/completions?x=1&y=%20");
    assert_eq!(echo["body"], "{}");
    assert_eq!(values(&echo, "host"), [upstream.address().to_string()]);
    assert_eq!(values(&echo, "content-length"), ["2"]);
    assert_eq!(values(&echo, "authorization"), ["Bearer injected"]);
    assert_eq!(values(&echo, "x-custom"), ["stays"]);
    assert_eq!(values(&echo, "x-request-id"), [id]);
    for gone in [
        "transfer-encoding",
        "connection",
        "x-hop",
        "te",
        "expect",
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
        "cookie",
    ] {
        assert_eq!(values(&echo, gone), [""; 0], "{gone}");
    }
}

#[tokio::test]
async fn no_header_of_another_proxy_is_taken_from_a_caller() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let gone = [
        "cf-connecting-ip",
        "cf-ipcountry",
        "cdn-loop",
        "client-cert",
        "client-cert-chain",
        "client-ip",
        "fastly-client-ip",
        "fastly-ssl",
        "forwarded-for",
        "remote-user",
        "ssl-client-verify",
        "true-client-ip",
        "wl-proxy-client-ip",
        "x-amzn-oidc-identity",
        "x-amzn-trace-id",
        "x-auth-request-user",
        "x-azure-clientip",
        "x-client-cert",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-envoy-internal",
        "x-forwarded",
        "x-forwarded-client-cert",
        "x-forwardedfor",
        "x-goog-authenticated-user-email",
        "x-host",
        "x-http-method-override",
        "x-method-override",
        "x-ms-client-principal",
        "x-original-host",
        "x-original-url",
        "x-originating-ip",
        "x-real-ip",
        "x-remote-addr",
        "x-remote-user",
        "x-rewrite-url",
        "x-ssl-client-dn",
    ];
    let kept = [
        "x-api-key",
        "x-goog-api-key",
        "x-client-name",
        "x-stainless-os",
        "x-amz-date",
        "cf-access-client-id",
        "cfg",
    ];
    let mut sent = request(Method::GET, "/v1/models");
    for name in gone.into_iter().chain(kept) {
        sent.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static("6.6.6.6"));
    }
    let echo = json(Setup::new(&upstream).send(sent).await.into_body()).await;
    for name in gone {
        assert_eq!(values(&echo, name), [""; 0], "{name}");
    }
    for name in kept {
        assert_eq!(values(&echo, name), ["6.6.6.6"], "{name}");
    }
}

#[tokio::test]
async fn a_body_is_framed_by_us_whatever_the_caller_said() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let setup = Setup::new(&upstream);
    // More said than sent, less said than sent, both framings: each would be a way to smuggle.
    for claims in
        [&[("content-length", "100")][..], &[("content-length", "1")], &[("transfer-encoding", "chunked")]]
    {
        let mut sent = with_body(Method::POST, "/v1/completions", Body::full("{\"a\":1}"));
        for (name, value) in claims {
            sent.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let echo = json(setup.send(sent).await.into_body()).await;
        assert_eq!(echo["body"], "{\"a\":1}", "{claims:?}");
        assert_eq!(values(&echo, "content-length"), ["7"], "{claims:?}");
        assert!(values(&echo, "transfer-encoding").is_empty(), "{claims:?}");
    }
    let stream = Body::new(Full::new(Bytes::from_static(b"streamed")));
    let echo = json(setup.send(with_body(Method::POST, "/v1/files", stream)).await.into_body()).await;
    assert_eq!(values(&echo, "content-length"), ["8"], "a known length is kept");
    let echo = json(setup.send(request(Method::POST, "/v1/batches/b/cancel")).await.into_body()).await;
    assert_eq!(values(&echo, "content-length"), ["0"], "a POST without a body says so");
    let echo = json(setup.send(request(Method::GET, "/v1/models")).await.into_body()).await;
    assert!(values(&echo, "content-length").is_empty());
    assert_eq!(upstream.connections(), 1, "framing stayed in step on one connection");
}

#[tokio::test]
async fn a_path_arrives_as_it_was_judged_or_not_at_all() {
    let upstream = FakeUpstream::start(Reply::Echo);
    for (base, path, wanted) in [
        ("", "/v1/models/a%20b", "/v1/models/a%20b"),
        ("/deep/", "/v1/models", "/deep/v1/models"),
        ("/deep", "/", "/deep/"),
    ] {
        let setup = Setup::at(&format!("{}{base}", upstream.url()), |_| {});
        let echo = json(setup.send(request(Method::GET, path)).await.into_body()).await;
        assert_eq!(echo["uri"], wanted);
    }
    let seen = upstream.seen().len();
    let setup = Setup::at(&format!("{}/deep", upstream.url()), |_| {});
    for path in ["/../admin", "/v1/%2e%2e/%2e%2e/admin", "/./x", "/v1/..", "*"] {
        let answer = setup.send(request(Method::GET, path)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(upstream.seen().len(), seen, "nothing of that was sent");
}

#[tokio::test]
async fn an_absolute_target_does_not_choose_the_host() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let answer = Setup::new(&upstream).send(request(Method::GET, "http://evil.example/v1/models")).await;
    let echo = json(answer.into_body()).await;
    assert_eq!(echo["uri"], "/v1/models");
    assert_eq!(values(&echo, "host"), [upstream.address().to_string()]);
}

#[tokio::test]
async fn an_answer_is_cleaned_and_redirects_are_not_followed() {
    let upstream = FakeUpstream::start_with(|seen| Reply::Whole {
        status: 307,
        headers: vec![
            ("location", format!("http://{}/v1/models?a=1", seen.headers["host"].to_str().expect("text"))),
            ("set-cookie", "a=1".to_owned()),
            ("alt-svc", "h3=\":443\"".to_owned()),
            ("x-accel-redirect", "/etc/passwd".to_owned()),
            ("x-kept", "1".to_owned()),
        ],
        body: Bytes::new(),
    });
    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models/")).await;
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "/v1/models?a=1", "the upstream's address is not shown");
    assert_eq!(answer.headers()["x-kept"], "1");
    for gone in ["set-cookie", "alt-svc", "x-accel-redirect"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_head_answer_keeps_its_length_and_has_no_body() {
    let upstream = FakeUpstream::start(Reply::json(50));
    let answer = Setup::new(&upstream).send(request(Method::HEAD, "/v1/models")).await;
    assert_eq!(answer.headers()["content-length"], "50");
    assert_eq!(text(answer.into_body()).await, "");
}

#[tokio::test]
async fn without_an_upstream_nothing_is_sent() {
    let upstream = FakeUpstream::start(Reply::Echo);
    let setup = Setup::new(&upstream);
    let mut sent = request(Method::GET, "/v1/models");
    sent.extensions_mut().remove::<gatewayd_core::UpstreamName>();
    assert_eq!(setup.send(sent).await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let mut sent = request(Method::GET, "/v1/models");
    sent.extensions_mut().insert(gatewayd_core::UpstreamName("other".into()));
    let answer = setup.send(sent).await;
    assert_eq!(json(answer.into_body()).await["error"]["code"], "misconfigured");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_answer_of_a_streamed_upload_is_whole() {
    let upstream = FakeUpstream::start(Reply::Pipe);
    let large = vec![b'x'; 3_000_000];
    let body = Body::new(Full::new(Bytes::from(large.clone())));
    let answer = Setup::new(&upstream).send(with_body(Method::POST, "/v1/files", body)).await;
    let back = answer.into_body().collect().await.expect("no error").to_bytes();
    assert!(back == large);
}
