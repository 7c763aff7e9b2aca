//! Streams whose numbers count, whose texts change their names, and what is made up for what is left of them.

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
use serde_json::{Value, json};
use support::bodies;

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";
const MASK: &str = "[REDACTED:aws-access-key-id]";

fn masker() -> Masker {
    static MASKER: LazyLock<Masker> =
        LazyLock::new(|| Masker::builder().known_secret("hunter2-Zq9-horse").build().unwrap());
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

fn events(parts: &[Value]) -> String {
    parts.iter().map(|part| format!("data: {part}\n\n")).collect()
}

fn documents(out: &str) -> Vec<Value> {
    let data = out.lines().filter_map(|line| line.strip_prefix("data:"));
    data.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn stream(parts: &[Value]) -> Vec<Value> {
    documents(&mask(BodyKind::Events, &events(parts)))
}

/// What a client puts together that looks at one place of each document.
fn joined(documents: &[Value], place: &str) -> String {
    documents.iter().filter_map(|document| document.pointer(place)?.as_str()).collect()
}

fn pieces(text: &str, length: usize) -> Vec<String> {
    text.as_bytes().chunks(length).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
}

#[test]
fn a_number_that_counts_events_tells_no_texts_apart() {
    type Make = fn(usize, &str) -> Value;
    let dialects: [(&str, Make); 8] = [
        ("/token/text", |i, t| json!({"index": i, "token": {"id": i, "text": t, "logprob": -0.1}})),
        ("/text", |i, t| json!({"index": i, "text": t})),
        ("/content", |i, t| json!({"index": i, "content": t, "stop": false})),
        (
            "/delta/text",
            |i, t| json!({"type": "content_block_delta", "index": i, "delta": {"type": "text_delta", "text": t}}),
        ),
        ("/delta", |i, t| json!({"type": "response.output_text.delta", "output_index": i, "delta": t})),
        ("/data/text", |i, t| json!({"data": {"index": i, "text": t}})),
        (
            "/choices/0/delta/content",
            |i, t| json!({"choices": [{"index": 0, "delta": {"index": i, "content": t}}]}),
        ),
        ("/text", |i, t| json!({"index": format!("n{i}"), "text": t})),
    ];
    let text = format!("{KEY} is the key, {KEY} and hunter2-Zq9-horse.");
    let expected = format!("{MASK} is the key, {MASK} and [REDACTED:known-secret].");
    for (place, make) in dialects {
        for first in [0, 1] {
            for length in [1, 4, 7] {
                let parts: Vec<Value> =
                    pieces(&text, length).iter().enumerate().map(|(i, t)| make(i + first, t)).collect();
                let out = stream(&parts);
                assert_eq!(joined(&out, place), expected, "{} by {length}", parts[0]);
            }
        }
    }
    // More of them than texts may be open.
    let many: Vec<Value> = (0..3000).map(|i| json!({"index": i, "token": {"text": "A"}})).collect();
    assert_eq!(joined(&stream(&many), "/token/text"), "A".repeat(3000));
}

#[test]
fn a_number_that_comes_back_tells_texts_apart() {
    let texts = [format!("one {KEY}, A"), format!("two hunter2-Zq9-horse, {KEY} B"), format!("{KEY}!")];
    for length in [3, 5] {
        let mut parts = Vec::new();
        // Each is well begun before the next is.
        for index in 0..texts.len() {
            parts.push(json!({"index": index, "content": "-- ", "stop": false}));
        }
        let split: Vec<_> = texts.iter().map(|text| pieces(text, length)).collect();
        for number in 0..20 {
            for (index, pieces) in split.iter().enumerate() {
                if let Some(piece) = pieces.get(number) {
                    parts.push(json!({"index": index, "content": piece, "stop": false}));
                }
            }
        }
        let out = stream(&parts);
        for (index, text) in texts.iter().enumerate() {
            let own: Vec<Value> = out.iter().filter(|part| part["index"] == index).cloned().collect();
            let expected = String::from_utf8(masker().mask(format!("-- {text}").as_bytes())).unwrap();
            assert_eq!(joined(&own, "/content"), expected);
        }
    }
    // What was begun under a number before another came is seen when it comes back.
    let (left, right) = KEY.split_at(9);
    let parts = [
        json!({"index": 0, "text": left}),
        json!({"index": 1, "text": "x"}),
        json!({"index": 0, "text": right}),
    ];
    let out = stream(&parts);
    assert!(!joined(&out[2..], "/text").contains(&right[1..]), "{out:?}");
}

#[test]
fn blocks_that_begin_and_end_are_texts_of_their_own() {
    let start = |i: usize| json!({"type": "content_block_start", "index": i, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}});
    let delta = |i: usize, t: &str| json!({"type": "content_block_delta", "index": i, "delta": {"type": "input_json_delta", "partial_json": t}});
    let stop = |i: usize| json!({"type": "content_block_stop", "index": i});
    for parts in [
        vec![start(0), delta(0, "{\"a\":\"A"), stop(0), start(1), delta(1, "{\"b\":1}"), stop(1)],
        vec![start(0), delta(0, "{\"a\":\"A"), stop(0), delta(1, "{\"b\":1}"), stop(1)],
        vec![start(0), start(1), delta(0, "{\"a\":\"A"), delta(1, "{\"b\":1}"), stop(0), stop(1)],
    ] {
        let out = stream(&parts);
        let own = |i: usize| out.iter().filter(|part| part["index"] == i).cloned().collect::<Vec<_>>();
        assert_eq!(joined(&own(0), "/delta/partial_json"), "{\"a\":\"A", "{out:?}");
        assert_eq!(joined(&own(1), "/delta/partial_json"), "{\"b\":1}", "{out:?}");
    }
}

#[test]
fn a_text_that_begins_in_a_message_goes_on_in_deltas() {
    let (left, right) = KEY.split_at(9);
    let parts = [
        json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": format!("see {left}")}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": format!("{right}.")}}]}),
    ];
    let out = stream(&parts);
    let text = joined(&out, "/choices/0/message/content") + &joined(&out, "/choices/0/delta/content");
    assert_eq!(text, format!("see {MASK}."));
    // A copy of all of it behind its parts, or beside one, begins anew.
    let parts = [
        json!({"choices": [{"index": 0, "delta": {"content": "I am A"}}]}),
        json!({"choices": [{"index": 0, "message": {"content": "I am A"}, "finish_reason": "stop"}]}),
    ];
    let out = stream(&parts);
    assert_eq!(joined(&out, "/choices/0/delta/content"), "I am A", "{out:?}");
    assert_eq!(joined(&out, "/choices/0/message/content"), "I am A", "{out:?}");
    let parts = [
        json!({"choices": [{"index": 0, "message": {"content": "I am A"}, "delta": {"content": " B"}}]}),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ];
    let out = stream(&parts);
    assert_eq!(joined(&out, "/choices/0/delta/content"), " B", "{out:?}");
    assert_eq!(joined(&out, "/choices/0/message/content"), "I am A", "{out:?}");
}

