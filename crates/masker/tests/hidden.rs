//! Where else text hides: lists that are streams, numbers, tensors, second members of one name, what is nearly JSON.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
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
const MASK: &str = "[REDACTED:aws]";
const KNOWN: &str = "hunter2-hunter2-x";

fn masker() -> Masker {
    static MASKER: LazyLock<Masker> = LazyLock::new(|| {
        let rules = parse(
            "[[rule]]\nid = \"aws\"\nfamily = \"aws\"\ndescription = \"A key.\"\nanchors = [\"AKIA\"]\n\
             pattern = \"AKIA[A-Z2-7]{16}\"\nleft = \"word\"\nright = \"word\"",
        );
        Masker::builder().rules(rules.unwrap()).known_secret(KNOWN).build().unwrap()
    });
    MASKER.clone()
}

fn go(kind: BodyKind, pieces: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    bodies::push(&masker(), kind, pieces)
}

/// Masks a body in one piece, byte by byte and cut in two, which must all be the same.
fn mask(kind: BodyKind, body: &[u8]) -> Vec<u8> {
    let whole = go(kind, &[body]).unwrap();
    let bytes = go(kind, &body.chunks(1).collect::<Vec<_>>()).unwrap();
    assert_eq!(String::from_utf8_lossy(&whole), String::from_utf8_lossy(&bytes), "{kind:?}");
    for at in (0..body.len()).step_by((body.len() / 50).max(1)) {
        let (left, right) = body.split_at(at);
        assert_eq!(go(kind, &[left, right]).unwrap(), whole, "{kind:?} cut at {at}");
    }
    whole
}

fn json_of(body: &str) -> Value {
    let out = mask(BodyKind::Json, body.as_bytes());
    serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
}

fn gemini(text: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}],
           "usageMetadata": {"promptTokenCount": 5}, "modelVersion": "gemini-x"})
}

fn texts(list: &Value, pointer: &str) -> String {
    list.as_array().unwrap().iter().filter_map(|element| element.pointer(pointer)?.as_str()).collect()
}

#[test]
fn a_list_of_chunks_is_a_stream() {
    let text = format!("see {KEY} and {KNOWN}, then AKI");
    for length in [1, 3, 7] {
        for (open, between, close) in [("[", ",", "]"), ("[", ",\r\n", "\n]\n"), (" [ ", " , ", " ] ")] {
            let parts: Vec<String> = text
                .as_bytes()
                .chunks(length)
                .map(|part| gemini(std::str::from_utf8(part).unwrap()).to_string())
                .collect();
            let out = json_of(&format!("{open}{}{close}", parts.join(between)));
            let got = texts(&out, "/candidates/0/content/parts/0/text");
            assert_eq!(got, format!("see {MASK} and [REDACTED:known-secret], then AKI"));
            let elements = out.as_array().unwrap().len();
            assert!((parts.len()..=parts.len() + 1).contains(&elements));
        }
    }
    // So is one that breaks off.
    let parts = format!("[{},\n{}", gemini("AKIAZQ3D"), gemini("RSTUVWXY2345 AKI"));
    let out = String::from_utf8(mask(BodyKind::Json, parts.as_bytes())).unwrap();
    let got = texts(&serde_json::from_str(&format!("{out}]")).unwrap(), "/candidates/0/content/parts/0/text");
    assert_eq!(got, format!("{MASK} AKI"));
}

#[test]
fn a_list_of_another_dialect_is_a_stream_too() {
    type Make = fn(&str) -> Value;
    let makes: [(&str, Make); 4] = [
        ("/choices/0/delta/content", |t| json!({"choices": [{"index": 0, "delta": {"content": t}}]})),
        ("/response", |t| json!({"model": "m", "response": t, "done": false})),
        ("/token/text", |t| json!({"token": {"id": 5, "text": t}, "generated_text": null})),
        ("/delta", |t| json!({"type": "response.output_text.delta", "delta": t})),
    ];
    for (pointer, make) in makes {
        let parts = [&KEY[..7], &KEY[7..14], &KEY[14..], "."].map(make);
        let out = json_of(&Value::from(parts.to_vec()).to_string());
        assert_eq!(texts(&out, pointer), format!("{MASK}."), "{pointer}");
    }
}

