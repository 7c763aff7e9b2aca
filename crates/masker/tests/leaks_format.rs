//! What hid secrets from the readers of formats once: each test is a way past them that was found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails may panic"
)]

mod support;

use std::sync::LazyLock;

use gatewayd_masker::Masker;
use gatewayd_masker::format::{BodyKind, FormatError};
use gatewayd_masker::rule::parse;
use serde_json::{Value, json};
use support::bodies;

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";

fn masker() -> Masker {
    static MASKER: LazyLock<Masker> = LazyLock::new(|| {
        let rules = parse(
            "[[rule]]\nid = \"aws-access-key-id\"\nfamily = \"aws\"\ndescription = \"A key.\"\nanchors = [\"AKIA\"]\n\
             pattern = \"AKIA[A-Z2-7]{16}\"\nleft = \"word\"\nright = \"word\"",
        );
        Masker::builder().rules(rules.unwrap()).known_secret("hunter2-hunter2-x").build().unwrap()
    });
    MASKER.clone()
}

fn go(kind: BodyKind, pieces: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    bodies::push(&masker(), kind, pieces)
}

/// Masks a body in one piece and byte by byte, which must be the same.
fn mask(kind: BodyKind, body: &str) -> String {
    let whole = go(kind, &[body.as_bytes()]).unwrap();
    let bytes = go(kind, &body.as_bytes().chunks(1).collect::<Vec<_>>()).unwrap();
    assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&bytes), "{kind:?}");
    String::from_utf8(whole).unwrap()
}

/// Everything a client could put together: the body without the signs between texts.
fn shows(out: &str) -> bool {
    out.contains(KEY) || out.contains(&KEY[..12])
}

fn events(parts: &[Value]) -> String {
    parts.iter().map(|part| format!("data: {part}\n\n")).collect()
}

