//! What is put on a request, what is taken off, and that a caller cannot steer it.

mod world;

use gatewayd_core::{
    CredentialVersion, Dialect, Peer, RefusalCode, RequestId, Timestamp, Trail, UpstreamName,
};
use http::{HeaderMap, Request, StatusCode};
use tower::{Layer as _, ServiceExt as _};
use world::{World, answer, echo};

fn request(upstream: &str) -> Request<gatewayd_core::Body> {
    let mut request = Request::new(gatewayd_core::Body::empty());
    request.extensions_mut().insert(UpstreamName(upstream.into()));
    request
}

async fn sent(world: &World, request: Request<gatewayd_core::Body>) -> HeaderMap {
    answer(world, request).await.headers().clone()
}

#[tokio::test]
async fn the_bound_credential_replaces_whatever_the_caller_sent() {
    let world = World::new("sk-upstream\n");
    let mut request = request("llama");
    for (name, value) in [
        ("authorization", "Bearer mine"),
        ("authorization", "Bearer mine too"),
        ("proxy-authorization", "Basic bWluZQ=="),
        ("x-api-key", "mine"),
        ("api-key", "mine"),
        ("x_api_key", "mine"),
        ("accept-language", "de"),
    ] {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let trail = Trail::new(RequestId::generate(), Timestamp(0), None::<Peer>);
    request.extensions_mut().insert(trail.clone());
    let headers = sent(&world, request).await;
    let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(left, [("accept-language", "de"), ("authorization", "Bearer sk-upstream")]);
    let version = trail.credential().expect("the version is on the trail");
    assert_eq!(&*version.credential, "llama-key");
    assert_eq!(world.credentials.status()[0].version.as_ref(), Some(&version.version));
}

#[tokio::test]
async fn a_header_of_the_operators_choice_is_the_callers_no_more() {
    let world = World::with("sk-1", |credential| {
        credential.header = "x-model-key".parse().unwrap();
        credential.prefix = String::new();
    });
    let mut request = request("llama");
    for (name, value) in [
        ("x-model-key", "mine"),
        ("X_Model_Key", "mine"),
        ("connection", "keep-alive, X-Model-Key"),
        ("authorization", "Bearer mine"),
    ] {
        request
            .headers_mut()
            .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    let headers = sent(&world, request).await;
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert_eq!(headers["x-model-key"], "sk-1");
}

#[tokio::test]
async fn an_ordinary_connection_header_is_left_alone() {
    let world = World::new("sk-1");
    let mut request = request("llama");
    request.headers_mut().insert("connection", "keep-alive".parse().unwrap());
    assert_eq!(sent(&world, request).await["connection"], "keep-alive");
}

#[tokio::test]
async fn nothing_in_a_request_steers_the_credential() {
    let world = World::new("sk-1");
    // "plain" wants no credential: whatever the caller says, it gets none.
    for uri in ["/v1/models", "http://llama/v1/models", "//llama/v1", "/llama/../v1", "http://llama@evil/"] {
        let mut request = request("plain");
        *request.uri_mut() = uri.parse().unwrap();
        for name in ["host", "x-forwarded-host", "forwarded", "x-upstream", "x-original-url", "x-rewrite-url"]
        {
            request.headers_mut().insert(name, "llama".parse().unwrap());
        }
        let response = answer(&world, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().get("authorization").is_none(), "{uri}");
        assert!(response.extensions().get::<CredentialVersion>().is_none());
    }
    // And what goes to "llama" says so by its extension alone.
    let mut request = request("llama");
    *request.uri_mut() = "http://evil.example/v1/models".parse().unwrap();
    request.headers_mut().insert("host", "evil.example".parse().unwrap());
    let response = answer(&world, request).await;
    assert_eq!(response.extensions().get::<UpstreamName>(), Some(&UpstreamName("llama".into())));
    assert!(response.extensions().get::<CredentialVersion>().is_some());
}

#[tokio::test]
async fn the_callers_own_credential_is_taken_off_even_where_none_is_put_on() {
    let world = World::new("sk-1");
    let mut request = request("plain");
    request.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    assert!(sent(&world, request).await.is_empty());
}

#[tokio::test]
async fn what_is_not_configured_is_refused() {
    let world = World::new("sk-1");
    let response = answer(&world, request("unknown")).await;
    assert_eq!(response.extensions().get::<RefusalCode>(), Some(&RefusalCode::Misconfigured));
    let response = answer(&world, Request::new(gatewayd_core::Body::empty())).await;
    assert_eq!(response.extensions().get::<RefusalCode>(), Some(&RefusalCode::Misconfigured));
}

#[tokio::test]
async fn without_a_value_nothing_is_sent() {
    let world = World::without_file();
    let mut request = request("llama");
    *request.uri_mut() = "/v1/chat/completions".parse().unwrap();
    let response = answer(&world, request).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "2");
    assert!(!world.credentials.ready());
    assert_eq!(Dialect::guess(&"/v1/x".parse().unwrap(), &HeaderMap::new()), Dialect::OpenAi);
}

#[tokio::test]
async fn the_injected_header_is_marked_as_sensitive() {
    let world = World::new("sk-1");
    let service = gatewayd_credentials::CredentialsLayer::new(world.credentials.clone()).layer(echo());
    let response = service.oneshot(request("llama")).await.unwrap();
    let value = &response.headers()["authorization"];
    assert!(value.is_sensitive());
    assert!(!format!("{value:?}{:?}", world.credentials).contains("sk-1"));
}
