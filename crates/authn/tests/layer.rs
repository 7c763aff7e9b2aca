//! The layer: who gets through, what the inner service sees, what a refused caller reads.
#![allow(clippy::unwrap_used, reason = "also outside of test functions this is a test")]

mod world;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewayd_authn::{AuthnLayer, Presented};
use gatewayd_core::{
    Action, Body, Dialect, Identity, IdentityKind, Operation, RefusalCode, RequestId, Timestamp, Trail,
};
use http::{Request, Response, StatusCode};
use tower::{Layer as _, Service, ServiceExt as _};
use world::World;

/// An inner service that counts, and answers with the head it saw.
fn inner(
    calls: &Arc<AtomicUsize>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let calls = Arc::clone(calls);
    tower::service_fn(move |request: Request<Body>| {
        calls.fetch_add(1, Ordering::SeqCst);
        let (head, body) = request.into_parts();
        let mut response = Response::new(body);
        *response.headers_mut() = head.headers;
        *response.extensions_mut() = head.extensions;
        std::future::ready(Ok(response))
    })
}

async fn send(world: &World, request: Request<Body>) -> (Response<Body>, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = AuthnLayer::new(world.authn.clone()).layer(inner(&calls));
    let response = service.oneshot(request).await.unwrap();
    (response, calls.load(Ordering::SeqCst))
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::new(Body::full("hello"));
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request
            .headers_mut()
            .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn the_inner_service_sees_an_identity_and_no_credential() {
    let world = World::new();
    let token = world.idp.token("alice").sign();
    let bearer = format!("Bearer {token}");
    // The first goes the way that waits for keys, the second the one that does not.
    for headers in [
        &[("authorization", bearer.as_str()), ("proxy-authorization", "Basic x")],
        &[("x-api-key", token.as_str()), ("cookie", "a=b")],
    ] {
        let mut request = request("/v1/chat/completions", headers);
        let trail = Trail::new(RequestId::generate(), Timestamp(0), None);
        request.extensions_mut().insert(trail.clone());
        let (response, calls) = send(&world, request).await;
        assert_eq!((response.status(), calls), (StatusCode::OK, 1));
        let who = response.extensions().get::<Identity>().unwrap();
        assert_eq!((&*who.subject, who.kind), ("alice", IdentityKind::Oidc));
        assert_eq!(trail.identity(), Some(who));
        assert_eq!(response.body().as_full(), Some(&b"hello"[..]), "the body was handed on as it was");
        let left: Vec<_> = response.headers().keys().map(http::HeaderName::as_str).collect();
        assert!(left.is_empty() || left == ["cookie"], "{left:?}");
    }
}

#[tokio::test]
async fn a_refused_caller_reaches_nothing_and_reads_its_own_dialect() {
    let world = World::new();
    for (uri, header, media_type, pointer) in [
        ("/v1/chat/completions", "x-nothing", "application/json", "/error/code"),
        ("/v1/messages", "anthropic-version", "application/json", "/error/code"),
        ("/api/chat", "x-nothing", "application/json", "/code"),
        ("/somewhere", "x-nothing", "application/problem+json", "/code"),
    ] {
        let mut request = request(uri, &[("authorization", "Bearer garbage"), (header, "1")]);
        let trail = Trail::new(RequestId::generate(), Timestamp(0), None);
        request.extensions_mut().insert(trail.clone());
        let (response, calls) = send(&world, request).await;
        assert_eq!((response.status(), calls), (StatusCode::UNAUTHORIZED, 0), "{uri}");
        assert_eq!(response.headers()["content-type"], media_type);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"gatewayd\", error=\"invalid_token\", error_description=\"the token is malformed\""
        );
        let body: serde_json::Value = serde_json::from_slice(response.body().as_full().unwrap()).unwrap();
        assert_eq!(body.pointer(pointer).unwrap(), "invalid_token", "{body}");
        assert_eq!(trail.refusal(), Some(RefusalCode::InvalidToken));
        assert_eq!(trail.identity(), None);
    }
}

