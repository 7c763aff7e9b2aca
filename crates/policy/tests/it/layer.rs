//! The tower layer.

use std::convert::Infallible;
use std::net::SocketAddr;

use gatewayd_core::{
    Action, Body, Decision, Effect, Identity, Peer, RequestId, Timestamp, Trail, UpstreamName,
};
use gatewayd_policy::{PolicyHandle, PolicyLayer};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::asking::{caller, operation, policy};

const RULES: &str = "
    [[rule]]
    name = 'chat'
    effect = 'allow'
    groups = ['ml-eng']
    actions = ['infer']
    sources = ['10.0.0.0/8']

    [[rule]]
    name = 'train'
    effect = 'approve'
    approval = 'one-lead'
    groups = ['ml-eng']
    actions = ['train']

    [[rule]]
    name = 'no-export'
    effect = 'deny'
    actions = ['export']
";

fn request(action: Action, trail: Option<&Trail>) -> Request<Body> {
    let mut request = Request::post("/v1/chat/completions").body(Body::from("{}")).unwrap();
    let extensions = request.extensions_mut();
    extensions.insert(caller(&["ml-eng"]));
    extensions.insert(operation(action, Some("llama")));
    extensions.insert(UpstreamName("llama".into()));
    if let Some(trail) = trail {
        extensions.insert(trail.clone());
    }
    request
}

fn trail(address: &str) -> Trail {
    let address: SocketAddr = address.parse().unwrap();
    Trail::new(RequestId::generate(), Timestamp(0), Some(Peer { address, tls: true }))
}

/// Sends through the layer; the inner service answers with the effect it was given.
async fn send(handle: &PolicyHandle, request: Request<Body>) -> (u16, serde_json::Value) {
    let inner = service_fn(|request: Request<Body>| async move {
        let effect = request.extensions().get::<Decision>().map(|decision| decision.effect);
        Ok::<_, Infallible>(Response::new(format!("{{\"inside\": \"{effect:?}\"}}")))
    });
    let response = PolicyLayer::new(handle.clone()).layer(inner).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn the_decision_is_passed_on_and_noted() {
    let handle = PolicyHandle::new(policy(RULES));
    let office = trail("10.0.0.1:4000");
    let (status, body) = send(&handle, request(Action::Infer, Some(&office))).await;
    assert_eq!((status, body["inside"].as_str()), (200, Some("Some(Allow)")));
    assert_eq!(&*office.decision().unwrap().rule, "chat");
    let (status, body) = send(&handle, request(Action::Train, None)).await;
    assert_eq!((status, body["inside"].as_str()), (200, Some("Some(Approve)")));
}

#[tokio::test]
async fn a_denial_says_when_no_model_or_no_known_route_is_named() {
    let handle = PolicyHandle::new(policy(
        "
        [[rule]]
        name = 'chat'
        effect = 'allow'
        groups = ['ml-eng']
        actions = ['infer']
        [[rule]]
        name = 'no-payroll'
        effect = 'deny'
        models = ['payroll']
        ",
    ));
    let told = async |action, model: Option<&str>| {
        let mut request = request(action, None);
        request.extensions_mut().insert(operation(action, model));
        let (status, body) = send(&handle, request).await;
        assert_eq!(status, 403);
        body["error"]["message"].as_str().unwrap().to_owned()
    };
    let message = told(Action::Infer, None).await;
    assert!(message.contains("`no-payroll`") && message.contains("names no model"), "{message}");
    let message = told(Action::Infer, Some("payroll")).await;
    assert!(message.contains("`no-payroll`") && !message.contains("names no model"), "{message}");
    let message = told(Action::Embed, None).await;
    assert!(message.contains("names no model"), "{message}");
    let message = told(Action::Unknown, None).await;
    assert!(message.contains("no operation that the gateway knows"), "{message}");
    let message = told(Action::Export, None).await;
    assert!(message.contains("ask the gateway's operator for a rule"), "{message}");
}

#[tokio::test]
async fn a_denial_names_the_rule_and_what_to_do() {
    let handle = PolicyHandle::new(policy(RULES));
    let outside = trail("192.0.2.1:4000");
    let (status, body) = send(&handle, request(Action::Infer, Some(&outside))).await;
    assert_eq!(status, 403);
    assert_eq!(body["error"]["code"], "policy_denied");
    assert_eq!(body["error"]["rule"], "default-deny");
    assert!(body["error"]["message"].as_str().unwrap().contains("ask the gateway's operator"));
    assert_eq!(outside.decision().unwrap().effect, Effect::Deny);
    assert_eq!(outside.refusal().unwrap().as_str(), "policy_denied");
    let (_, body) = send(&handle, request(Action::Export, None)).await;
    assert_eq!(body["error"]["rule"], "no-export");
    assert!(body["error"]["message"].as_str().unwrap().contains("`no-export`"));
    let (status, body) = send(&handle, request(Action::Infer, None)).await;
    assert_eq!(
        (status, &body["error"]["rule"]),
        (403, &"default-deny".into()),
        "no address, no allow by address"
    );
}

#[tokio::test]
async fn nothing_is_assumed() {
    let handle = PolicyHandle::new(policy(RULES));
    let remove: [fn(&mut http::Extensions); 3] = [
        |extensions| drop(extensions.remove::<Identity>()),
        |extensions| drop(extensions.remove::<gatewayd_core::Operation>()),
        |extensions| drop(extensions.remove::<UpstreamName>()),
    ];
    for remove in remove {
        let mut incomplete = request(Action::Train, None);
        remove(incomplete.extensions_mut());
        let (status, body) = send(&handle, incomplete).await;
        assert_eq!((status, &body["error"]["code"]), (500, &"misconfigured".into()));
    }
    // A decision that was there before counts for nothing.
    let mut forged = request(Action::Export, None);
    forged.extensions_mut().insert(Decision {
        effect: Effect::Allow,
        rule: "forged".into(),
        policy_version: "x".into(),
        approval: None,
    });
    assert_eq!(send(&handle, forged).await.0, 403);
}

#[tokio::test]
async fn another_policy_is_in_force_at_once() {
    let handle = PolicyHandle::new(policy(RULES));
    assert_eq!(send(&handle, request(Action::Train, None)).await.0, 200);
    let before = handle.load().version().clone();
    handle.clone().replace(policy("[[rule]]\nname = 'closed'\neffect = 'deny'"));
    assert_ne!(*handle.load().version(), before);
    let (status, body) = send(&handle, request(Action::Train, None)).await;
    assert_eq!((status, &body["error"]["rule"]), (403, &"closed".into()));
}