fn documents(out: &str) -> Vec<Value> {
    out.lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// All strings, in order, below members of a name.
fn strings(value: &Value, name: &str) -> String {
    fn all(value: &Value, name: &str, below: bool, out: &mut String) {
        match value {
            Value::String(text) if below => out.push_str(text),
            Value::Array(values) => values.iter().for_each(|value| all(value, name, below, out)),
            Value::Object(members) => {
                members.iter().for_each(|(key, value)| all(value, name, below || key == name, out));
            }
            _ => {}
        }
    }
    let mut out = String::new();
    all(value, name, false, &mut out);
    out
}

fn streamed(out: &str, name: &str) -> String {
    documents(out).iter().map(|document| strings(document, name)).collect()
}

fn pieces(length: usize) -> Vec<String> {
    let text = format!("the key is {KEY}, keep it.");
    text.as_bytes().chunks(length).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
}

#[test]
fn the_numbers_of_tokens_are_never_shown() {
    let llama = json!({"index": 0, "content": "Hi.", "tokens": [107, 8422, 77], "stop": true}).to_string();
    for kind in [BodyKind::Json, BodyKind::Events, BodyKind::Lines] {
        for body in [
            llama.clone(),
            json!({"choices": [{"text": "Hi.", "token_ids": [107, 8422], "prompt_token_ids": [107]}]}).to_string(),
            json!({"choices": [{"delta": {"content": "Hi.", "token_ids": [[107], [8422]]}}]}).to_string(),
            json!({"response": "Hi.", "context": [107, 8422]}).to_string(),
            json!({"text": "Hi.", "output_ids": [107]}).to_string(),
            "{\"content\":\"Hi.\",\"t\\u006fkens\" : [ 107 , 8422.0, 1e3 ]}".to_owned(),
            json!({"content": "Hi.", "bytes": [107, 65]}).to_string(),
            json!({"content": "Hi.", "tokens": [107, "a."]}).to_string(),
            json!({"choices": [{"logprobs": {"content": [{"token": "token_id:107", "logprob": -1.5}]}}]}).to_string(),
            json!({"choices": [{"logprobs": {"tokens": ["token_id:107"], "top_logprobs": [{"token_id:107": -1.5}]}}]})
                .to_string(),
            json!({"choices": [{"logprobs": {"tokens": ["a"], "token_ids": [107]}}]}).to_string(),
            json!({"choices": [{"prompt_logprobs": [null, {"107": {"logprob": -1.5, "decoded_token": "Hi."}}]}]})
                .to_string(),
        ] {
            let sent = if kind == BodyKind::Events { format!("data: {body}\n\n") } else { body.clone() };
            let out = mask(kind, &sent);
            assert!(!out.contains("107") && !out.contains("8422"), "{kind:?} {body} -> {out}");
            let document = out.trim_end().lines().next_back().map_or("", |line| line.trim_start_matches("data:"));
            serde_json::from_str::<Value>(document).unwrap_or_else(|error| panic!("{error}: {out}"));
        }
    }
    let token =
        json!({"index": 1, "token": {"id": 107, "text": "Hi.", "logprob": -0.5}, "generated_text": null});
    assert!(!mask(BodyKind::Events, &events(&[token])).contains("107"));
    // Numbers that are no tokens stay.
    let embedding = json!({"data": [{"embedding": [0.5, 1, -2]}], "usage": {"prompt_tokens": 5}}).to_string();
    assert_eq!(mask(BodyKind::Json, &embedding), embedding);
    // The caller asked for the tokens of a text of theirs: there is no other text in the answer.
    for tokenized in [
        json!({"tokens": [107, 8422]}).to_string(),
        "{\"count\":2,\"max_model_len\":4096,\"tokens\":[107,8422],\"token_strs\":null}".to_owned(),
    ] {
        assert_eq!(mask(BodyKind::Json, &tokenized), tokenized);
    }
    let first = "{\"tokens\":[107,8422],\"content\":\"Hi.\"}";
    assert_eq!(mask(BodyKind::Json, first), "{\"tokens\":[],\"content\":\"Hi.\"}");
}

#[test]
fn every_list_of_tokens_is_one_text() {
    let tokens = pieces(3);
    let with = |make: &dyn Fn(&String) -> Value| tokens.iter().map(make).collect::<Vec<_>>();
    let plain = with(&|t| json!({"token": t, "logprob": -0.5}));
    let mut odd_first = plain.clone();
    odd_first.insert(0, json!({"t": 1}));
    let chat = |list: Vec<Value>| json!({"choices": [{"logprobs": {"content": list}}]});
    for body in [
        chat(plain.clone()),
        chat(with(&|t| json!({"token": t, "bytes": []}))),
        chat(with(&|t| json!({"token": t, "bytes": [120]}))),
        chat(with(&|t| json!({"token": t, "bytes": [null]}))),
        chat(with(&|t| json!({"token": "x", "bytes": t.as_bytes()}))),
        chat(with(&|t| json!({"token": "x", "text": t}))),
        chat(odd_first),
        chat(with(&|t| json!(t))),
        chat(with(&|t| json!([-0.5, 12, t]))),
        json!({"choices": [{"prompt_logprobs": with(&|t| json!({"12": {"decoded_token": t}}))}]}),
        json!({"choices": [{"prompt_logprobs": with(&|t| json!({"decoded_token": t}))}]}),
        json!({"generated_text": "x", "details": {"tokens": with(&|t| json!({"id": 1, "text": t}))}}),
        json!({"choices": [{"top_logprobs": plain}]}),
        json!({"choices": [{"message": {"tokens": tokens}}]}),
        json!({"choices": [{"logprobs": {"tokens": tokens, "pieces": tokens}}]}),
        json!({"choices": [{"logprobs": {"top_logprobs": with(&|t| json!({t: -1}))}}]}),
        json!({"meta_info": {"output_token_logprobs": with(&|t| json!([-0.5, 12, t]))}}),
    ] {
        for kind in [BodyKind::Json, BodyKind::Events] {
            let text = body.to_string();
            let out =
                mask(kind, &if kind == BodyKind::Json { text } else { events(std::slice::from_ref(&body)) });
            let value: Value = match kind {
                BodyKind::Json => serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}")),
                _ => documents(&out).into(),
            };
            assert!(!shows(&everything(&value)), "{kind:?}: {body} -> {out}");
        }
    }
    // What is cut off in the middle, or is no JSON, shows nothing.
    let cut = "{\"choices\":[{\"logprobs\":{\"content\":[{\"token\":\"AKIAZQ3\"},{\"token\":\"DRSTUVWXY2345\"},{\"token";
    assert!(!mask(BodyKind::Json, cut).contains("DRSTUV"));
    let odd = format!("{cut}\":'x'}}]}}}}]}}");
    assert!(!mask(BodyKind::Json, &odd).contains("DRSTUV"));
}

