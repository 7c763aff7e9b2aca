//! TLS on both listeners and to the upstream, and certificates that change while the gateway runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what must not fail may panic"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatewayd_core::Secret;
use gatewayd_proxy::{Agent, AgentConfig, Answer};
use gatewayd_testkit::{FakeUpstream, Pki, Reply};

/// A gateway that ends with the test.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _it_may_be_gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Two ports on which nobody listens, below those that the system gives to outgoing connections by itself: nobody
/// takes them before the gateway does.
fn free_ports() -> (u16, u16) {
    let first = 12_000 + u16::try_from(std::process::id() % 19_000).unwrap();
    let mut free = (first..32_000).filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    (free.next().unwrap(), free.next().unwrap())
}

fn copy(pair: &(std::path::PathBuf, std::path::PathBuf), to: &Path) {
    std::fs::copy(&pair.0, to.join("gateway.crt")).unwrap();
    std::fs::copy(&pair.1, to.join("gateway.key")).unwrap();
}

fn agent(port: u16, ca: &Path, token: Option<&str>) -> Agent {
    let mut config = AgentConfig::new(format!("https://localhost:{port}"));
    config.ca = Some(ca.to_owned());
    config.token = token.map(|token| Secret::new(token.as_bytes().to_vec()));
    config.timeout = Duration::from_secs(60);
    Agent::new(&config).unwrap()
}

async fn eventually(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ask().await {
        assert!(Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn json(answer: &Answer) -> serde_json::Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn tls_on_every_side_and_a_new_certificate_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["first", "second", "model"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    let (first, second, model) =
        (Pki::create(&at("first")), Pki::create(&at("second")), Pki::create(&at("model")));
    copy(&first.server(), folder.path());
    // The model server asks for a client certificate.
    let upstream = FakeUpstream::tls(Reply::json(256), &model, true);
    let (port, admin_port) = free_ports();
    let (client_certificate, client_key) = model.client();
    std::fs::write(at("key"), "sk-model-server-0123456789").unwrap();
    let tls = r#"{ certificate = "gateway.crt", key = "gateway.key" }"#;
    let config = format!(
        r#"
        [listen]
        address = "127.0.0.1:{port}"
        tls = {tls}
        [admin]
        address = "127.0.0.1:{admin_port}"
        tls = {tls}
        [[upstream]]
        name = "model"
        url = "{}"
        ca = {:?}
        client_certificate = {{ certificate = {client_certificate:?}, key = {client_key:?} }}
        credential = "key"
        [[credential]]
        name = "key"
        file = "key"
        [[policy.rule]]
        name = "programs-may-ask"
        groups = ["programs"]
        actions = ["infer"]
        effect = "allow"
        "#,
        upstream.url(),
        model.ca(),
    );
    std::fs::write(at("gatewayd.toml"), config).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_gatewayd"))
        .args(["serve", "--config"])
        .arg(at("gatewayd.toml"))
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let _gateway = Gateway(child);

    let admin = agent(admin_port, &first.ca(), None);
    eventually("readiness", async || admin.get("/readyz").await.is_ok_and(|answer| answer.status == 200))
        .await;
    let key = std::fs::read_to_string(at("data/admin.key")).unwrap();
    let admin = agent(admin_port, &first.ca(), Some(key.trim()));
    let wanted = serde_json::json!({ "name": "job", "groups": ["programs"], "ttl_seconds": 600 });
    let made = json(&admin.post("/api/v1/tokens", &wanted).await.unwrap());
    let token = made["token"].as_str().unwrap();

    let ask = serde_json::json!({ "model": "m", "messages": [] });
    let answer = agent(port, &first.ca(), Some(token)).post("/v1/chat/completions", &ask).await.unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let seen = upstream.seen();
    let seen = seen.first().unwrap();
    assert_eq!(seen.headers["authorization"], "Bearer sk-model-server-0123456789");

    // Whoever trusts another authority is not talked to.
    assert!(agent(port, &second.ca(), Some(token)).post("/v1/chat/completions", &ask).await.is_err());

    // A certificate that does not fit its key leaves the old pair in force; the right pair replaces it.
    std::fs::copy(second.server().0, at("gateway.crt")).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(agent(port, &first.ca(), Some(token)).post("/v1/chat/completions", &ask).await.is_ok());
    copy(&second.server(), folder.path());
    eventually("the new certificate", async || {
        let answer = agent(port, &second.ca(), Some(token)).post("/v1/chat/completions", &ask).await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await;
    assert!(agent(port, &first.ca(), Some(token)).post("/v1/chat/completions", &ask).await.is_err());
}
