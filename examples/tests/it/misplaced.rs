//! A control that is put into a service without what it needs refuses; it assumes nothing and lets nothing through.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use gatewayd_approvals::{Approvals, ApprovalsLayer, Config as ApprovalsConfig};
use gatewayd_core::{NullJournal, SystemClock};
use gatewayd_credentials::{Config as CredentialsConfig, Credentials, CredentialsLayer};
use gatewayd_examples::Redactor;
use gatewayd_masker::Masker;
use gatewayd_policy::{Config as PolicyConfig, Policy, PolicyHandle, PolicyLayer};
use gatewayd_proxy::{Config as ProxyConfig, Proxy, Upstreams};
use gatewayd_recorder::{Config as RecorderConfig, IntentLayer, Recorder};
use http::{Method, StatusCode};

use crate::ask;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_without_its_facts_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SystemClock);
    let redact = Arc::new(Redactor(Masker::builder().build().expect("the rules hold")));
    let store = folder.path().join("approvals.db");
    let config = ApprovalsConfig::default();
    let approvals =
        Approvals::open(&store, config, Arc::new(NullJournal), redact, clock.clone()).expect("open");
    let on_version = Arc::new(|_: &_, _: &_| {});
    let config = CredentialsConfig::default();
    let credentials =
        Credentials::new(config, clock.clone(), Arc::new(NullJournal), on_version).expect("they hold");
    let policy = Policy::new(&PolicyConfig::default()).expect("it holds");
    let recorder =
        Recorder::open(RecorderConfig::new(folder.path().join("evidence")), clock).expect("it opens");
    let upstreams = Upstreams::new(&ProxyConfig::default()).expect("there are none");

    let service = || Router::new().route("/", get(|| async { "let through" }));
    for (name, app) in [
        ("policy", service().layer(PolicyLayer::new(PolicyHandle::new(policy)))),
        ("approvals", service().layer(ApprovalsLayer::new(approvals))),
        ("credentials", service().layer(CredentialsLayer::new(credentials))),
        ("recorder", service().layer(IntentLayer::new(&recorder))),
        ("proxy", Router::new().fallback_service(Proxy::new(upstreams))),
    ] {
        let (status, body) = ask(&app, Method::GET, "/", "").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{name}: {body}");
        assert!(body.contains("misconfigured") && !body.contains("let through"), "{name}: {body}");
    }
}