/// The documents that a stream is given, and the one that is made up behind the first of them.
fn made_up(first: &Value, last: &Value) -> Value {
    let out = stream(&[first.clone(), last.clone()]);
    assert_eq!(out.len(), 3, "{out:?}");
    out[1].clone()
}

#[test]
fn what_is_made_up_says_nothing_twice() {
    let call = json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"q\":\"A"}});
    let first = json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "usage": {"t": 5}, "choices": [
        {"index": 1, "delta": {"role": "assistant", "content": "other"}, "finish_reason": null},
        {"index": 0, "delta": {"role": "assistant", "content": "text ", "n": 3, "tool_calls": [call]}, "finish_reason": null},
    ]});
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let expected = json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [
        {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "A"}}]}, "finish_reason": null},
    ]});
    assert_eq!(made_up(&first, &last), expected);
    // Without numbers the place tells.
    let first = json!({"choices": [{"text": "x "}, {"text": "a"}, {"text": "y "}], "usage": {"t": 5}});
    let last =
        json!({"choices": [{"finish_reason": "stop"}, {"finish_reason": "stop"}, {"finish_reason": "stop"}]});
    assert_eq!(made_up(&first, &last), json!({"choices": [{}, {"text": "a"}]}));
    // What clients of a dialect cannot do without stays.
    let first = json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "m", "output_index": 1,
        "content_index": 0, "delta": "I am A", "logprobs": [], "obfuscation": "xyz"});
    let last = json!({"type": "response.output_text.done", "item_id": "m", "output_index": 1, "content_index": 0, "text": "I am A"});
    let expected = json!({"type": "response.output_text.delta", "sequence_number": 4, "item_id": "m", "output_index": 1,
        "content_index": 0, "delta": "A"});
    assert_eq!(made_up(&first, &last), expected);
    let first =
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "I am A"}});
    let last = json!({"type": "content_block_stop", "index": 2});
    let expected =
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "A"}});
    assert_eq!(made_up(&first, &last), expected);
    let first = json!({"model": "m", "created_at": "now", "message": {"role": "assistant", "content": "I am A"}, "eval_count": 4, "done": false});
    let last = json!({"model": "m", "message": {"role": "assistant"}, "done": true});
    let expected = json!({"model": "m", "created_at": "now", "message": {"content": "A"}, "done": false});
    assert_eq!(made_up(&first, &last), expected);
}

#[test]
fn nothing_is_made_up_for_a_text_that_is_out() {
    let out = mask(BodyKind::Json, "{\"a\":\"x\"} {\"b\":\"hunter2-Zq9-horse\"}");
    assert_eq!(out, "{\"a\":\"x\"} {\"b\":\"[REDACTED:known-secret]\"}");
    let parts = [json!({"text": "hunter2-Zq9-horse"}), json!({"done": true})];
    assert_eq!(stream(&parts), [json!({"text": "[REDACTED:known-secret]"}), json!({"done": true})]);
}