#[test]
fn a_chunk_of_a_list_leaves_when_it_is_complete() {
    let mut body = masker().body(BodyKind::Json);
    let first = body.push(format!("[{}", gemini("Hello.")).as_bytes()).unwrap();
    assert_eq!(first, format!("[{}", gemini("Hello.")).as_bytes());
    assert_eq!(body.push(b",\n").unwrap(), b",\n");
    let second = body.push(gemini("you A").to_string().as_bytes()).unwrap();
    assert_eq!(second, gemini("you ").to_string().as_bytes());
}

#[test]
fn records_of_a_list_keep_what_is_theirs() {
    // A text of a record never moves into the next one.
    let clean = json!([{"note": "ends in AKI"}, {"note": "A begins"}, {"n": 1, "note": "x"}, "AKI", ["A"]])
        .to_string();
    assert_eq!(mask(BodyKind::Json, clean.as_bytes()), clean.as_bytes());
    let tasks =
        json!([{"title": "Plan A", "done": false, "token": "x A"}, {"title": "Plan B", "done": true}])
            .to_string();
    assert_eq!(mask(BodyKind::Json, tasks.as_bytes()), tasks.as_bytes());
    // And is masked by itself, however long the record.
    for filler in [10, 100_000] {
        let body =
            json!([{"f": "x ".repeat(filler), "note": KEY, "n": 1.5}, {"note": KEY, "tokens": [5, 6]}]);
        let out = json_of(&body.to_string());
        assert_eq!(out[0]["note"], MASK);
        assert_eq!(out[1], json!({"note": MASK, "tokens": []}));
        assert_eq!(out[0]["f"], body[0]["f"]);
    }
}

#[test]
fn numbers_that_are_bytes_are_masked() {
    let bytes = |text: &str| Value::from(text.as_bytes().to_vec());
    let spelled = format!("x {KEY}.");
    let starred =
        json!(spelled.bytes().map(|b| if KEY.as_bytes().contains(&b) { 42 } else { b }).collect::<Vec<_>>());
    for body in [
        json!({"data": bytes(&spelled)}),
        json!({"a": {"output": [0.5, bytes(&spelled)]}}),
        json!({"outputs": [{"name": "t", "datatype": "UINT8", "shape": [23], "data": bytes(&spelled)}]}),
        json!([bytes(&spelled), 1]),
    ] {
        let text = body.to_string();
        let wanted = text.replace(&bytes(&spelled).to_string(), &starred.to_string());
        for text in [text.clone(), text.replace(',', " ,\n ")] {
            let out = String::from_utf8(mask(BodyKind::Json, text.as_bytes())).unwrap();
            let out: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
            assert_eq!(out.to_string(), wanted);
        }
        let event = mask(BodyKind::Events, format!("data: {text}\n\n").as_bytes());
        assert_eq!(String::from_utf8(event).unwrap(), format!("data: {wanted}\n\n"));
        let record = mask(BodyKind::Json, format!("[{text}]").as_bytes());
        assert_eq!(String::from_utf8(record).unwrap(), format!("[{wanted}]"));
    }
    // As fractions, and between other numbers.
    let fractions: Vec<String> = KNOWN.bytes().map(|byte| format!("{byte}.0")).collect();
    let text = format!("{{\"d\":[1e3,-5,{},300]}}", fractions.join(","));
    let out = String::from_utf8(mask(BodyKind::Json, text.as_bytes())).unwrap();
    assert_eq!(out, format!("{{\"d\":[1e3,-5,{},300]}}", vec!["42"; KNOWN.len()].join(",")));
    // Other numbers stay, byte for byte.
    let clean = "{\"shape\":[1, 384 ],\"ready\":[true,null],\"v\":[0.25,1,2,3,4,5,6,7,-8],\"e\":[],\"b\":[72,101,108,108,111,33,33]}";
    assert_eq!(mask(BodyKind::Json, clean.as_bytes()), clean.as_bytes());
}

