//! The tables: which request is which operation.

use gatewayd_core::{Action, Dialect};
use gatewayd_dialects::{Config, Dialects, Problem, UpstreamRule};
use http::{Method, Uri};

fn dialects() -> Dialects {
    Dialects::new(&Config { upstreams: vec![UpstreamRule::new("all", &["*"])], ..Config::default() })
        .expect("a sound configuration")
}

/// `METHOD target body -> dialect action model streaming route`, `-` for none.
const CASES: &str = r#"
POST /v1/chat/completions {"model":"m"} -> openai infer m false /v1/chat/completions
POST /v1/chat/completions {"model":"m","stream":true} -> openai infer m true /v1/chat/completions
POST /v1/chat/completions/ {"model":"m"} -> openai infer m false /v1/chat/completions
POST /openai/v1/responses {"model":"m"} -> openai infer m false /openai/v1/responses
POST /openai/deployments/gpt/chat/completions?api-version=1 {"stream":true} -> openai infer gpt true /openai/deployments/{model}/chat/completions
POST /openai/deployments/gpt/embeddings {"model":"gpt"} -> openai embed gpt false /openai/deployments/{model}/embeddings
POST /openai/fine_tuning/jobs {"model":"m"} -> openai train m false /openai/fine_tuning/jobs
POST /v1/completions {"model":"m"} -> openai infer m false /v1/completions
POST /v1/embeddings {"model":"m"} -> openai embed m false /v1/embeddings
GET /v1/models - -> openai list-models - false /v1/models
HEAD /v1/models - -> openai list-models - false /v1/models
GET /v1/models/meta/llama-3 - -> openai list-models meta/llama-3 false /v1/models/{model+}
GET /v1/models/llama3%3A8b - -> openai list-models llama3:8b false /v1/models/{model+}
DELETE /v1/models/ft:m:org::1 - -> openai delete ft:m:org::1 false /v1/models/{model+}
POST /v1/fine_tuning/jobs {"model":"m"} -> openai train m false /v1/fine_tuning/jobs
POST /v1/fine_tuning/jobs/j/cancel - -> openai train - false /v1/fine_tuning/jobs/{id}/cancel
GET /v1/fine_tuning/jobs/j/events - -> openai read - false /v1/fine_tuning/jobs/{id}/events
GET /v1/fine_tuning/jobs/j/checkpoints - -> openai read - false /v1/fine_tuning/jobs/{id}/checkpoints
GET /v1/files/f/content - -> openai export - false /v1/files/{id}/content
DELETE /v1/files/f - -> openai delete - false /v1/files/{id}
POST /v1/batches {} -> openai batch - false /v1/batches
GET /v1/responses/r?stream=true - -> openai read - true /v1/responses/{id}
GET /v1/chat/completions?model=m - -> openai read m false /v1/chat/completions
POST /v1/audio/speech {"model":"m"} -> openai infer m false /v1/audio/speech
POST /v1/moderations {"model":"m"} -> openai infer m false /v1/moderations
POST /v1/vector_stores/v/search {} -> openai read - false /v1/vector_stores/{id}/search
POST /v1/threads/t/runs {"model":"m"} -> openai infer m false /v1/threads/{id}/runs
POST /v1/organization/admin_api_keys {} -> openai rotate-credential - false /v1/organization/admin_api_keys
POST /v1/messages {"model":"m","stream":true} -> anthropic infer m true /v1/messages
POST /v1/messages/count_tokens {"model":"m"} -> anthropic tokenize m false /v1/messages/count_tokens
POST /v1/messages/batches {} -> anthropic batch - false /v1/messages/batches
GET /v1/messages/batches/b/results - -> anthropic export - false /v1/messages/batches/{id}/results
POST /api/chat {"model":"m"} -> ollama infer m true /api/chat
POST /api/chat {"model":"m","stream":false} -> ollama infer m false /api/chat
POST /api/generate {"model":"m","stream":null} -> ollama infer m true /api/generate
POST /api/embed {"model":"m"} -> ollama embed m false /api/embed
GET /api/tags - -> ollama list-models - false /api/tags
POST /api/show {"name":"m"} -> ollama list-models m false /api/show
POST /api/pull {"name":"m","model":"m"} -> ollama manage-model m true /api/pull
POST /api/push {"model":"m","stream":false} -> ollama export m false /api/push
POST /api/copy {"source":"m","destination":"n"} -> ollama manage-model m false /api/copy
DELETE /api/delete {"model":"m"} -> ollama delete m false /api/delete
HEAD /api/blobs/sha256:00 - -> ollama inspect - false /api/blobs/{digest}
POST /api/blobs/sha256:00 x -> ollama manage-model - false /api/blobs/{digest}
GET / - -> ollama inspect - false /
HEAD / - -> ollama inspect - false /
POST /v1/load_lora_adapter {"lora_name":"m"} -> vllm manage-model m false /v1/load_lora_adapter
POST /tokenize {"model":"m"} -> vllm tokenize m false /tokenize
POST /sleep?level=2 - -> vllm manage-model - false /sleep
GET /is_sleeping - -> vllm inspect - false /is_sleeping
POST /collective_rpc {} -> vllm manage-model - false /collective_rpc
POST /invocations {"model":"m"} -> vllm infer m false /invocations
POST /v1/rerank {"model":"m"} -> vllm embed m false /v1/rerank
GET /health - -> vllm inspect - false /health
POST /completion {"stream":true} -> llama-cpp infer - true /completion
POST /chat/completions {"model":"m"} -> llama-cpp infer m false /chat/completions
POST /infill {} -> llama-cpp infer - false /infill
POST /apply-template {} -> llama-cpp tokenize - false /apply-template
GET /props - -> llama-cpp inspect - false /props
GET /props?model=m - -> llama-cpp inspect m false /props
POST /props {} -> llama-cpp manage-model - false /props
GET /slots - -> llama-cpp export - false /slots
POST /slots/0?action=save {"filename":"x"} -> llama-cpp export - false /slots/{id}
POST /slots/0?action=restore {"filename":"x"} -> llama-cpp manage-model - false /slots/{id}
POST /slots/0?x=1&%61ction=erase - -> llama-cpp manage-model - false /slots/{id}
POST /lora-adapters [{"id":0,"scale":1}] -> llama-cpp manage-model - false /lora-adapters
POST /models/load {"model":"m"} -> llama-cpp manage-model m false /models/load
DELETE /models?model=m - -> llama-cpp delete m false /models
GET /models/sse - -> llama-cpp inspect - false /models/sse
GET /v1/stream/c - -> llama-cpp read - false /v1/stream/{id}
GET /v2/health/ready - -> kserve inspect - false /v2/health/ready
GET /v2 - -> kserve inspect - false /v2
POST /v2/models/m/infer x -> kserve infer m false /v2/models/{model}/infer
POST /v2/models/m/versions/1/infer x -> kserve infer m false /v2/models/{model}/versions/{version}/infer
POST /v2/models/m/generate_stream x -> kserve infer m true /v2/models/{model}/generate_stream
POST /v2/repository/models/m/load {} -> kserve manage-model m false /v2/repository/models/{model}/load
POST /v2/repository/index - -> kserve list-models - false /v2/repository/index

