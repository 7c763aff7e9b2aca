//! TLS to upstreams: a private authority, a client certificate, HTTP/2.

mod setup;

use gatewayd_proxy::{ClientCertificate, Config, ConfigError, UpstreamConfig, Upstreams};
use gatewayd_testkit::{FakeUpstream, Pki, Reply};
use http::{Method, StatusCode};
use setup::{Setup, json, request};

#[tokio::test]
async fn a_private_authority_is_trusted_where_configured_and_only_there() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pki = Pki::create(directory.path());
    let upstream = FakeUpstream::tls(Reply::Echo, &pki, false);
    let trusting = Setup::with(&upstream, |config| config.ca = Some(pki.ca()));
    let echo = json(trusting.send(request(Method::GET, "/v1/models")).await.into_body()).await;
    assert_eq!(echo["version"], "HTTP/1.1", "a connection for each request in flight");
    let multiplexed = Setup::with(&upstream, |config| {
        config.ca = Some(pki.ca());
        config.http2 = true;
    });
    let echo = json(multiplexed.send(request(Method::GET, "/v1/models")).await.into_body()).await;
    assert_eq!(echo["version"], "HTTP/2.0", "where configured");

    let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "the system does not know this authority");

    let other = tempfile::tempdir().expect("a temporary directory");
    let stranger = Pki::create(other.path());
    let wrong = Setup::with(&upstream, |config| config.ca = Some(stranger.ca()));
    assert_eq!(wrong.send(request(Method::GET, "/v1/models")).await.status(), StatusCode::BAD_GATEWAY);

    // The certificate is for `localhost`; by number it is not the one asked for.
    let by_number = format!("https://127.0.0.1:{}", upstream.address().port());
    let misnamed = Setup::at(&by_number, |config| config.ca = Some(pki.ca()));
    assert_eq!(misnamed.send(request(Method::GET, "/v1/models")).await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(upstream.seen().len(), 2, "no request was sent to a stranger");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_configured() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pki = Pki::create(directory.path());
    let upstream = FakeUpstream::tls(Reply::Echo, &pki, true);
    let (certificate, key) = pki.client();
    let known = Setup::with(&upstream, |config| {
        config.ca = Some(pki.ca());
        config.client_certificate =
            Some(ClientCertificate { certificate: certificate.clone(), key: key.clone() });
    });
    assert_eq!(known.send(request(Method::GET, "/v1/models")).await.status(), StatusCode::OK);
    let unknown = Setup::with(&upstream, |config| config.ca = Some(pki.ca()));
    assert_eq!(unknown.send(request(Method::GET, "/v1/models")).await.status(), StatusCode::BAD_GATEWAY);

    let mut mixed = UpstreamConfig::new("llama", upstream.url());
    mixed.client_certificate = Some(ClientCertificate { certificate, key: pki.server().1 });
    mixed.ca = Some(pki.ca());
    let error = Upstreams::new(&Config { upstreams: vec![mixed] }).expect_err("another's key");
    assert!(matches!(error, ConfigError::BadClientCertificate { .. }), "{error}");
}