#[test]
fn the_number_of_a_token_is_not_shown_alone_either() {
    let body = "{\"token_id\": 107,\"x\":{\"token\":{\"id\":107,\"text\":\"Hi.\"}},\"t\":[{\"token_id\":107}],\"n\":8}";
    let wanted =
        "{\"token_id\": 0,\"x\":{\"token\":{\"id\":0,\"text\":\"Hi.\"}},\"t\":[{\"token_id\":0}],\"n\":8}";
    assert_eq!(String::from_utf8(mask(BodyKind::Json, body.as_bytes())).unwrap(), wanted);
}

#[test]
fn of_two_members_with_one_name_both_are_masked() {
    let delta = |first: &str, last: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":{first:?},\"role\":\"a\",\"content\":{last:?}}}}}]}}\n\n"
        )
    };
    let text = format!("the key is {KEY}, keep it.");
    for decoy in ["", "x", "AKIA", ". "] {
        for length in [3, 5] {
            let pieces = text.as_bytes().chunks(length).map(|part| std::str::from_utf8(part).unwrap());
            let body: String = pieces.map(|part| delta(decoy, part)).collect();
            let out = String::from_utf8(mask(BodyKind::Events, body.as_bytes())).unwrap();
            // As serde and browsers read it.
            let last: String = out
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
                .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
                .collect();
            assert_eq!(last, format!("the key is {MASK}, keep it."), "{decoy}");
        }
    }
    let whole = format!(
        "{{\"t\":\"{KEY}\",\"t\":\"b\",\"\\u0074\":\"{KEY}\",\"o\":{{\"x\":\"{KEY}\"}},\"o\":{{\"x\":\"c\"}}}}"
    );
    let out = String::from_utf8(mask(BodyKind::Json, whole.as_bytes())).unwrap();
    assert_eq!(out, whole.replace(KEY, MASK));
    // A great many are no trouble.
    let many: String = (0..5_000).map(|n| format!("\"m{}\":\"{KEY}\",", n % 2500)).collect();
    let event = format!("data: {{{many}\"z\":1}}\n\n");
    let out = go(BodyKind::Events, &[event.as_bytes()]);
    assert!(out.is_err() || !String::from_utf8(out.unwrap()).unwrap().contains(KEY));
}

#[test]
fn what_is_nearly_json_is_read_with_its_escapes() {
    let escaped: String = KEY.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    for body in [
        format!("{{'a': '{escaped}'}}"),
        format!("{{a: \"{escaped}\"}}"),
        format!("{{\"a\": 1, /* x */ \"b\": \"{escaped}\"}}"),
        format!("{{\"a\": 1,}} {escaped}"),
        format!("[1, +Inf, \"{escaped}\"]"),
        format!("{{\"a\": undefined, \"b\": \"x {escaped}\"}}"),
    ] {
        for kind in [BodyKind::Json, BodyKind::Unknown] {
            let out = String::from_utf8(mask(kind, body.as_bytes())).unwrap();
            assert_eq!(out, body.replace(&escaped, MASK), "{kind:?}");
        }
        let out = mask(BodyKind::Events, format!("data: {body}\n\n").as_bytes());
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains(MASK) && !out.contains(&escaped), "{out}");
    }
    // What such a text has as it is, is found as it is.
    let body = format!("{{a: {KEY}, b: C:\\new\\u {KEY} {KNOWN}");
    let out = String::from_utf8(mask(BodyKind::Json, body.as_bytes())).unwrap();
    assert!(!out.contains("AKIA") && !out.contains("hunter"), "{out}");
}

#[test]
fn tensors_of_text_in_json() {
    let body = json!({"model_name": "m", "outputs": [
        {"name": "text", "shape": [2], "datatype": "BYTES", "data": [format!("a {KEY}"), KNOWN],
         "parameters": {"note": KEY}}]});
    let out = json_of(&body.to_string());
    assert_eq!(out["outputs"][0]["data"], json!([format!("a {MASK}"), "[REDACTED:known-secret]"]));
    assert_eq!(out["outputs"][0]["parameters"]["note"], MASK);
}