/// All that a document says: names, strings, and numbers as bytes.
fn everything(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number
            .as_u64()
            .and_then(|n| u8::try_from(n).ok())
            .filter(|n| *n > 31)
            .map_or_else(String::new, |n| char::from(n).into()),
        Value::Array(values) => values.iter().map(everything).collect(),
        Value::Object(members) => members
            .iter()
            .map(
                |(name, value)| {
                    if name.len() < 4 { format!("{name}{}", everything(value)) } else { everything(value) }
                },
            )
            .collect(),
        _ => String::new(),
    }
}

#[test]
fn a_text_that_is_said_to_end_goes_on() {
    type Make = fn(usize, &str) -> Value;
    let makes: [(&str, Make); 23] = [
        ("content", |_, p| json!({"choices": [{"index": 0, "delta": {"content": p}, "finish_reason": ""}]})),
        ("content", |_, p| json!({"choices": [{"index": 0, "delta": {"content": p}, "stop_reason": ""}]})),
        (
            "content",
            |_, p| json!({"choices": [{"index": 0, "delta": {"content": p}, "finish_reason": "stop"}]}),
        ),
        ("content", |_, p| json!({"error": {}, "choices": [{"index": 0, "delta": {"content": p}}]})),
        ("content", |_, p| json!({"error": "", "choices": [{"index": 0, "delta": {"content": p}}]})),
        ("text", |_, p| json!({"generated_text": "", "token": {"text": p}})),
        ("content", |_, p| json!({"message": {"content": p}, "done": true})),
        ("content", |_, p| json!({"content": p, "stop": true})),
        (
            "delta",
            |n, p| json!({"type": "response.output_text.delta", "item_id": n, "output_index": 0, "delta": p}),
        ),
        ("delta", |_, p| json!({"type": "response.custom", "delta": p})),
        ("delta", |_, p| json!({"type": "response.custom.done", "delta": p})),
        ("text", |_, p| json!({"type": "x.done", "text": p})),
        ("text", |_, p| json!({"type": "response.x", "text": p})),
        ("name", |_, p| json!({"choices": [{"delta": {"name": p}}]})),
        ("status", |_, p| json!({"status": p})),
        ("details", |_, p| json!({"details": {"note": p}})),
        ("content", |n, p| match n % 3 {
            0 => json!({"choices": [{"index": 0, "delta": {"content": p}}]}),
            1 => json!({"choices": [{"index": 0.0, "delta": {"content": p}}]}),
            _ => json!({"choices": [{"index": -0.0, "delta": {"content": p}}]}),
        }),
        ("content", |n, p| match n % 3 {
            0 => json!({"choices": [{"index": 0, "delta": {"content": p}}]}),
            1 => json!({"choices": [{"index": null, "delta": {"content": p}}]}),
            _ => json!({"choices": [{"delta": {"content": p}}]}),
        }),
        ("content", |n, p| match n % 2 {
            0 => json!({"index": 0, "content": p}),
            _ => json!({"content": p}),
        }),
        ("delta", |n, p| match n % 2 {
            0 => {
                json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": p})
            }
            _ => json!({"type": "response.output_text.delta", "delta": p}),
        }),
        (
            "token",
            |_, p| json!({"choices": [{"index": 0, "logprobs": {"content": [{"token": p}]}, "finish_reason": "stop"}]}),
        ),
        (
            "tokens",
            |_, p| json!({"choices": [{"index": 0, "logprobs": {"tokens": [p]}, "finish_reason": "stop"}]}),
        ),
        ("content", |n, p| match n % 2 {
            0 => json!({"choices": [{"index": 0, "delta": {"content": p}}]}),
            _ => json!({"choices": [{"index": "0", "delta": {"content": p}}]}),
        }),
    ];
    for (number, (name, make)) in makes.into_iter().enumerate() {
        for length in [3, 5, 9] {
            let parts: Vec<Value> =
                pieces(length).iter().enumerate().map(|(n, piece)| make(n, piece)).collect();
            let out = mask(BodyKind::Events, &events(&parts));
            assert!(!shows(&streamed(&out, name)), "{number} {name} {length}: {out}");
            let lines: String = parts.iter().map(|part| format!("{part}\n")).collect();
            let out = mask(BodyKind::Lines, &lines);
            let out: String = out.lines().map(|line| format!("data: {line}\n\n")).collect();
            assert!(!shows(&streamed(&out, name)), "lines {number} {name} {length}: {out}");
        }
    }
    // Other events between the parts.
    for between in [
        json!({"error": {"message": "x"}}),
        json!({"type": "error"}),
        json!({"done": true}),
        json!({"type": "response.output_text.done", "output_index": 0, "text": "x."}),
    ] {
        let part = |p: &String| {
            if between["text"].is_null() {
                json!({"choices": [{"index": 0, "delta": {"content": p}}]})
            } else {
                json!({"type": "response.output_text.delta", "output_index": 0, "delta": p})
            }
        };
        let parts: Vec<Value> = pieces(5).iter().flat_map(|p| [part(p), between.clone()]).collect();
        let out = mask(BodyKind::Events, &events(&parts));
        assert!(!shows(&(streamed(&out, "content") + &streamed(&out, "delta"))), "{between}: {out}");
    }
    // Of two members with one name clients take the last.
    let parts: String = pieces(5)
        .iter()
        .enumerate()
        .map(|(n, p)| {
            format!(
                "data: {{\"choices\":[{{\"index\":{n},\"index\":0,\"delta\":{{\"content\":{p:?}}}}}]}}\n\n"
            )
        })
        .collect();
    let out = mask(BodyKind::Events, &parts);
    assert!(!shows(&streamed(&out, "content")), "{out}");
}