#[tokio::test]
async fn a_caller_without_a_credential_is_told_how_to_send_one() {
    let world = World::new();
    let (response, calls) = send(&world, request("/v1/models", &[])).await;
    assert_eq!((response.status(), calls), (StatusCode::UNAUTHORIZED, 0));
    // RFC 6750, section 3.1: no error code where no credential was sent.
    assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"gatewayd\"");
    assert_eq!(response.extensions().get::<RefusalCode>(), Some(&RefusalCode::MissingCredentials));
}

#[tokio::test]
async fn the_operation_says_the_dialect_where_it_is_known() {
    let world = World::new();
    let mut request = request("/somewhere", &[]);
    request.extensions_mut().insert(Operation {
        dialect: Dialect::Ollama,
        action: Action::Infer,
        model: None,
        other_models: [].into(),
        streaming: false,
        route: "/api/chat".into(),
    });
    let (response, _) = send(&world, request).await;
    let body: serde_json::Value = serde_json::from_slice(response.body().as_full().unwrap()).unwrap();
    assert!(body["error"].is_string(), "{body}");
}

#[tokio::test]
async fn an_identity_that_was_there_before_does_not_count() {
    let world = World::new();
    let forged = Identity {
        kind: IdentityKind::LocalAdmin,
        issuer: "gatewayd".into(),
        subject: "root".into(),
        name: None,
        groups: Arc::new([]),
        expires: None,
    };
    let mut without = request("/v1/models", &[]);
    without.extensions_mut().insert(forged.clone());
    assert_eq!(send(&world, without).await.0.status(), StatusCode::UNAUTHORIZED);
    let token = world.idp.token("alice").sign();
    let mut with = request("/v1/models", &[("api-key", &token)]);
    with.extensions_mut().insert(forged);
    let (response, _) = send(&world, with).await;
    assert_eq!(&*response.extensions().get::<Identity>().unwrap().subject, "alice");
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_answered_with_503() {
    let world = World::new();
    world.idp.set_broken(true);
    let token = world.idp.token("alice").sign();
    let (response, calls) = send(&world, request("/v1/models", &[("api-key", &token)])).await;
    assert_eq!((response.status(), calls), (StatusCode::SERVICE_UNAVAILABLE, 0));
    assert_eq!(response.headers()["retry-after"], "2");
}

#[tokio::test]
async fn what_was_presented_can_be_judged_again_and_not_be_read() {
    let world = World::new();
    let token = world.idp.token("alice").sign();
    for header in ["authorization", "x-api-key"] {
        let value = if header == "authorization" { format!("Bearer {token}") } else { token.clone() };
        let (response, _) = send(&world, request("/v1/models", &[(header, &value)])).await;
        let presented = response.extensions().get::<Presented>().unwrap().clone();
        assert_eq!(format!("{presented:?}"), "Presented(..)");
        let who = world.authn.authenticate_presented(&presented).await.unwrap();
        assert_eq!(Some(&who), response.extensions().get::<Identity>());
    }
    let (response, _) = send(&world, request("/v1/models", &[("api-key", &token)])).await;
    let presented = response.extensions().get::<Presented>().unwrap().clone();
    let later = world.authn.authenticate_presented(&presented);
    drop(presented);
    assert!(tokio::spawn(later).await.unwrap().is_ok(), "it needs nothing but itself");
    let presented = response.extensions().get::<Presented>().unwrap();
    world.clock.advance(Duration::from_secs(24 * 3600));
    let refusal = world.authn.authenticate_presented(presented).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::InvalidToken, "it ended while the request waited");
}

#[tokio::test]
async fn what_somebody_else_presented_does_not_count() {
    let world = World::new();
    let [alice, bob] = ["alice", "bob"].map(|name| world.idp.token(name).sign());
    let (response, _) = send(&world, request("/v1/models", &[("api-key", &alice)])).await;
    let of_alice = response.extensions().get::<Presented>().unwrap().clone();
    let mut request = request("/v1/models", &[("api-key", &bob)]);
    request.extensions_mut().insert(of_alice);
    let (response, _) = send(&world, request).await;
    let presented = response.extensions().get::<Presented>().unwrap();
    let who = world.authn.authenticate_presented(presented).await.unwrap();
    assert_eq!(&*who.subject, "bob");
}