POST /slots/0 {} -> unknown unknown - false unknown
POST /slots/0?action=delete {} -> unknown unknown - false unknown
PUT /v1/chat/completions {"model":"m"} -> openai unknown - false unknown
OPTIONS /v1/chat/completions - -> openai unknown - false unknown
TRACE /v1/models - -> openai unknown - false unknown
get /v1/models - -> openai unknown - false unknown
POST /V1/chat/completions {"model":"m"} -> unknown unknown - false unknown
POST /v1/Chat/completions {"model":"m"} -> openai unknown - false unknown
POST /v1/chat/completions/x/y {"model":"m"} -> openai unknown - false unknown
POST /v1/realtime/client_secrets {} -> openai unknown - false unknown
GET /v1/fine_tuning - -> openai unknown - false unknown
POST /v1/chat {} -> openai unknown - false unknown
GET /admin - -> unknown unknown - false unknown
"#;

#[test]
fn each_request_is_its_operation() {
    let dialects = dialects();
    for case in CASES.lines().filter(|line| !line.is_empty()) {
        let (sent, wanted) = case.split_once(" -> ").expect("a case has two sides");
        let mut sent = sent.splitn(3, ' ');
        let mut next = || sent.next().expect("method, target, body");
        let method: Method = next().parse().expect("a method");
        let uri: Uri = next().parse().expect("a target");
        let body = Some(next()).filter(|body| *body != "-").map(str::as_bytes);
        let operation =
            dialects.classify(&method, &uri, body).unwrap_or_else(|p| panic!("{case}: {p}")).operation;
        let found = format!(
            "{} {} {} {} {}",
            operation.dialect.as_str(),
            operation.action.as_str(),
            operation.model.as_deref().unwrap_or("-"),
            operation.streaming,
            operation.route,
        );
        assert_eq!(found, wanted, "{case}");
    }
}

#[test]
fn a_model_in_the_path_and_another_in_the_body_is_a_contradiction() {
    let uri: Uri = "/openai/deployments/allowed/chat/completions".parse().expect("a target");
    let found = dialects().classify(&Method::POST, &uri, Some(br#"{"model":"secret"}"#));
    assert_eq!(found, Err(Problem::ModelsDisagree));
    let uri: Uri = "/v1/models/a?model=b".parse().expect("a target");
    assert_eq!(dialects().classify(&Method::GET, &uri, None), Err(Problem::ModelsDisagree));
}

#[test]
fn every_route_of_the_tables_is_reachable_as_listed() {
    let dialects = dialects();
    let mut count = 0;
    for route in Dialects::routes() {
        // A route told apart by its query, or one that an earlier dialect answers, is the same action.
        let path: String = route
            .template
            .split('/')
            .map(|segment| if segment.starts_with('{') { "x" } else { segment })
            .collect::<Vec<_>>()
            .join("/");
        let is_slot = path.starts_with("/slots/");
        let uri: Uri = path.parse().expect("a target");
        let found = dialects.classify(route.method, &uri, None).expect("a known route").operation;
        if !is_slot {
            assert_eq!(found.action, route.action, "{} {path}", route.method);
            assert_eq!(&*found.route, route.template, "{} {path}", route.method);
        }
        count += 1;
    }
    assert!(count > 400);
}

#[test]
fn no_table_lists_the_unknown() {
    assert!(
        Dialects::routes().all(|route| route.action != Action::Unknown && route.dialect != Dialect::Unknown)
    );
}
