//! The layer: facts established, bodies handed on, refusals in the caller's dialect.

mod setup;

use std::time::Duration;

use gatewayd_core::{Body, RefusalCode};
use gatewayd_dialects::{Config, Limits, UpstreamRule};
use http::{HeaderValue, StatusCode};
use setup::{End, Setup, json, pieces, request, trail_of};

const CHAT: &str = "/v1/chat/completions";
const FORM: &str = "multipart/form-data; boundary=XX";

fn part(name: &str, more: &str, value: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"{more}\r\n\r\n{value}\r\n")
}

#[tokio::test]
async fn the_facts_are_established_and_the_body_is_at_hand() {
    let setup = Setup::new();
    let sent = request("POST", CHAT, r#"{"model":"m","stream":true}"#);
    let trail = trail_of(&sent);
    assert_eq!(setup.send(sent).await.status(), StatusCode::OK);
    let got = setup.one();
    assert!(got.was_full);
    assert_eq!(got.body.as_deref(), Ok(&br#"{"model":"m","stream":true}"#[..]));
    assert_eq!(trail.operation(), Some(&got.operation));
    assert_eq!(trail.upstream(), Some(&got.upstream));
    assert_eq!((got.operation.model.as_deref(), got.operation.streaming), (Some("m"), true));
}

#[tokio::test]
async fn a_body_in_pieces_is_read_whole() {
    let setup = Setup::new();
    let body = pieces(&[b"{\"mod", b"", b"el\":", b"\"m\"}"], End::Ends);
    assert_eq!(setup.send(request("POST", CHAT, body)).await.status(), StatusCode::OK);
    let got = setup.one();
    assert!(got.was_full);
    assert_eq!(got.body.as_deref(), Ok(&b"{\"model\":\"m\"}"[..]));
}

#[tokio::test]
async fn refusals_are_in_the_dialect_and_on_the_trail() {
    let setup = Setup::new();
    let openai = request("POST", CHAT, "{");
    let trail = trail_of(&openai);
    let answer = setup.send(openai).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(json(answer).await["error"]["code"], "invalid_request");
    assert_eq!(trail.refusal(), Some(RefusalCode::InvalidRequest));
    let anthropic = json(setup.send(request("POST", "/v1/messages", "{")).await).await;
    assert_eq!(anthropic["error"]["type"], "invalid_request_error");
    assert_eq!(anthropic["type"], "error");
    let ollama = json(setup.send(request("POST", "/api/chat", "{")).await).await;
    assert!(ollama["error"].is_string());
    assert!(setup.got().is_empty());
}

#[tokio::test]
async fn a_body_that_cannot_name_a_model_is_told_what_to_send() {
    let setup = Setup::new();
    for body in ["", "[]", "null", "1", "\"m\"", "[{\"model\":\"m\"}]"] {
        for (path, key) in [
            (CHAT, "`model`"),
            ("/v1/embeddings", "`model`"),
            ("/v1/fine_tuning/jobs", "`model`"),
            ("/v1/load_lora_adapter", "`lora_name`"),
            ("/infill", "`model`"),
        ] {
            let sent = request("POST", path, body);
            let trail = trail_of(&sent);
            let answer = setup.send(sent).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path} {body}");
            assert_eq!(trail.refusal(), Some(RefusalCode::InvalidRequest));
            let told = json(answer).await.to_string();
            assert!(told.contains("JSON object") && told.contains(key), "{path} {body}: {told}");
        }
        let pieces = pieces(&[body.as_bytes()], End::Ends);
        let ollama = json(setup.send(request("POST", "/api/chat", pieces)).await).await;
        assert!(ollama["error"].as_str().is_some_and(|told| told.contains("`model`")), "{body}: {ollama}");
        let anthropic = json(setup.send(request("POST", "/v1/messages", body)).await).await;
        assert_eq!(anthropic["error"]["type"], "invalid_request_error", "{body}");
    }
    assert!(setup.got().is_empty());
    let mut json_for_a_form = request("POST", "/v1/audio/transcriptions", "[]");
    json_for_a_form.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    assert_eq!(setup.send(json_for_a_form).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_need_not_name_a_model_where_the_server_or_the_path_does() {
    let setup = Setup::new();
    for (path, body) in [
        (CHAT, "{}"),
        (CHAT, "{\"messages\":[]}"),
        ("/openai/deployments/gpt/chat/completions", ""),
        ("/v1/fine_tuning/jobs/j/cancel", ""),
        ("/lora-adapters", "[{\"id\":0,\"scale\":1}]"),
        ("/v2/repository/index", ""),
        ("/nobody/knows/it", ""),
    ] {
        assert_eq!(setup.send(request("POST", path, body)).await.status(), StatusCode::OK, "{path} {body}");
    }
    let got = setup.got();
    assert_eq!(got[0].operation.model, None);
    assert_eq!(got[2].operation.model.as_deref(), Some("gpt"));
}

#[tokio::test]
async fn spellings_of_a_path_are_refused_before_anything_else() {
    let setup = Setup::new();
    for path in [
        "/v1/models/../fine_tuning/jobs",
        "/v1/%2e%2e/v1/fine_tuning/jobs",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions;x=1",
        "/v1/chat/complet%69ons",
    ] {
        let answer = setup.send(request("POST", path, "{}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert!(setup.got().is_empty());
}

#[tokio::test]
async fn json_is_json_whatever_its_type_says() {
    let setup = Setup::new();
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", FORM, "application/json; charset=utf-16"]
    {
        let mut sent = request("POST", CHAT, "model=secret");
        sent.headers_mut().insert("content-type", HeaderValue::from_str(content_type).expect("a value"));
        assert_eq!(setup.send(sent).await.status(), StatusCode::BAD_REQUEST, "{content_type}");
    }
    assert!(setup.got().is_empty());
}

#[tokio::test]
async fn what_would_be_read_in_two_ways_is_refused() {
    let setup = Setup::new();
    let mut compressed = request("POST", CHAT, "{}");
    compressed.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    let mut two_types = request("POST", CHAT, "{}");
    two_types.headers_mut().append("content-type", HeaderValue::from_static("application/json"));
    two_types.headers_mut().append("content-type", HeaderValue::from_static(FORM));
    let mut websocket = request("GET", "/v1/models", "");
    websocket.headers_mut().insert("upgrade", HeaderValue::from_static("h2c, websocket"));
    for (sent, why) in [
        (compressed, "content-encoding"),
        (two_types, "twice"),
        (websocket, "upgrades"),
        (request("GET", "/v1/models", "{\"model\":\"x\"}"), "no body"),
        (request("POST", CHAT, r#"{"model":"a","model":"b"}"#), "twice"),
        (request("POST", "/openai/deployments/a/chat/completions", r#"{"model":"b"}"#), "agree"),
        (request("GET", "/v1/models?model=a&model=b", ""), "twice"),
    ] {
        let answer = setup.send(sent).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{why}");
        let message = json(answer).await["error"]["message"].to_string();
        assert!(message.contains(why), "{message}");
    }
    assert!(setup.got().is_empty());
    // An offer of HTTP/2 on a plain connection may be passed over.
    let mut java = request("GET", "/v1/models", "");
    java.headers_mut().insert("upgrade", HeaderValue::from_static("h2c"));
    assert_eq!(setup.send(java).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn headers_that_change_method_or_path_do_not_pass() {
    let setup = Setup::new();
    let mut sent = request("POST", CHAT, "{}");
    for name in ["x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"] {
        sent.headers_mut().insert(name, HeaderValue::from_static("DELETE"));
    }
    sent.headers_mut().insert("x-kept", HeaderValue::from_static("1"));
    setup.send(sent).await;
    let headers = setup.one().headers;
    let kept: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(kept, ["x-kept", "content-type"]);
}

#[tokio::test]
async fn a_body_goes_on_as_what_it_was_judged_to_be() {
    let body = r#"{"model":"m","input":"&model=payroll&input=hello&z="}"#;
    for (path, content_type) in [
        (CHAT, Some("application/x-www-form-urlencoded")),
        (CHAT, Some(FORM)),
        (CHAT, Some("text/plain")),
        (CHAT, Some("application/json; charset=utf-7")),
        (CHAT, Some("application/json;charset=UTF-8")),
        (CHAT, None),
        ("/v1/fine_tuning/jobs", Some("application/x-www-form-urlencoded")),
        ("/v1/audio/transcriptions", Some("application/json; charset=utf-7")),
        ("/api/chat", Some("application/x-www-form-urlencoded")),
    ] {
        let setup = Setup::new();
        let mut sent = request("POST", path, body);
        if let Some(content_type) = content_type {
            sent.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        }
        let trail = trail_of(&sent);
        assert_eq!(setup.send(sent).await.status(), StatusCode::OK, "{path} {content_type:?}");
        let got = setup.one();
        assert_eq!(got.headers["content-type"], "application/json", "{path} {content_type:?}");
        assert_eq!(got.operation.model.as_deref(), Some("m"), "{path} {content_type:?}");
        assert_eq!(got.body.as_deref(), Ok(body.as_bytes()));
        assert_eq!(trail.content_type(), Some("application/json"));
    }
}

#[tokio::test]
async fn a_type_that_was_right_or_belongs_to_nothing_read_stays() {
    for (method, path, body, content_type, sent_as) in [
        ("POST", CHAT, "{}", Some("application/json"), Some("application/json")),
        ("POST", "/v1/fine_tuning/jobs/j/cancel", "", None, None),
        ("POST", "/v1/fine_tuning/jobs/j/cancel", "", Some("text/plain"), Some("application/json")),
        (
            "POST",
            "/v1/files",
            "--XX--",
            Some("multipart/form-data; boundary=XX; a=b"),
            Some("multipart/form-data; boundary=XX; a=b"),
        ),
        ("GET", "/v1/models", "", None, None),
    ] {
        let setup = Setup::new();
        let mut sent = request(method, path, body);
        if let Some(content_type) = content_type {
            sent.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
        }
        setup.send(sent).await;
        let headers = setup.one().headers;
        let got = headers.get("content-type").map(|value| value.to_str().expect("text"));
        assert_eq!(got, sent_as, "{path}");
    }
}

#[tokio::test]
async fn a_form_goes_on_with_its_boundary_and_nothing_else() {
    let setup = Setup::new();
    let form = part("model", "", "whisper") + &part("file", "; filename=\"a.wav\"", "RIFF") + "--XX--\r\n";
    let mut sent = request("POST", "/v1/audio/transcriptions", form.clone());
    let content_type = HeaderValue::from_static("multipart/form-data; charset=utf-7; boundary=\"XX\"");
    sent.headers_mut().insert("content-type", content_type);
    assert_eq!(setup.send(sent).await.status(), StatusCode::OK);
    let got = setup.one();
    assert_eq!(got.headers["content-type"], "multipart/form-data; boundary=XX");
    assert_eq!(got.body.as_deref(), Ok(form.as_bytes()));
}

#[tokio::test]
async fn a_query_cannot_say_what_the_body_decides() {
    let setup = Setup::new();
    let json = r#"{"model":"m","stream":false}"#;
    for (path, body) in [
        ("/v1/embeddings?model=payroll", json),
        ("/v1/embeddings?model=", json),
        ("/v1/embeddings?m%6fdel=payroll", json),
        ("/v1/embeddings?a=b&Model=payroll", json),
        ("/v1/embeddings?model%5B%5D=payroll", json),
        ("/v1/embeddings?+model=payroll", json),
        ("/v1/embeddings?model=m&model=payroll", json),
        ("/v1/embeddings?a;model=payroll", json),
        ("/v1/chat/completions?model=payroll", "{}"),
        ("/v1/chat/completions?stream=true", json),
        ("/v1/chat/completions?fallbacks=payroll", json),
        ("/v1/load_lora_adapter?lora_name=payroll", r#"{"lora_name":"m"}"#),
        ("/api/copy?destination=payroll", r#"{"source":"m"}"#),
        ("/openai/deployments/m/chat/completions?model=payroll", "{}"),
        ("/v2/models/m/infer?model=payroll", ""),
    ] {
        let sent = request("POST", path, body);
        let trail = trail_of(&sent);
        assert_eq!(setup.send(sent).await.status(), StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(trail.refusal(), Some(RefusalCode::InvalidRequest), "{path}");
    }
    let form = part("model", "", "m") + "--XX--\r\n";
    let mut sent = request("POST", "/v1/audio/transcriptions?model=payroll", form);
    sent.headers_mut().insert("content-type", HeaderValue::from_static(FORM));
    assert_eq!(setup.send(sent).await.status(), StatusCode::BAD_REQUEST);
    assert!(setup.got().is_empty());
    for (path, body) in [
        ("/v1/embeddings?model=m", json),
        ("/v1/embeddings?api-version=2025-01-01&models_of=x", json),
        ("/v1/chat/completions?stream=false", json),
        ("/openai/deployments/m/chat/completions?api-version=1&model=m", "{}"),
    ] {
        assert_eq!(setup.send(request("POST", path, body)).await.status(), StatusCode::OK, "{path}");
    }
    // Where nothing is read of the body, the query is all there is: what it names is judged.
    setup.send(request("POST", "/v1/files?model=payroll", "x")).await;
    assert_eq!(setup.got()[4].operation.model.as_deref(), Some("payroll"));
}

#[tokio::test]
async fn every_model_that_a_request_names_is_established() {
    for (path, body, others) in [
        ("/api/create", r#"{"model":"mine","from":"payroll"}"#, &["payroll"][..]),
        ("/api/create", r#"{"model":"mine","from":"mine"}"#, &[]),
        ("/api/copy", r#"{"source":"mine","destination":"payroll"}"#, &["payroll"]),
        ("/v1/load_lora_adapter", r#"{"lora_name":"a","lora_path":"org/payroll"}"#, &["org/payroll"]),
        (CHAT, r#"{"model":"m","fallbacks":["payroll"],"models":["a"]}"#, &["payroll", "a"]),
        (CHAT, r#"{"model":"m, payroll"}"#, &["m", "payroll"]),
        (CHAT, r#"{"model":"m"}"#, &[]),
    ] {
        let setup = Setup::new();
        assert_eq!(setup.send(request("POST", path, body)).await.status(), StatusCode::OK, "{path} {body}");
        let found = setup.one().operation.other_models;
        assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), others, "{path} {body}");
    }
    let setup = Setup::new();
    let sent = request("POST", "/api/create", r#"{"model":"mine","modelfile":"FROM payroll"}"#);
    let answer = setup.send(sent).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(json(answer).await["error"].as_str().is_some_and(|told| told.contains("`modelfile`")));
}

#[tokio::test]
async fn a_json_body_is_limited_in_size() {
    let setup = Setup::limited(Limits { json: 100, ..Limits::default() });
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
    let halves = long.as_bytes().split_at(60);
    for body in [
        Body::full(long.clone()),
        pieces(&[halves.0, halves.1], End::Ends),
        pieces(&[halves.0, halves.1], End::Hangs),
    ] {
        let sent = request("POST", CHAT, body);
        let trail = trail_of(&sent);
        let answer = setup.send(sent).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(json(answer).await["error"]["code"], "body_too_large");
        assert_eq!(trail.refusal(), Some(RefusalCode::BodyTooLarge));
    }
    assert!(setup.got().is_empty());
    let just = format!("{{\"a\":\"{}\"}}", "x".repeat(92));
    assert_eq!(just.len(), 100);
    assert_eq!(setup.send(request("POST", CHAT, just)).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_json_body_is_limited_in_time() {
    let setup = Setup::new();
    let started = tokio::time::Instant::now();
    let answer = setup.send(request("POST", CHAT, pieces(&[b"{"], End::Hangs))).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(started.elapsed().as_secs(), 30);
    assert!(setup.got().is_empty());
}

#[tokio::test]
async fn a_body_that_breaks_off_leaks_no_cause() {
    let setup = Setup::new();
    let answer = setup.send(request("POST", CHAT, pieces(&[b"{"], End::Breaks))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(!json(answer).await.to_string().contains("secret"));
}

#[tokio::test]
async fn other_bodies_stream_and_are_still_watched() {
    let setup = Setup::limited(Limits { stream: 10, json: 4, ..Limits::default() });
    let file = request("POST", "/v1/files", pieces(&[b"01234", b"56789"], End::Ends));
    assert_eq!(setup.send(file).await.status(), StatusCode::OK);
    let got = setup.one();
    assert!(!got.was_full, "it was not collected");
    assert_eq!(got.body.as_deref(), Ok(&b"0123456789"[..]));

    let long = request("POST", "/v1/files", pieces(&[b"01234", b"56789", b"x"], End::Ends));
    let trail = trail_of(&long);
    let answer = setup.send(long).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "whatever the inner service made of it");
    assert_eq!(trail.refusal(), Some(RefusalCode::BodyTooLarge));
    assert!(setup.got()[1].body.is_err(), "the rest was never handed on");
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_be_long_but_not_silent() {
    let setup = Setup::limited(Limits { wait: Duration::from_secs(5), ..Limits::default() });
    let answer = setup.send(request("POST", "/v1/files", pieces(&[b"begun"], End::Hangs))).await;
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
}

fn upload(body: impl Into<Body>) -> http::Request<Body> {
    let mut sent = request("POST", "/v1/audio/transcriptions", body);
    sent.headers_mut().insert("content-type", HeaderValue::from_static(FORM));
    sent
}

#[tokio::test]
async fn a_form_names_its_model_and_arrives_unchanged() {
    let setup = Setup::new();
    let file = part("file", "; filename=\"a.wav\"", &"x".repeat(5000));
    let model = part("model", "", "whisper-1");
    for form in [format!("{model}{file}--XX--\r\n"), format!("{file}{model}--XX--")] {
        let cut = form.as_bytes().chunks(700).collect::<Vec<_>>();
        assert_eq!(setup.send(upload(pieces(&cut, End::Ends))).await.status(), StatusCode::OK);
        let got = setup.got().pop().expect("it was handed on");
        assert_eq!(got.operation.model.as_deref(), Some("whisper-1"));
        assert_eq!(got.body.as_deref(), Ok(form.as_bytes()));
    }
}

#[tokio::test]
async fn a_second_model_far_behind_the_first_stops_the_request() {
    let setup = Setup::limited(Limits { json: 1000, ..Limits::default() });
    let form = format!(
        "{}{}{}--XX--\r\n",
        part("model", "", "allowed"),
        part("file", "; filename=\"a.wav\"", &"x".repeat(50_000)),
        part("model", "", "secret"),
    );
    let cut = form.as_bytes().chunks(1000).collect::<Vec<_>>();
    let answer = setup.send(upload(pieces(&cut, End::Ends))).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let got = setup.one();
    assert_eq!(got.operation.model.as_deref(), Some("allowed"));
    assert!(got.body.is_err(), "the upstream never sees the end of it");
}

#[tokio::test]
async fn a_form_that_hides_its_model_is_refused() {
    let setup = Setup::limited(Limits { json: 1000, ..Limits::default() });
    let late = part("file", "; filename=\"a.wav\"", &"x".repeat(5000)) + &part("model", "", "m") + "--XX--";
    let cut = late.as_bytes().chunks(500).collect::<Vec<_>>();
    let answer = setup.send(upload(pieces(&cut, End::Ends))).await;
    assert!(json(answer).await["error"]["message"].to_string().contains("before the file"));
    let unfinished = part("model", "", "m");
    assert_eq!(setup.send(upload(unfinished)).await.status(), StatusCode::BAD_REQUEST);
    let mut urlencoded = request("POST", "/v1/audio/transcriptions", "model=secret");
    urlencoded
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    assert_eq!(setup.send(urlencoded).await.status(), StatusCode::BAD_REQUEST);
    assert!(setup.got().is_empty());
}

#[tokio::test]
async fn nobody_serves_it() {
    let setup =
        Setup::with(&Config { upstreams: vec![UpstreamRule::new("a", &["llama*"])], ..Config::default() });
    let sent = request("POST", CHAT, r#"{"model":"gpt"}"#);
    let trail = trail_of(&sent);
    let answer = setup.send(sent).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(json(answer).await["error"]["code"], "not_found");
    assert_eq!(trail.refusal(), Some(RefusalCode::NotFound));
}

#[tokio::test]
async fn a_prefix_is_taken_off_before_the_upstream_sees_it() {
    let mut rule = UpstreamRule::new("a", &[]);
    rule.path_prefix = Some("/team-a".to_owned());
    let setup = Setup::with(&Config { upstreams: vec![rule], ..Config::default() });
    setup.send(request("POST", "/team-a/v1/chat/completions?x=1", r#"{"model":"m"}"#)).await;
    assert_eq!(setup.one().uri, "/v1/chat/completions?x=1");
}

#[tokio::test]
async fn it_fits_into_a_strangers_stack_without_a_trail() {
    let setup = Setup::new();
    let bare = http::Request::builder().method("POST").uri(CHAT).body(Body::full("{")).expect("a request");
    assert_eq!(setup.send(bare).await.status(), StatusCode::BAD_REQUEST);
}