#[test]
fn tensors_behind_a_head_keep_every_length() {
    let escaped: String = KEY.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let text = format!("the key {KEY}!");
    let head = format!(
        "{{\"outputs\":[{{\"name\":\"t\",\"datatype\":\"BYTES\",\"shape\":[1],\"parameters\":{{\"binary_data_size\":{},\"x\":\"{escaped}\"}}}}],\"note\":\"{KEY}\"}}",
        text.len() + 4
    );
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let body = [head.as_bytes(), &length, text.as_bytes()].concat();
    let out = mask(BodyKind::Tensors(head.len()), &body);
    assert_eq!(out.len(), body.len());
    let (new_head, raw) = out.split_at(head.len());
    let parsed: Value = serde_json::from_slice(new_head).unwrap();
    assert_eq!(parsed["note"], "*".repeat(KEY.len()));
    assert_eq!(parsed["outputs"][0]["parameters"]["x"], "*".repeat(KEY.len()));
    assert_eq!(raw, [&length[..], text.replace(KEY, &"*".repeat(KEY.len())).as_bytes()].concat());
    // A head that is cut off, is none, or tells of no tensors is refused.
    for (length, body) in [(head.len() + 99, body.clone()), (0, body), (2, b"{}\n{\"a\":1}".to_vec())] {
        assert_eq!(go(BodyKind::Tensors(length), &[&body]), Err(FormatError::Malformed));
    }
}

#[test]
fn what_is_packed_is_not_called_text() {
    for kind in [BodyKind::Json, BodyKind::Text, BodyKind::Events, BodyKind::Lines] {
        for packed in [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], b"\x28\xb5\x2f\xfd\x04\x58\x11\0"] {
            assert_eq!(go(kind, &[packed]), Err(FormatError::Encoding));
            assert_eq!(go(kind, &packed.chunks(1).collect::<Vec<_>>()), Err(FormatError::Encoding));
        }
    }
}

#[test]
fn every_other_dialect_has_its_texts_masked() {
    type Make = fn(&str) -> Value;
    let makes: [(&str, Make); 10] = [
        ("/choices/0/text", |t| json!({"object": "text_completion", "choices": [{"index": 0, "text": t}]})),
        (
            "/choices/0/delta/audio/transcript",
            |t| json!({"choices": [{"delta": {"audio": {"id": "a", "transcript": t}}}]}),
        ),
        (
            "/delta",
            |t| json!({"type": "response.audio_transcript.delta", "response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0, "delta": t}),
        ),
        (
            "/delta",
            |t| json!({"type": "response.function_call_arguments.delta", "item_id": "i", "output_index": 0, "delta": t}),
        ),
        (
            "/delta",
            |t| json!({"type": "response.reasoning_summary_text.delta", "item_id": "i", "summary_index": 0, "delta": t}),
        ),
        (
            "/delta/thinking",
            |t| json!({"type": "content_block_delta", "index": 1, "delta": {"type": "thinking_delta", "thinking": t}}),
        ),
        (
            "/delta/partial_json",
            |t| json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": t}}),
        ),
        (
            "/message/thinking",
            |t| json!({"model": "m", "message": {"role": "assistant", "thinking": t}, "done": false}),
        ),
        (
            "/choices/0/delta/function_call/arguments",
            |t| json!({"choices": [{"index": 0, "delta": {"function_call": {"arguments": t}}}]}),
        ),
        (
            "/token/text",
            |t| json!({"index": 2, "token": {"id": 5, "text": t, "logprob": -0.5, "special": false}, "generated_text": null, "details": null}),
        ),
    ];
    for (pointer, make) in makes {
        let pieces = [&KEY[..6], &KEY[6..11], &KEY[11..], " done."];
        for kind in [BodyKind::Events, BodyKind::Lines] {
            let body: String = pieces
                .iter()
                .map(|piece| {
                    if kind == BodyKind::Events {
                        format!("data: {}\n\n", make(piece))
                    } else {
                        format!("{}\n", make(piece))
                    }
                })
                .collect();
            let out = String::from_utf8(mask(kind, body.as_bytes())).unwrap();
            let got: String = out
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line.trim_start_matches("data: ")).ok())
                .filter_map(|event| Some(event.pointer(pointer)?.as_str()?.to_owned()))
                .collect();
            assert_eq!(got, format!("{MASK} done."), "{pointer} {kind:?}: {out}");
        }
    }
    let transcription = json!({"task": "transcribe", "text": format!("say {KEY}"), "segments": [{"id": 0, "text": KEY, "tokens": [50364, 2425]}],
                               "words": [{"word": KEY, "start": 0.0}]});
    let out = json_of(&transcription.to_string());
    assert_eq!(out["text"], format!("say {MASK}"));
    assert_eq!(out["segments"][0]["text"], MASK);
    assert_eq!(out["segments"][0]["tokens"], json!([]));
    assert_eq!(out["words"][0]["word"], MASK);
}

