//! Where a request goes.

use gatewayd_dialects::{Config, ConfigError, Dialects, Problem, UpstreamRule};
use http::{Method, Uri};

fn rule(name: &str, models: &[&str], prefix: Option<&str>, strip: bool) -> UpstreamRule {
    UpstreamRule {
        path_prefix: prefix.map(str::to_owned),
        strip_prefix: strip,
        ..UpstreamRule::new(name, models)
    }
}

fn config(upstreams: Vec<UpstreamRule>, default: Option<&str>) -> Config {
    Config { upstreams, default: default.map(str::to_owned), ..Config::default() }
}

/// Upstream, path to send, model.
fn route(dialects: &Dialects, path: &str, model: &str) -> Result<(String, Option<String>), Problem> {
    let uri: Uri = path.parse().expect("a target");
    let (method, body) = match model {
        "" => (Method::GET, None),
        model => (Method::POST, Some(format!("{{\"model\":\"{model}\"}}"))),
    };
    let found = dialects.classify(&method, &uri, body.as_deref().map(str::as_bytes))?;
    Ok((found.upstream.0.to_string(), found.path.map(|path| path.to_string())))
}

fn to(name: &str) -> Result<(String, Option<String>), Problem> {
    Ok((name.to_owned(), None))
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn models_choose_in_order() {
    let upstreams =
        vec![rule("big", &["llama-70b", "qwen*"], None, true), rule("small", &["llama*"], None, true)];
    let dialects = Dialects::new(&config(upstreams.clone(), None)).expect("sound");
    assert_eq!(route(&dialects, CHAT, "llama-70b"), to("big"));
    assert_eq!(route(&dialects, CHAT, "qwen3:8b"), to("big"));
    assert_eq!(route(&dialects, CHAT, "llama-8b"), to("small"));
    assert_eq!(route(&dialects, CHAT, "Llama-8b"), Err(Problem::NoUpstream));
    assert_eq!(route(&dialects, CHAT, "gpt"), Err(Problem::NoUpstream));
    assert_eq!(route(&dialects, "/v1/models", ""), Err(Problem::NoUpstream), "which one's models?");
    let dialects = Dialects::new(&config(upstreams, Some("small"))).expect("sound");
    assert_eq!(route(&dialects, CHAT, "gpt"), to("small"));
    assert_eq!(route(&dialects, "/v1/models", ""), to("small"));
}

#[test]
fn a_request_without_a_model_goes_to_the_only_upstream() {
    let dialects = Dialects::new(&config(vec![rule("one", &["llama*"], None, true)], None)).expect("sound");
    assert_eq!(route(&dialects, "/v1/models", ""), to("one"));
    assert_eq!(route(&dialects, CHAT, "gpt"), Err(Problem::NoUpstream));
}

#[test]
fn a_prefix_is_a_world_of_its_own() {
    let upstreams = vec![
        rule("root", &[], None, true),
        rule("a", &["llama*"], Some("/team-a"), true),
        rule("a-other", &["*"], Some("/team-a"), true),
        rule("deep", &[], Some("/team-a/deep"), true),
        rule("kept", &[], Some("/kept"), false),
    ];
    let dialects = Dialects::new(&config(upstreams, Some("root"))).expect("sound");
    let stripped = |name: &str, path: &str| Ok((name.to_owned(), Some(path.to_owned())));
    assert_eq!(route(&dialects, CHAT, "x"), to("root"));
    assert_eq!(route(&dialects, "/team-a/v1/chat/completions", "llama"), stripped("a", CHAT));
    assert_eq!(
        route(&dialects, "/team-a/v1/chat/completions?q=1", "x"),
        stripped("a-other", "/v1/chat/completions?q=1")
    );
    assert_eq!(route(&dialects, "/team-a/deep/v1/models", ""), stripped("deep", "/v1/models"));
    assert_eq!(route(&dialects, "/team-a", ""), stripped("a-other", "/"));
    assert_eq!(route(&dialects, "/kept/v1/models", ""), to("kept"));
    // Not below the prefix, only spelled alike.
    assert_eq!(route(&dialects, "/team-ab/v1/models", ""), to("root"));
    let uri: Uri = "/team-a/v1/fine_tuning/jobs".parse().expect("a target");
    let found = dialects.classify(&Method::POST, &uri, Some(b"{\"model\":\"llama\"}")).expect("known");
    assert_eq!((found.operation.action.as_str(), &*found.operation.route), ("train", "/v1/fine_tuning/jobs"));
    let uri: Uri = "/kept/v1/fine_tuning/jobs".parse().expect("a target");
    assert_eq!(
        dialects.classify(&Method::POST, &uri, None).expect("known").operation.action.as_str(),
        "train"
    );
}

#[test]
fn below_a_prefix_the_default_is_not_asked() {
    let upstreams = vec![rule("root", &[], None, true), rule("a", &["llama*"], Some("/team-a"), true)];
    let dialects = Dialects::new(&config(upstreams, Some("root"))).expect("sound");
    assert_eq!(route(&dialects, "/team-a/v1/chat/completions", "gpt"), Err(Problem::NoUpstream));
}

#[test]
fn a_configuration_is_refused_with_its_reason() {
    let new = |upstreams, default| Dialects::new(&config(upstreams, default)).map(|_| ());
    let twice = vec![rule("a", &[], None, true), rule("a", &[], None, true)];
    assert_eq!(new(twice, None), Err(ConfigError::DuplicateName("a".into())));
    assert_eq!(new(vec![], Some("b")), Err(ConfigError::UnknownDefault("b".into())));
    for prefix in ["x", "/x/", "/", "/a//b", "/a/../b", "/%2e", "/a;b"] {
        let bad = new(vec![rule("a", &[], Some(prefix), true)], None);
        assert_eq!(bad, Err(ConfigError::BadPrefix("a".into(), prefix.into())), "{prefix}");
    }
    let mixed = vec![rule("a", &[], Some("/x"), true), rule("b", &[], Some("/x"), false)];
    assert_eq!(new(mixed, None), Err(ConfigError::MixedStrip("b".into(), "/x".into())));
    assert_eq!(new(vec![], None), Ok(()), "no upstreams at all: everything is 404");
}