#[test]
fn what_clients_accept_is_read() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let digits = "1".repeat(3000);
    let chunk =
        |extra: &str, p: &str| format!("{{{extra}\"choices\":[{{\"delta\":{{\"content\":{p:?}}}}}]}}");
    let extras = [
        "\"x\":NaN,".to_owned(),
        "\"x\":-Infinity,".to_owned(),
        format!("\"x\":{},", deep(130)),
        format!("\"x\":{},", deep(250)),
        format!("\"x\":{},", deep(3000)),
        format!("\"x\":0.{digits},"),
        "/* x */".to_owned(),
        "x:1,".to_owned(),
    ];
    for extra in &extras {
        for length in [3, 5] {
            let body: String =
                pieces(length).iter().map(|p| format!("data: {}\n\n", chunk(extra, p))).collect();
            let out = mask(BodyKind::Events, &body);
            let text: String =
                out.split("\"content\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
            assert_eq!(text, "the key is [REDACTED:aws-access-key-id], keep it.", "{}: {out}", &extra[..6]);
        }
    }
    let parts: Vec<String> = pieces(5).iter().map(|p| chunk("", p)).collect();
    let content = |out: &str| -> String {
        out.split("\"content\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    };
    for (kind, body) in [
        (BodyKind::Events, parts.iter().map(|part| format!("data: {part}\n")).collect::<String>() + "\n"),
        (BodyKind::Events, format!("data: {}\n\n", parts.concat())),
        (BodyKind::Events, format!("data: [{}]\n\n", parts.join(","))),
        (BodyKind::Lines, parts.concat()),
        (BodyKind::Lines, parts.iter().map(|part| format!("[{part}]\n")).collect()),
        (BodyKind::Lines, parts.iter().map(|part| format!("\u{1e}{part}\n")).collect()),
        (BodyKind::Json, parts.iter().map(|part| format!("\u{1e}{part}\n")).collect()),
        (BodyKind::Json, format!("{{}}{}", parts.concat())),
        (BodyKind::Json, parts.iter().map(|part| format!("[{part}]\n")).collect()),
    ] {
        let out = mask(kind, &body);
        assert_eq!(
            content(&out),
            "the key is [REDACTED:aws-access-key-id], keep it.",
            "{kind:?} {body}: {out}"
        );
    }
    // Numbers and names outside of the grammar do not end the reading of a document.
    let escaped: String = KEY.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    for extra in ["NaN", "-Infinity", &digits, &deep(500)] {
        let out = mask(BodyKind::Json, &format!("{{\"x\":{extra},\"t\":\"{escaped}\"}}"));
        assert!(out.ends_with("\"t\":\"[REDACTED:aws-access-key-id]\"}"), "{out}");
    }
    // Deeper than can be followed: refused.
    assert!(go(BodyKind::Json, &[deep(600).as_bytes()]).is_err());
    // The numbers of tokens in what is no JSON.
    let out = mask(BodyKind::Lines, "{x:1,\"content\":\"Hi.\",\"tokens\":[107,8422]}\n");
    assert!(!out.contains("8422"), "{out}");
}

#[test]
fn a_body_is_what_it_is_and_not_what_it_is_called() {
    let types = [
        "application/octet-stream",
        "text/plain",
        "application/json",
        "*/*",
        "json",
        "text/x-event-stream",
        "application/x-ldjson",
        "multipart/mixed; boundary=x",
        "application/x-ndjson",
        "TEXT/EVENT-STREAM",
        "",
        "application/grpc",
        "image/png",
    ];
    let chunks: Vec<String> =
        pieces(5).iter().map(|p| json!({"choices": [{"delta": {"content": p}}]}).to_string()).collect();
    let stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let lines: String =
        "{\"n\":1}\n".to_owned() + &chunks.iter().map(|chunk| format!("{chunk}\n")).collect::<String>();
    let escaped: String = format!("x {KEY}").chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let escaped = format!("{{\"content\":\"{escaped}\"}}");
    let content = |out: &str| -> String {
        out.split("\"content\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    };
    for name in types {
        let kind = BodyKind::of(Some(name));
        for body in [
            stream.clone(),
            format!("\n\n{stream}"),
            format!("foo: 1\n{stream}"),
            format!("data\n\n{stream}"),
            format!("\u{feff}{stream}"),
            format!("data: {{}}\n\n{stream}"),
            lines.clone(),
            format!("\n{lines}"),
            escaped.clone(),
            format!("{}{escaped}", " ".repeat(20)),
        ] {
            let Ok(out) = go(kind, &[body.as_bytes()]) else {
                assert_eq!(kind, BodyKind::Binary, "{name}");
                continue;
            };
            let bytes = go(kind, &body.as_bytes().chunks(1).collect::<Vec<_>>()).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.as_bytes(), bytes, "{name}");
            let masked = content(&out);
            assert!(masked.contains("[REDACTED:aws-access-key-id]"), "{name}: {body} -> {out}");
        }
    }
    for first in ["{}\n", "[]\n", "{\"a\":1}\n\n"] {
        let out = mask(BodyKind::Events, &format!("{first}{stream}"));
        assert!(content(&out).contains("[REDACTED:aws-access-key-id]"), "{out}");
    }
    assert!(mask(BodyKind::Events, &escaped).contains("[REDACTED:aws-access-key-id]"));
    // What is called binary and is keeps its length.
    let png = format!("\u{7f}PNG\r\n\u{1a}\n {KEY} ");
    assert_eq!(mask(BodyKind::of(Some("image/png")), &png).len(), png.len());
    assert_eq!(mask(BodyKind::of(Some("application/octet-stream")), &png).len(), png.len());
    // Wide letters are refused.
    let wide: Vec<u8> = format!("key {KEY}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [&b"\xff\xfe"[..], &wide].concat();
    for kind in ["text/plain; charset=utf-16", "application/json", "", "text/plain", "text/event-stream"] {
        for body in [&wide, &marked] {
            assert_eq!(go(BodyKind::of(Some(kind)), &[body]), Err(FormatError::Encoding), "{kind}");
        }
    }
}

#[test]
fn tokens_beside_a_part_of_a_letter_are_hidden() {
    let masker = Masker::builder().rules([]).known_secret("pass/wo+rd=😀x").build().unwrap();
    for part in ["�", "bytes:\\\\xf0\\\\x9f"] {
        let text = format!(
            r#"{{"choices":[{{"text":"a pass/wo+rd=😀x","logprobs":{{"tokens":["a ","pass/","wo+rd=","{part}"],"top_logprobs":[{{"a ":-1}},{{"pass/":-1}},{{"wo+rd=":-1}},{{"{part}":-1}}]}}}}]}}"#
        );
        let mut body = masker.body(BodyKind::Json);
        let mut out = body.push(text.as_bytes()).unwrap();
        out.extend(body.finish().unwrap());
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("pass/") && !out.contains("wo+rd"), "{out}");
    }
}
