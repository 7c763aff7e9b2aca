//! Where text hides: every dialect's texts, deltas and final copies, log-probabilities, tool arguments, keys.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that fails may panic"
)]

mod support;

use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{Masker, rule};
use serde_json::{Value, json};

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";

fn masker() -> Masker {
    let rules = rule::parse(
        r#"
[[rule]]
id = "aws"
family = "test"
description = "A fixed shape."
anchors = ["AKIA"]
pattern = "AKIA[A-Z2-7]{16}"
left = "word"
right = "word"
positive = ["AKIAZQ3DRSTUVWXY2345", "x AKIAZQ3DRSTUVWXY2345"]
negative = ["AKIA", "AKIAZQ"]

[[rule]]
id = "by-name"
family = "test"
description = "Behind its name."
anchors = ["secret_key"]
context = "secret_key[\"' ]{0,3}[:=][\"' ]{0,3}"
pattern = "[a-z0-9]{12}"
right = "word"
positive = ["secret_key=abcdefghijkl", "secret_key: 0123456789ab"]
negative = ["secret_key", "secret_key=1"]

[[rule]]
id = "pem"
family = "test"
description = "Over several lines."
anchors = ["-----BEGIN "]
pattern = "-----BEGIN KEY-----"
commit = "-----BEGIN KEY-----"
until = "-----END KEY-----"
positive = ["-----BEGIN KEY-----a-----END KEY-----", "-----BEGIN KEY-----"]
negative = ["-----BEGIN CERT", "-----BEGIN"]
"#,
    )
    .unwrap();
    Masker::builder().rules(rules).known_secret("hunter2-hunter2").build().unwrap()
}

/// All pieces of a body through the masker, checked to be the same however it is cut.
fn mask(kind: BodyKind, body: &[u8]) -> String {
    let run = |pieces: &[&[u8]]| {
        let mut stream = masker_once(|masker| masker.body(kind));
        let mut out = Vec::new();
        for piece in pieces {
            out.extend(stream.push(piece).unwrap());
        }
        out.extend(stream.finish().unwrap());
        String::from_utf8(out).unwrap()
    };
    let whole = run(&[body]);
    assert_eq!(run(&body.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
    let step = (body.len() / 200).max(1);
    for place in (0..body.len()).step_by(step) {
        let (left, right) = body.split_at(place);
        assert_eq!(run(&[left, right]), whole, "cut at {place}");
    }
    whole
}

fn masker_once<T>(use_it: impl FnOnce(&Masker) -> T) -> T {
    thread_local!(static MASKER: Masker = masker());
    MASKER.with(use_it)
}

fn events(documents: &[Value]) -> Vec<u8> {
    let mut body = String::new();
    for document in documents {
        body.push_str(&format!("data: {document}\n\n"));
    }
    body.push_str("data: [DONE]\n\n");
    body.into_bytes()
}

fn documents(body: &str) -> Vec<Value> {
    body.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}")))
        .collect()
}

/// The text at a path, put together over all documents.
fn joined(documents: &[Value], pointer: &str) -> String {
    documents.iter().filter_map(|document| document.pointer(pointer)?.as_str()).collect()
}

fn chat(index: u64, delta: Value, finish: Option<&str>) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
           "choices": [{"index": index, "delta": delta, "finish_reason": finish}]})
}

