//! The ready configurations hold, and decide what their tables of expectations say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use gatewayd::config::Config;
use gatewayd_core::{Clock as _, SystemClock};
use gatewayd_dialects::{Dialects, Problem};
use gatewayd_policy::{Case, TestTable};
use gatewayd_testkit::Pki;
use http::{Method, Uri};

const READY: [&str; 5] = ["workstation", "team", "ollama", "several-upstreams", "high-security"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// The folder with the configurations, and the certificates that they name.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(folder()).expect("the configurations") {
        let path = entry.expect("an entry").path();
        let to = copy.path().join(path.file_name().expect("a name"));
        std::fs::copy(&path, to).expect("it can be copied");
    }
    let tls = copy.path().join("tls");
    std::fs::create_dir(&tls).expect("it can be made");
    let pki = Pki::create(&tls);
    let ((server, server_key), (client, client_key)) = (pki.server(), pki.client());
    for (from, to) in [
        (&pki.ca(), "corp-ca.crt"),
        (&pki.ca(), "enclave-ca.crt"),
        (&server, "gateway.crt"),
        (&server_key, "gateway.key"),
        (&client, "gateway-client.crt"),
        (&client_key, "gateway-client.key"),
    ] {
        std::fs::copy(from, tls.join(to)).expect("it can be copied");
    }
    copy
}

/// All of them, as `gatewayd check` reads them. Loaded once: each compiles its masking rules.
static LOADED: LazyLock<BTreeMap<&str, Config>> = LazyLock::new(|| {
    let copy = copy();
    let load = |name: &'static str| match Config::load(&copy.path().join(format!("{name}.toml"))) {
        Ok(config) => (name, config),
        Err(error) => panic!("{error}"),
    };
    READY.into_iter().map(load).collect()
});

