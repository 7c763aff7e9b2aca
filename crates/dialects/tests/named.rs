//! A request of which only its model is known: what a record or a table of expectations holds.

use gatewayd_core::Action;
use gatewayd_dialects::{Classified, Config, Dialects, JsonProblem, Problem, UpstreamRule};
use http::{Method, Uri};

fn dialects() -> Dialects {
    let upstreams = vec![
        UpstreamRule::new("llama", &["llama*"]),
        UpstreamRule { path_prefix: Some("/team".to_owned()), ..UpstreamRule::new("team", &[]) },
        UpstreamRule::new("rest", &["*"]),
    ];
    Dialects::new(&Config { upstreams, ..Config::default() }).expect("a sound configuration")
}

fn uri(target: &str) -> Uri {
    target.parse().expect("a target")
}

fn named(method: &Method, target: &str, model: Option<&str>) -> Result<Classified, Problem> {
    dialects().classify_named(method, &uri(target), model)
}

fn model_of(found: Result<Classified, Problem>) -> Option<String> {
    found.expect("it is understood").operation.model.as_deref().map(str::to_owned)
}

/// `METHOD target model body`: the body that names the same model.
const SAME: &str = r#"
POST /v1/chat/completions llama-3 {"model":"llama-3"}
POST /v1/chat/completions gpt {"messages":[],"model":"gpt"}
POST /team/v1/embeddings llama-3 {"model":"llama-3"}
POST /v1/load_lora_adapter llama-lora {"lora_name":"llama-lora"}
POST /v1/unload_lora_adapter my-lora {"lora_name":"my-lora"}
POST /api/show llama3:8b {"name":"llama3:8b"}
POST /api/pull llama3 {"model":"llama3"}
POST /api/copy llama3 {"source":"llama3"}
DELETE /api/delete llama3 {"name":"llama3"}
POST /v1/messages claude {"model":"claude"}
POST /openai/deployments/gpt/chat/completions gpt {"model":"gpt"}
POST /openai/deployments/gpt/chat/completions gpt {}
POST /openai/deployments/llama-3/embeddings llama-3 {"model":"llama-3"}
POST /nobody/knows/it - {}
"#;

#[test]
fn it_is_what_the_body_would_have_made_it() {
    for case in SAME.lines().filter(|line| !line.is_empty()) {
        let mut parts = case.splitn(4, ' ');
        let mut next = || parts.next().expect("method, target, model, body");
        let (method, target): (Method, _) = (next().parse().expect("a method"), next());
        let (model, body) = (Some(next()).filter(|model| *model != "-"), next());
        let full = dialects().classify(&method, &uri(target), Some(body.as_bytes()));
        let known = named(&method, target, model).unwrap_or_else(|problem| panic!("{case}: {problem}"));
        assert_eq!(known.operation.model.as_deref(), model, "{case}");
        assert_eq!(Ok(known), full, "{case}");
    }
}

#[test]
fn the_name_of_an_adapter_is_the_model() {
    let found = named(&Method::POST, "/v1/load_lora_adapter", Some("llama-lora")).expect("it is understood");
    assert_eq!((found.operation.action, &*found.upstream.0), (Action::ManageModel, "llama"));
    assert_eq!(found.operation.model.as_deref(), Some("llama-lora"));
    let found = named(&Method::POST, "/v1/load_lora_adapter", None).expect("it is understood");
    assert_eq!((found.operation.model, &*found.upstream.0), (None, "rest"));
}

#[test]
fn the_model_of_the_path_needs_no_naming() {
    for (method, target, model) in [
        (Method::POST, "/openai/deployments/gpt/chat/completions?api-version=1", "gpt"),
        (Method::POST, "/openai/deployments/gpt/audio/transcriptions", "gpt"),
        (Method::GET, "/v1/models/meta/llama-3", "meta/llama-3"),
        (Method::GET, "/v1/models/llama3%3A8b", "llama3:8b"),
        (Method::POST, "/v2/models/m/infer", "m"),
        (Method::DELETE, "/models?model=m", "m"),
    ] {
        assert_eq!(model_of(named(&method, target, None)).as_deref(), Some(model), "{target}");
        assert_eq!(model_of(named(&method, target, Some(model))).as_deref(), Some(model), "{target}");
    }
}

#[test]
fn another_model_than_that_of_the_path_is_a_contradiction() {
    for (method, target, model) in [
        (Method::POST, "/openai/deployments/gpt/chat/completions", "secret"),
        (Method::POST, "/openai/deployments/gpt/chat/completions", "GPT"),
        (Method::POST, "/openai/deployments/gpt/chat/completions", ""),
        (Method::POST, "/team/openai/deployments/gpt/embeddings", "secret"),
        (Method::GET, "/v1/models/llama3%3A8b", "llama3%3A8b"),
        (Method::POST, "/v2/models/m/versions/1/generate_stream", "n"),
        (Method::DELETE, "/models?model=m", "n"),
    ] {
        let found = named(&method, target, Some(model));
        assert_eq!(found, Err(Problem::ModelsDisagree), "{target} {model}");
    }
}

#[test]
fn a_form_names_its_model_too_and_what_is_not_known_is_not_assumed() {
    let found =
        named(&Method::POST, "/v1/audio/transcriptions", Some("llama-ear")).expect("it is understood");
    assert_eq!((found.operation.action, &*found.upstream.0), (Action::Infer, "llama"));
    // Whether a stream was asked for is not known; what a route does by itself is.
    for (target, streaming) in
        [("/v1/chat/completions", false), ("/api/chat", true), ("/v2/models/m/generate_stream", true)]
    {
        let found = named(&Method::POST, target, None).expect("it is understood");
        assert_eq!(found.operation.streaming, streaming, "{target}");
    }
}

#[test]
fn no_name_passes_that_a_body_could_not_bring() {
    let long = "a".repeat(513);
    for name in ["a\nb", "\u{0}", "a\u{85}", long.as_str()] {
        let found = named(&Method::POST, "/v1/chat/completions", Some(name));
        assert_eq!(found, Err(Problem::Json(JsonProblem::BadModel)), "{name:?}");
    }
    let only = UpstreamRule::new("llama", &["llama*"]);
    let narrow = Dialects::new(&Config { upstreams: vec![only], ..Config::default() }).expect("sound");
    let found = narrow.classify_named(&Method::POST, &uri("/v1/chat/completions"), Some("gpt"));
    assert_eq!(found, Err(Problem::NoUpstream));
    let found = named(&Method::POST, "/v1/%2e%2e/v1/chat/completions", Some("llama"));
    assert!(matches!(found, Err(Problem::Path(_))), "{found:?}");
}

#[test]
fn with_no_name_every_route_is_what_it_is_without_a_body() {
    let dialects = dialects();
    for route in Dialects::routes() {
        let plain = |segment: &'static str| if segment.starts_with('{') { "x" } else { segment };
        let path = route.template.split('/').map(plain).collect::<Vec<_>>().join("/");
        let without = dialects.classify(route.method, &uri(&path), None);
        assert_eq!(dialects.classify_named(route.method, &uri(&path), None), without, "{path}");
    }
}