#[test]
fn a_chat_stream_one_byte_an_event() {
    let text = format!("The key is {KEY}, and {KEY}");
    let mut parts: Vec<Value> =
        text.chars().map(|c| chat(0, json!({"content": c.to_string()}), None)).collect();
    parts.push(chat(0, json!({}), Some("stop")));
    let out = mask(BodyKind::Events, &events(&parts));
    let out_documents = documents(&out);
    assert_eq!(
        joined(&out_documents, "/choices/0/delta/content"),
        "The key is [REDACTED:aws], and [REDACTED:aws]"
    );
    assert!(out.ends_with("data: [DONE]\n\n"));
    // The rest comes before the event that finishes the choice.
    assert_eq!(out_documents.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(out_documents.len() <= parts.len() + 1);
}

#[test]
fn clean_events_leave_byte_for_byte() {
    let body = "\u{feff}: comment\r\nevent: x\r\ndata: {\"choices\" : [ {\"delta\":{\"content\":\"h\\u0069 \\/ \\ud83d\\ude00\"}}]}\r\n\r\n\
                id: 7\rdata: {\"choices\":[{\"delta\":{\"content\":\"there.\"},\"n\":1.50e3}]}\r\rretry: 5\n\ndata\n\ndata:x\n\ndata: {\"a\":\ndata: \"b.\"}\n\n";
    assert_eq!(mask(BodyKind::Events, body.as_bytes()), body);
    assert_eq!(mask(BodyKind::Unknown, body.as_bytes()), body);
}

#[test]
fn choices_are_lanes_of_their_own() {
    let (left, right) = KEY.split_at(9);
    let parts = [
        chat(0, json!({"content": left}), None),
        chat(1, json!({"content": right}), None),
        chat(1, json!({"content": left}), None),
        chat(0, json!({"content": right}), None),
        chat(1, json!({}), Some("length")),
        chat(0, json!({}), Some("stop")),
    ];
    let out = documents(&mask(BodyKind::Events, &events(&parts)));
    let of = |index: u64| {
        let own: Vec<Value> = out.iter().filter(|d| d["choices"][0]["index"] == index).cloned().collect();
        joined(&own, "/choices/0/delta/content")
    };
    assert_eq!(of(0), "[REDACTED:aws]");
    assert_eq!(of(1), format!("{right}{left}"));
}

#[test]
fn what_is_held_goes_into_the_last_event_if_that_has_room() {
    let parts =
        [chat(0, json!({"content": "x AKIA"}), None), chat(0, json!({"content": "!AKI"}), Some("stop"))];
    let out = documents(&mask(BodyKind::Events, &events(&parts)));
    assert_eq!(out.len(), 2);
    assert_eq!(joined(&out, "/choices/0/delta/content"), "x AKIA!AKI");
}

#[test]
fn a_stream_that_breaks_off_gives_all_that_is_clean() {
    let body = format!("data: {}\n\n", chat(0, json!({"content": "end AKIA"}), None));
    let out = mask(BodyKind::Events, body.as_bytes());
    assert_eq!(joined(&documents(&out), "/choices/0/delta/content"), "end AKIA");
    assert_eq!(out.matches("data: ").count(), 2);
    let no_blank = body.trim_end();
    let out = mask(BodyKind::Events, no_blank.as_bytes());
    assert_eq!(joined(&documents(&out), "/choices/0/delta/content"), "end AKIA");
}

#[test]
fn every_text_of_a_delta_is_masked() {
    for member in ["content", "reasoning_content", "reasoning", "refusal", "something_new"] {
        let parts: Vec<Value> = KEY
            .as_bytes()
            .chunks(3)
            .map(|c| chat(0, json!({member: std::str::from_utf8(c).unwrap()}), None))
            .collect();
        let out = mask(BodyKind::Events, &events(&parts));
        assert_eq!(
            joined(&documents(&out), &format!("/choices/0/delta/{member}")),
            "[REDACTED:aws]",
            "{member}"
        );
    }
}

#[test]
fn tool_arguments_are_json_inside_json() {
    let arguments =
        json!({"text": format!("a\n{KEY}"), "secret_key": "abcdefghijkl", "e": "\u{1F600}\"\\"}).to_string();
    let escaped = arguments.replace("AKIA", "\\u0041K\\u0049A");
    for text in [arguments.clone(), escaped] {
        let parts: Vec<Value> = text
            .chars()
            .map(|c| {
                chat(
                    0,
                    json!({"tool_calls": [{"index": 1, "id": "call_1", "type": "function",
                        "function": {"name": "f", "arguments": c.to_string()}}]}),
                    None,
                )
            })
            .collect();
        let out = documents(&mask(BodyKind::Events, &events(&parts)));
        let got = joined(&out, "/choices/0/delta/tool_calls/0/function/arguments");
        let got: Value = serde_json::from_str(&got).unwrap_or_else(|error| panic!("{error}: {got}"));
        assert_eq!(got["text"], "a\n[REDACTED:aws]");
        assert_eq!(got["secret_key"], "[REDACTED:by-name]");
        assert_eq!(got["e"], "\u{1F600}\"\\");
    }
}

#[test]
fn a_key_in_many_lines_of_arguments() {
    let inner = json!({"file": "-----BEGIN KEY-----\nabc\ndef\n-----END KEY-----\nrest"}).to_string();
    let whole =
        json!({"choices": [{"message": {"tool_calls": [{"function": {"arguments": inner}}]}}]}).to_string();
    let out: Value = serde_json::from_str(&mask(BodyKind::Json, whole.as_bytes())).unwrap();
    let arguments = out["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments["file"], "[REDACTED:pem]\nrest");
}

#[test]
fn responses_deltas_and_their_final_copies() {
    let delta = |text: &str| {
        json!({"type": "response.output_text.delta", "item_id": "m1", "output_index": 0,
                                    "content_index": 0, "delta": text, "sequence_number": 1})
    };
    let mut parts = vec![json!({"type": "response.created", "response": {"instructions": "end in AKIA"}})];
    parts.extend(KEY.as_bytes().chunks(4).map(|c| delta(std::str::from_utf8(c).unwrap())));
    parts.push(delta(" AKI"));
    parts.push(
        json!({"type": "response.output_text.done", "item_id": "m1", "output_index": 0, "content_index": 0,
                      "text": format!("{KEY} AKI")}),
    );
    parts.push(
        json!({"type": "response.completed", "response": {"output": [{"content": [{"type": "output_text",
                      "text": format!("{KEY} AKI")}]}]}}),
    );
    let out = documents(&mask(BodyKind::Events, &events(&parts)));
    assert_eq!(out[0]["response"]["instructions"], "end in AKIA");
    assert_eq!(joined(&out, "/delta"), "[REDACTED:aws] AKI");
    assert_eq!(joined(&out, "/text"), "[REDACTED:aws] AKI");
    assert_eq!(joined(&out, "/response/output/0/content/0/text"), "[REDACTED:aws] AKI");
    let kinds: Vec<&str> = out.iter().map(|d| d["type"].as_str().unwrap()).collect();
    assert_eq!(
        &kinds[kinds.len() - 3..],
        ["response.output_text.delta", "response.output_text.done", "response.completed"]
    );
}

#[test]
fn anthropic_messages() {
    let body = format!(
        "event: message_start\ndata: {}\n\nevent: content_block_start\ndata: {}\n\n\
         event: content_block_delta\ndata: {}\n\nevent: content_block_delta\ndata: {}\n\n\
         event: content_block_stop\ndata: {}\n\nevent: message_stop\ndata: {}\n\n",
        json!({"type": "message_start", "message": {"id": "msg_AKIA", "content": []}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": &KEY[..3]}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": &KEY[3..]}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " AKI"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_stop"}),
    );
    let out = mask(BodyKind::Events, body.as_bytes());
    let parts = documents(&out);
    assert_eq!(joined(&parts, "/delta/text"), "[REDACTED:aws] AKI");
    assert_eq!(parts[0]["message"]["id"], "msg_AKIA");
    // The event that was made up has its name, and stands before the block's end.
    assert_eq!(out.matches("event: content_block_delta\n").count(), 3);
    assert!(out.rfind("content_block_delta").unwrap() < out.find("content_block_stop").unwrap());
}

#[test]
fn ollama_lines() {
    for (pointer, line) in [("/message/content", "message"), ("/response", "response")] {
        let of = |text: &str, done: bool| match line {
            "message" => {
                json!({"model": "m", "message": {"role": "assistant", "content": text}, "done": done})
            }
            _ => json!({"model": "m", "response": text, "done": done}),
        };
        let mut body = String::new();
        for c in format!("{KEY} AKI").chars() {
            body.push_str(&format!("{}\n", of(&c.to_string(), false)));
        }
        body.push_str(&format!("{}\n", of("", true)));
        for kind in [BodyKind::Lines, BodyKind::Unknown] {
            if kind == BodyKind::Unknown && line == "message" {
                continue;
            }
            let out = mask(BodyKind::Lines, body.as_bytes());
            let parts: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(joined(&parts, pointer), "[REDACTED:aws] AKI");
            assert_eq!(parts.last().unwrap()["done"], true);
        }
    }
}

#[test]
fn llama_cpp_and_text_generation_inference() {
    let mut parts: Vec<Value> =
        KEY.chars().map(|c| json!({"index": 0, "content": c.to_string(), "stop": false})).collect();
    parts.push(json!({"index": 0, "content": "", "stop": true}));
    assert_eq!(joined(&documents(&mask(BodyKind::Events, &events(&parts))), "/content"), "[REDACTED:aws]");
    let mut parts: Vec<Value> = KEY
        .chars()
        .map(|c| {
            json!({"index": 1, "token": {"id": 1, "text": c.to_string(), "logprob": -0.1, "special": false},
                        "generated_text": null})
        })
        .collect();
    parts.push(json!({"token": {"id": 2, "text": "", "special": true}, "generated_text": KEY}));
    let out = documents(&mask(BodyKind::Events, &events(&parts)));
    assert_eq!(joined(&out, "/generated_text"), "[REDACTED:aws]");
    assert!(!joined(&out, "/token/text").contains("ZQ3D"));
}

fn logprob(token: &str) -> Value {
    json!({"token": token, "logprob": -0.5, "bytes": token.as_bytes(),
           "top_logprobs": [{"token": token, "logprob": -0.5, "bytes": token.as_bytes()}]})
}

#[test]
fn log_probabilities_do_not_show_what_is_masked() {
    let tokens = ["The", " key", " AK", "IAZQ3D", "RSTUVWXY", "2345", ".", " Bye", "."];
    let mut parts: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut part = chat(0, json!({"content": token}), None);
            part["choices"][0]["logprobs"] = json!({"content": [logprob(token)], "refusal": null});
            part
        })
        .collect();
    parts.push(chat(0, json!({}), Some("stop")));
    let out = documents(&mask(BodyKind::Events, &events(&parts)));
    assert_eq!(joined(&out, "/choices/0/delta/content"), "The key [REDACTED:aws]. Bye.");
    let elements: Vec<Value> = out
        .iter()
        .filter_map(|d| d.pointer("/choices/0/logprobs/content")?.as_array())
        .flatten()
        .cloned()
        .collect();
    let shown: Vec<&str> = elements.iter().map(|e| e["token"].as_str().unwrap()).collect();
    assert_eq!(
        shown,
        ["The", " key", "[REDACTED]", "[REDACTED]", "[REDACTED]", "[REDACTED]", ".", " Bye", "."]
    );
    for element in &elements[2..6] {
        assert_eq!((&element["bytes"], &element["top_logprobs"]), (&json!([]), &json!([])));
    }
    assert_eq!(elements[7], logprob(" Bye"));
}

#[test]
fn log_probabilities_of_a_whole_answer() {
    let tokens = ["Key ", "AKIA", "ZQ3DRSTUVWXY2345", "!"];
    let body = json!({"choices": [{"message": {"content": tokens.concat()},
        "logprobs": {"content": tokens.iter().map(|t| logprob(t)).collect::<Vec<_>>()}, "finish_reason": "stop"}]});
    let out: Value = serde_json::from_str(&mask(BodyKind::Json, body.to_string().as_bytes())).unwrap();
    assert_eq!(out["choices"][0]["message"]["content"], "Key [REDACTED:aws]!");
    let list = out["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(list[0], logprob("Key "));
    assert_eq!(list[1]["token"], "[REDACTED]");
    assert_eq!(list[2]["bytes"], json!([]));
    assert_eq!(list[3], logprob("!"));
    let legacy = json!({"choices": [{"text": tokens.concat(), "logprobs": {"tokens": tokens,
        "token_logprobs": [-1, -1, -1, -1], "text_offset": [0, 4, 8, 24],
        "top_logprobs": [{"Key ": -1}, {"AKIA": -1}, {"ZQ3DRSTUVWXY2345": -1}, {"!": -1}]}}]});
    let out: Value = serde_json::from_str(&mask(BodyKind::Json, legacy.to_string().as_bytes())).unwrap();
    let logprobs = &out["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["Key ", "", "", "!"]));
    assert_eq!(logprobs["top_logprobs"], json!([{"Key ": -1}, null, null, {"!": -1}]));
}

#[test]
fn json_keeps_everything_else_byte_for_byte() {
    let body = format!(
        "{{ \"a\\u0041\" : [1.0e+5, -0, true , null, \"{KEY}\" ],\r\n\t\"{KEY}\": \"h\\u00e9 \\ud83d\\ude00 \\/\", \"n\": {{}}, \"x\":[] }}\n"
    );
    assert_eq!(mask(BodyKind::Json, body.as_bytes()), body.replace(KEY, "[REDACTED:aws]"));
}

#[test]
fn the_name_of_a_member_is_context_for_its_value() {
    let body = json!({"secret_key": "abcdefghijkl", "other": "abcdefghijkl"}).to_string();
    assert_eq!(
        mask(BodyKind::Json, body.as_bytes()),
        body.replacen("abcdefghijkl", "[REDACTED:by-name]", 1).replace(
            "\"other\":\"[REDACTED:by-name]\",\"secret_key\":\"abcdefghijkl\"",
            "\"other\":\"abcdefghijkl\",\"secret_key\":\"[REDACTED:by-name]\""
        )
    );
}

#[test]
fn escapes_hide_nothing() {
    for spelled in [
        r"\u0041KIAZQ3DRSTUVWXY2345",
        r"AKIA\u005aQ3DRSTUVWXY234\u0035",
        r"x\ud83d\u0020\u0041KIAZQ3DRSTUVWXY2345",
        r"h\u0075nter2-hunter2",
        r"\u0068\u0075\u006e\u0074\u0065\u0072\u0032\u002d\u0068\u0075\u006e\u0074\u0065\u0072\u0032",
    ] {
        let body = format!("{{\"text\":\"{spelled}\"}}");
        let out = mask(BodyKind::Json, body.as_bytes());
        assert!(out.contains("[REDACTED:"), "{spelled}: {out}");
    }
}

#[test]
fn what_is_no_json_is_masked_as_text() {
    for body in [
        format!("upstream error: {KEY}"),
        format!("{{\"a\": {KEY}}}"),
        format!("{{\"a\": 1}} trailing {KEY}"),
        format!("{{\"a\": \"{KEY}"),
        format!("[1,2 {KEY}"),
        format!("nul {KEY}"),
    ] {
        assert_eq!(mask(BodyKind::Json, body.as_bytes()), body.replace(KEY, "[REDACTED:aws]"));
        assert_eq!(mask(BodyKind::Unknown, body.as_bytes()), body.replace(KEY, "[REDACTED:aws]"));
    }
}

#[test]
fn a_byte_order_mark_hides_nothing() {
    for kind in [BodyKind::Json, BodyKind::Lines, BodyKind::Unknown] {
        let out = mask(kind, "\u{feff}{\"t\":\"\\u0041KIAZQ3DRSTUVWXY2345!\"}".as_bytes());
        assert_eq!(out, "\u{feff}{\"t\":\"[REDACTED:aws]!\"}", "{kind:?}");
    }
}

#[test]
fn broken_json_is_read_with_what_stands_before_it() {
    let out = mask(BodyKind::Json, b"{\"secret_key\": abcdefghijkl}");
    assert_eq!(out, "{\"secret_key\": [REDACTED:by-name]}");
}

#[test]
fn events_that_are_no_json_are_one_text() {
    let (left, right) = KEY.split_at(8);
    let body = format!("data: see {left}\n\ndata: {right} now\n\nevent: {KEY}\ndata: [DONE]\n\n");
    let expected = "data: see \n\ndata: [REDACTED:aws] now\n\nevent: [REDACTED:aws]\ndata: [DONE]\n\n";
    assert_eq!(mask(BodyKind::Events, body.as_bytes()), expected);
}

#[test]
fn an_error_event_is_masked() {
    let parts = [json!({"error": {"message": format!("bad key {KEY}"), "type": "x"}})];
    let out = mask(BodyKind::Events, &events(&parts));
    assert_eq!(documents(&out)[0]["error"]["message"], "bad key [REDACTED:aws]");
}

#[test]
fn two_documents_in_one_json_body() {
    let (left, right) = KEY.split_at(8);
    let body = format!("{{\"a\":1}}\n{{\"t\":\"{left}\"}}\n{{\"t\":\"{right}.\"}}\n");
    let out = mask(BodyKind::Json, body.as_bytes());
    assert_eq!(out, "{\"a\":1}\n{\"t\":\"\"}\n{\"t\":\"[REDACTED:aws].\"}\n");
}

#[test]
fn binary_keeps_its_length() {
    let body = format!("\u{1}\u{2}{KEY}\u{3} hunter2-hunter2");
    let out = mask(BodyKind::Binary, body.as_bytes());
    assert_eq!(out, format!("\u{1}\u{2}{}\u{3} {}", "*".repeat(20), "*".repeat(15)));
}

#[test]
fn events_say_where_without_saying_what() {
    let mut stream = masker().body(BodyKind::Json);
    stream.push(format!("{{\"m\":{{\"{KEY}\":\"x {KEY}\"}}}}").as_bytes()).unwrap();
    let events = stream.take_events();
    assert_eq!(events.len(), 2);
    assert_eq!((events[1].offset, events[1].length, &*events[1].rule), (2, 20, "aws"));
    assert!(!format!("{events:?}").contains("AKIA"));
}
