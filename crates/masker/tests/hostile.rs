//! What an upstream may send that is hostile, or careless: types that lie, encodings, depths, cuts, endings in the middle.

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
const KINDS: [BodyKind; 6] =
    [BodyKind::Json, BodyKind::Events, BodyKind::Lines, BodyKind::Text, BodyKind::Unknown, BodyKind::Binary];

fn masker() -> Masker {
    static MASKER: LazyLock<Masker> = LazyLock::new(|| {
        let rules = parse(
            "[[rule]]\nid = \"aws\"\nfamily = \"aws\"\ndescription = \"A key.\"\nanchors = [\"AKIA\"]\n\
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
fn mask(kind: BodyKind, body: &[u8]) -> Result<String, FormatError> {
    let whole = go(kind, &[body]);
    let bytes = go(kind, &body.chunks(1).collect::<Vec<_>>());
    assert_eq!(whole.is_err(), bytes.is_err(), "{kind:?}");
    let whole = whole?;
    assert!(whole == bytes?, "{kind:?}");
    Ok(String::from_utf8_lossy(&whole).into_owned())
}

fn chat(text: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {"content": text}}]})
}

/// What a client shows that puts the parts of a chat together, whatever stands around them.
fn content(out: &str) -> String {
    let parts = out.split("\"content\":\"").skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

#[test]
fn the_end_in_the_middle_ends_nothing() {
    let parts: Vec<String> =
        KEY.as_bytes().chunks(4).map(|c| chat(std::str::from_utf8(c).unwrap()).to_string()).collect();
    for between in [
        "data: [DONE]\n\n",
        "data:[DONE]\n\n",
        "data: \n\n",
        "\n\n\n",
        ": ping\n\n",
        "event: ping\n\n",
        "data: {}\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "retry: 1\nid: 5\n\n",
    ] {
        let body: String = parts.iter().map(|part| format!("data: {part}\n\n{between}")).collect();
        let out = content(&mask(BodyKind::Events, body.as_bytes()).unwrap());
        assert!(!out.contains(&KEY[..13]), "{between:?}: {out}");
    }
}

#[test]
fn lines_that_end_in_any_way() {
    for end in ["\n", "\r\n", "\r\r\n", " \n", "\n\n"] {
        let body: String = format!("{KEY}.")
            .as_bytes()
            .chunks(4)
            .map(|c| json!({"response": std::str::from_utf8(c).unwrap(), "done": false}).to_string() + end)
            .collect();
        let out = mask(BodyKind::Lines, body.as_bytes()).unwrap();
        let texts: String = out
            .lines()
            .filter_map(|line| {
                serde_json::from_str::<Value>(line).ok()?["response"].as_str().map(str::to_owned)
            })
            .collect();
        assert_eq!(texts, format!("{MASK}."), "{end:?}");
        assert_eq!(out.matches(end).count(), body.matches(end).count(), "{end:?}: {out:?}");
    }
}

#[test]
fn events_inside_of_strings_are_strings() {
    let inner = format!("data: {}\n\ndata: {}\n\n", chat(&KEY[..9]), chat(KEY));
    let body = json!({"log": inner, "x": [inner, {"y": inner}]}).to_string();
    for body in [body.clone(), format!("data: {body}\n\n"), format!("{body}\n")] {
        let out = mask(BodyKind::Unknown, body.as_bytes()).unwrap();
        assert!(!out.contains(KEY) && out.matches(MASK).count() == 3, "{out}");
    }
}

#[test]
fn parts_of_a_form_are_read_as_text() {
    let body = format!(
        "--x\r\nContent-Type: application/json\r\n\r\n{{\"a\":\"{KEY}\"}}\r\n--x\r\nContent-Disposition: form-data; name=\"{KEY}\"\r\n\r\n{KEY}\r\n--x--\r\n"
    );
    let kind = BodyKind::of(Some("multipart/form-data; boundary=x"));
    assert_eq!(mask(kind, body.as_bytes()).unwrap(), body.replace(KEY, MASK));
    let html =
        format!("<!doctype html><p title='{KEY}'>{KEY}</p><script>var a = {{\"k\":\"{KEY}\"}}</script>");
    assert_eq!(
        mask(BodyKind::of(Some("text/html; charset=utf-8")), html.as_bytes()).unwrap(),
        html.replace(KEY, MASK)
    );
    let form = format!("a=1&key={KEY}&b=2");
    let kind = BodyKind::of(Some("application/x-www-form-urlencoded"));
    assert_eq!(mask(kind, form.as_bytes()).unwrap(), form.replace(KEY, MASK));
}

#[test]
fn letters_that_take_more_than_a_byte_are_refused() {
    for said in [
        "application/json; charset=utf-16",
        "text/plain;charset=\"UTF-16LE\"",
        "text/html; charset=utf-32",
        "text/plain; charset=utf-7",
        "text/event-stream; charset=UCS-2",
    ] {
        assert_eq!(go(BodyKind::of(Some(said)), &[b"{}"]), Err(FormatError::Encoding), "{said}");
    }
    // Bytes that are no UTF-8 pass as they are, and nothing beside them is overlooked.
    for odd in [&b"\xc1\x81"[..], b"\xff", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let body = [b"{\"a\":\"", odd, b" ", KEY.as_bytes(), b"\",\"", odd, b"\":1}"].concat();
        let out = go(BodyKind::Json, &[&body]).unwrap();
        assert_eq!(out, [b"{\"a\":\"", odd, b" ", MASK.as_bytes(), b"\",\"", odd, b"\":1}"].concat());
        assert_eq!(go(BodyKind::Json, &body.chunks(1).collect::<Vec<_>>()).unwrap(), out);
    }
}

#[test]
fn depth_and_length_are_bounded() {
    for depth in [100, 255, 257, 500] {
        let body = format!("{}\"{KEY}.\"{}", "{\"a\":[".repeat(depth / 2), "]}".repeat(depth / 2));
        for kind in [BodyKind::Json, BodyKind::Events, BodyKind::Lines] {
            let sent = if kind == BodyKind::Events { format!("data: {body}\n\n") } else { body.clone() };
            assert_eq!(mask(kind, sent.as_bytes()).unwrap(), sent.replace(KEY, MASK), "{depth} {kind:?}");
        }
    }
    assert_eq!(go(BodyKind::Json, &["[".repeat(600).as_bytes()]), Err(FormatError::TooDeep));
    let name = "k".repeat(300_000);
    let body = format!("{{\"{name}\":\"{KEY}.\",\"{KEY}{}\":1,\"{name} {KEY}\":2}}", " ".repeat(1000));
    for kind in [BodyKind::Json, BodyKind::Lines] {
        let out = String::from_utf8(go(kind, &[body.as_bytes()]).unwrap()).unwrap();
        assert!(out == body.replace(KEY, MASK), "{kind:?}: {}", out.replace(&name, "kkk"));
    }
    let number = format!("{{\"n\":{}}}", "1".repeat(10_000));
    assert_eq!(go(BodyKind::Json, &[number.as_bytes()]), Err(FormatError::TooLong));
    let line = format!("data: {}", "x".repeat(17 << 20));
    assert_eq!(go(BodyKind::Events, &[line.as_bytes()]), Err(FormatError::TooLong));
    assert_eq!(
        go(BodyKind::Lines, &[format!("{{\"a\":\"{}", "x".repeat(17 << 20)).as_bytes()]),
        Err(FormatError::TooLong)
    );
}

#[test]
fn names_of_members_are_read_as_they_are_spelled() {
    let choices = "\\u0063hoices";
    let content_name = "c\\u006fntent";
    let parts: String = KEY
        .as_bytes()
        .chunks(5)
        .enumerate()
        .map(|(n, part)| {
            let part = std::str::from_utf8(part).unwrap();
            let (choices, name) = if n % 2 == 0 { (choices, content_name) } else { ("choices", "content") };
            format!("data: {{\"{choices}\":[{{\"delta\":{{\"{name}\":\"{part}\"}}}}]}}\n\n")
        })
        .collect();
    let out = mask(BodyKind::Events, parts.as_bytes()).unwrap();
    assert_eq!(content(&out), MASK);
    // A secret in a name, in its value, and in both.
    let body = format!("{{\"{KEY}\":{{\"a {KEY}\":\"{KEY}\"}},\"\\u0041{}\":1}}", &KEY[1..]);
    let out = mask(BodyKind::Json, body.as_bytes()).unwrap();
    assert_eq!(out, format!("{{\"{MASK}\":{{\"a {MASK}\":\"{MASK}\"}},\"{MASK}\":1}}"));
}

#[test]
fn one_document_that_ends_in_many_texts_is_not_made_up_for_each() {
    // Every text of a long event holds something back, and then all of them end.
    let members: Vec<String> = (0..900).map(|n| format!("\"m{n}\":\"x AKI\"")).collect();
    let filler = "x ".repeat(100_000);
    let event = format!("data: {{\"filler\":\"{filler}\",{}}}\n\n", members.join(","));
    let out = go(BodyKind::Events, &[event.as_bytes(), b"data: [DONE]\n\n"]).unwrap();
    assert!(out.len() < event.len() * 3, "{} became {}", event.len(), out.len());
    let documents: Vec<Value> = String::from_utf8(out)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    for n in [0, 450, 899] {
        let text: String = documents.iter().filter_map(|d| d[format!("m{n}")].as_str()).collect();
        assert_eq!(text, "x AKI");
    }
    // So also where each is said to end by itself.
    let choices: Vec<Value> = (0..900).map(|n| json!({"index": n, "delta": {"content": "x AKI"}})).collect();
    let ends: Vec<Value> = (0..900).map(|n| json!({"index": n, "finish_reason": "stop"})).collect();
    let first = format!("data: {}\n\n", json!({"filler": filler, "choices": choices}));
    let out = go(
        BodyKind::Events,
        &[first.as_bytes(), format!("data: {}\n\n", json!({"choices": ends})).as_bytes()],
    )
    .unwrap();
    assert!(out.len() < first.len() * 3, "{} became {}", first.len(), out.len());
}

#[test]
fn numbers_as_text_are_text_and_nothing_else_changes() {
    let clean =
        json!({"a": "123456789012", "b": "-1.5e10", "c": ["1", "2"], "d": {"1": "2"}, "e": "", "": ""})
            .to_string();
    for kind in KINDS {
        if kind != BodyKind::Binary {
            assert_eq!(mask(kind, clean.as_bytes()).unwrap(), clean, "{kind:?}");
        }
    }
    assert!(mask(BodyKind::Binary, clean.as_bytes()).is_err());
}

#[test]
fn an_empty_body_of_any_kind_is_empty() {
    for kind in KINDS {
        assert_eq!(mask(kind, b"").unwrap(), "", "{kind:?}");
        for body in [
            &b"\n"[..],
            b"\r",
            b"\r\n\r\n",
            b" ",
            b"\xef\xbb\xbf",
            b"\0",
            b"{",
            b"[",
            b"\"",
            b":",
            b"data",
            b"data:",
            b"data: ",
        ] {
            if let Ok(out) = mask(kind, body) {
                assert_eq!(out.as_bytes(), body, "{kind:?}");
            }
        }
    }
}