#[test]
fn every_configuration_is_listed_here_and_has_a_table() {
    let mut found: Vec<String> = std::fs::read_dir(folder())
        .expect("the configurations")
        .filter_map(|entry| entry.expect("an entry").file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
        .collect();
    found.sort();
    let mut listed: Vec<String> =
        READY.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.cases")]).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
fn every_configuration_holds_and_decides_as_its_table_says() {
    for (name, config) in &*LOADED {
        let table = std::fs::read_to_string(folder().join(format!("{name}.cases.toml"))).expect("its table");
        let table = TestTable::parse(&table).expect("the table holds");
        let dialects = Dialects::new(&config.dialects).expect("they hold");
        let understand = |case: &Case| understand(&dialects, case);
        let results = table.run(&config.policy.load(), SystemClock.now(), understand);
        let failed: Vec<_> = results.iter().filter(|result| result.failure.is_some()).collect();
        assert!(failed.is_empty(), "{name}: {failed:#?}");
        assert!(results.len() >= 6, "{name}");
    }
}

/// As `gatewayd policy test` does it.
fn understand(
    dialects: &Dialects,
    case: &Case,
) -> Result<(gatewayd_core::Operation, gatewayd_core::UpstreamName), String> {
    let method: Method =
        case.method.as_deref().unwrap_or("POST").parse().map_err(|_| "no method".to_owned())?;
    let uri: Uri = case.path.parse().map_err(|_| "no path".to_owned())?;
    let body = case.model.as_ref().map(|model| serde_json::json!({ "model": model }).to_string());
    let found = match dialects.classify(&method, &uri, body.as_deref().map(str::as_bytes)) {
        Err(Problem::UnexpectedBody) => dialects.classify(&method, &uri, None),
        found => found,
    };
    found.map(|found| (found.operation, found.upstream)).map_err(|problem| problem.to_string())
}

/// Method, path and model of a request, and the upstream that it must reach.
type Way = (&'static str, &'static str, Option<&'static str>, &'static str);

#[test]
fn requests_go_where_the_comments_say() {
    let ways: [(&str, &[Way]); 3] = [
        (
            "several-upstreams",
            &[
                ("POST", "/v1/chat/completions", Some("gpt-4o"), "azure"),
                ("POST", "/openai/deployments/gpt-4o/chat/completions", None, "azure"),
                ("POST", "/v1/embeddings", Some("bge-m3"), "embeddings"),
                ("POST", "/v1/chat/completions", Some("llama-3.3-70b"), "big"),
                ("POST", "/v1/chat/completions", Some("phi-4"), "small"),
                ("GET", "/v1/models", None, "small"),
                ("POST", "/lab/v1/chat/completions", Some("gpt-4o"), "lab"),
            ],
        ),
        (
            "team",
            &[
                ("POST", "/v1/chat/completions", Some("lora-shared-support"), "vllm"),
                ("GET", "/v1/models", None, "vllm"),
            ],
        ),
        ("ollama", &[("POST", "/api/chat", Some("llama3.2"), "ollama")]),
    ];
    for (name, ways) in ways {
        let dialects = Dialects::new(&LOADED[name].dialects).expect("they hold");
        for (method, path, model, upstream) in ways {
            let body = model.map(|model| format!(r#"{{"model":"{model}"}}"#));
            let method: Method = method.parse().expect("a method");
            let uri: Uri = path.parse().expect("a path");
            let found =
                dialects.classify(&method, &uri, body.as_deref().map(str::as_bytes)).expect("understood");
            assert_eq!(&*found.upstream.0, *upstream, "{name}: {path} {model:?}");
        }
    }
    let dialects = Dialects::new(&LOADED["several-upstreams"].dialects).expect("they hold");
    let lab = dialects.classify(&Method::GET, &Uri::from_static("/lab/v1/models"), None).expect("understood");
    assert_eq!(lab.path.expect("the prefix is taken off").path(), "/v1/models");
}

#[test]
fn loading_an_adapter_reaches_the_server_that_has_it() {
    let dialects = Dialects::new(&LOADED["team"].dialects).expect("they hold");
    let body = br#"{"lora_name":"lora-new","lora_path":"/adapters/new"}"#;
    let uri = Uri::from_static("/v1/load_lora_adapter");
    let found = dialects.classify(&Method::POST, &uri, Some(body)).expect("understood");
    assert_eq!(found.operation.action.as_str(), "manage-model");
    assert_eq!(found.operation.model.as_deref(), Some("lora-new"));
    assert_eq!(&*found.upstream.0, "vllm");
}

#[test]
fn the_settings_are_those_that_the_comments_speak_of() {
    let secure = &LOADED["high-security"];
    assert!(secure.listen.tls.is_some());
    assert_eq!(secure.authn.issuers[0].max_token_age, Some(Duration::from_secs(3600)));
    assert_eq!(secure.recorder.durability, gatewayd_recorder::Durability::Disk);
    assert_eq!(secure.credentials.credentials[0].header, "x-enclave-key");
    assert_eq!(secure.credentials.credentials[0].prefix, "");

    let azure = &LOADED["several-upstreams"].credentials;
    let key = azure.credentials.iter().find(|key| key.name == "azure-key").expect("it is there");
    assert_eq!(
        (key.header.as_str(), key.prefix.as_str(), key.upstreams.as_slice()),
        ("api-key", "", &["azure".to_owned()][..])
    );
    let both = azure.credentials.iter().find(|key| key.name == "vllm-key").expect("it is there");
    assert_eq!(both.upstreams, ["big", "small"]);
    assert_eq!(both.prefix, "Bearer ");

    let team = &LOADED["team"];
    assert_eq!(team.authn.issuers[1].group_prefix, "entra:");
    assert_eq!(team.approvals.requirements["one-lead"].grant, Some(Duration::from_secs(8 * 3600)));
    assert_eq!(LOADED["workstation"].authn.issuers.len(), 0, "gateway tokens only");
    // Everyone keeps the default: no limit cuts a slow model, unless the file says so.
    for name in READY {
        assert!(!LOADED[name].authn.dangerous_allow_http, "{name}");
    }
}

#[test]
fn a_missing_certificate_or_cedar_file_is_named() {
    let copy = copy();
    std::fs::remove_file(copy.path().join("tls/gateway-client.key")).expect("it was there");
    let error =
        Config::load(&copy.path().join("high-security.toml")).err().expect("it is missing").to_string();
    assert!(error.contains("gateway-client.key"), "{error}");

    let copy = self::copy();
    let cedar = copy.path().join("high-security.cedar");
    std::fs::write(
        &cedar,
        "@id(\"x\") forbid (principal, action, resource) when { principal.knid == \"x\" };",
    )
    .expect("it can be written");
    let error =
        Config::load(&copy.path().join("high-security.toml")).err().expect("it is misspelled").to_string();
    assert!(error.contains("high-security.cedar") && error.contains("knid"), "{error}");
}