#[test]
fn a_text_that_goes_on_with_the_same_letters() {
    let line = |name: &str, part: &str| format!("{{\"x\":1,\"{name}\":\"{part}\"}}\n");
    let masker = Masker::builder().rules([]).known_secret("aabaabaab").build().unwrap();
    for name in ["response", "name", "status"] {
        for first in ["", ":x\n", "id: 5\n\n"] {
            for kind in [BodyKind::Lines, BodyKind::Json, BodyKind::Events] {
                let mut body = masker.body(kind);
                let text = first.to_owned()
                    + &line("a", "x")
                    + &["b", "aab", "aab", "aab", "!"].map(|part| line(name, part)).concat();
                let mut out = body.push(text.as_bytes()).unwrap();
                out.extend(body.finish().unwrap());
                let out = String::from_utf8(out).unwrap();
                assert!(out.matches("\"aab\"").count() < 3, "{kind:?} {name} {first}: {out}");
            }
        }
    }
}

#[test]
fn a_name_that_was_masked_says_nothing_of_its_value() {
    // However late the rest of the name comes.
    let body = format!("{{\"{KNOWN} \\u0061logprobs\":{{\"a\":\"b\"}},\"{KNOWN} logprobs\":[1,2,\"x\"]}}");
    let out = mask(BodyKind::Json, body.as_bytes());
    assert_eq!(String::from_utf8(out).unwrap(), body.replace(KNOWN, "[REDACTED:known-secret]"));
}

#[test]
fn an_event_with_lines_that_end_differently_stays_one() {
    let body = format!("data: {{\"a\":\"{KEY}.\",\rdata: \"b\":\"c.\"}}\n\ndata: {{\"a\":\"d.\"}}\n\n");
    let out = String::from_utf8(mask(BodyKind::Events, body.as_bytes())).unwrap();
    assert_eq!(
        out,
        format!("data: {{\"a\":\"{MASK}.\",\rdata: \"b\":\"c.\"}}\r\n\ndata: {{\"a\":\"d.\"}}\n\n")
    );
}

#[test]
fn a_long_name_is_masked_like_a_short_one() {
    let body = format!("{{\"{KEY}{}\":1,\"{}{KNOWN}\":\"{KEY}\"}}", " ".repeat(300), "x".repeat(300));
    let out = String::from_utf8(mask(BodyKind::Json, body.as_bytes())).unwrap();
    assert_eq!(out, body.replace(KEY, MASK).replace(KNOWN, "[REDACTED:known-secret]"));
}

#[test]
fn a_piece_that_ends_with_a_line_does_not_swallow_the_next() {
    let body = format!("data: {{\"a\":\"x.\"}}\r\n\ndata: {{\"a\":\"{KEY}.\"}}\r\n\n");
    let wanted = body.replace(KEY, MASK);
    for at in 0..body.len() {
        let (left, right) = body.as_bytes().split_at(at);
        assert_eq!(String::from_utf8(go(BodyKind::Events, &[left, right]).unwrap()).unwrap(), wanted, "{at}");
    }
}
