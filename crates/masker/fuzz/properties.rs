//! What must hold of any body, whoever makes it up: the fuzzer, or a test that replays what the fuzzer has found.

use std::sync::OnceLock;

use gatewayd_masker::format::{BodyKind, FormatError};
use gatewayd_masker::{Masker, Tier, rule};
use serde_json::Value;

/// A secret of which parts, repeated, make it anew.
pub(crate) const KNOWN: &[u8] = b"aabaabaab";
const RULE: &str = "[[rule]]\nid = \"r\"\nfamily = \"f\"\ndescription = \"d\"\nanchors = [\"AKI\"]\npattern = \"AKI[A-C]{2}\"\nleft = \"word\"";
/// A body may grow, but not beyond measure: a mask is longer than a short secret, and what is held is put out in a
/// document like the last one.
const GROWTH: usize = 64;
/// Members whose values are not text, or are written anew: what stands there need not stay as it is.
const REWRITTEN: [&str; 12] = [
    "token",
    "context",
    "bytes",
    "ids",
    "logprobs",
    "prefill",
    "prompt_tokens",
    "completion_prob",
    "_ids",
    "_bytes",
    "\\",
    "42",
];

fn few_rules() -> &'static Masker {
    static MASKER: OnceLock<Masker> = OnceLock::new();
    MASKER.get_or_init(|| {
        let rules = rule::parse(RULE).expect("the rule parses");
        Masker::builder().rules(rules).known_secret(KNOWN).build().expect("the rule compiles")
    })
}

fn all_rules() -> &'static Masker {
    static MASKER: OnceLock<Masker> = OnceLock::new();
    MASKER.get_or_init(|| {
        let all = [Tier::Default, Tier::Assignments];
        Masker::builder().tiers(all).known_secret(KNOWN).build().expect("the built-in rules compile")
    })
}

/// An input is a text behind the places where it is cut: their number, and then the length of each piece.
fn cut(input: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (&count, rest) = input.split_first().unwrap_or((&0, &[]));
    let (lengths, text) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let mut pieces = Vec::new();
    let mut left = text;
    for length in lengths {
        let (piece, more) = left.split_at(usize::from(*length).min(left.len()));
        pieces.push(piece);
        left = more;
    }
    pieces.push(left);
    (text, pieces)
}

fn shows(text: &[u8]) -> bool {
    text.windows(KNOWN.len()).any(|window| window == KNOWN)
}

fn run(kind: BodyKind, pieces: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    let mut body = few_rules().body(kind);
    let mut out = Vec::new();
    for piece in pieces {
        body.push_into(piece, &mut out)?;
    }
    out.extend(body.finish()?);
    Ok(out)
}

/// The output of a body, if it can be masked: the same however it is cut, without the secret, and of bounded length.
fn body(kind: BodyKind, input: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (text, pieces) = cut(input);
    let whole = run(kind, &[text]);
    assert_eq!(
        run(kind, &pieces),
        whole,
        "cut as {:?}",
        pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>()
    );
    assert_eq!(run(kind, &text.chunks(1).collect::<Vec<_>>()), whole, "byte by byte");
    let out = whole.ok()?;
    // Behind a backslash letters are part of something else.
    let is_plain = !text.contains(&b'\\');
    assert!(!(is_plain && shows(&out)), "the secret is shown: {}", String::from_utf8_lossy(&out));
    assert!(out.len() <= text.len() * GROWTH + 64, "{} bytes became {}", text.len(), out.len());
    Some((text, out))
}

/// A document without its texts: what of it has to stay byte for byte.
fn skeleton(document: &[u8]) -> Vec<u8> {
    let mut bones = Vec::new();
    let (mut inside, mut escaped) = (false, false);
    for byte in document {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => {
                inside = !inside;
                bones.push(b'"');
            }
            _ if inside => {}
            byte => bones.push(*byte),
        }
    }
    bones
}

/// Whether the text of a document is all that may change in it.
fn keeps_its_bones(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document);
    !REWRITTEN.iter().any(|name| text.contains(name))
}

/// All texts of a value, each behind its path: as a client puts them together that follows a stream.
fn texts(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Array(values) => {
            for (number, value) in values.iter().enumerate() {
                let place = value.get("index").and_then(Value::as_u64).unwrap_or(number as u64);
                texts(value, &format!("{path}[{place}]"), found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                texts(value, &format!("{path}.{name}"), found);
            }
        }
        _ => {}
    }
}

/// What a client reads that puts the parts of a chat's text together.
fn joined<'a>(documents: impl Iterator<Item = &'a [u8]>) -> String {
    let mut all = String::new();
    for document in documents {
        let Ok(value) = serde_json::from_slice::<Value>(document) else { continue };
        let mut found = Vec::new();
        texts(&value, "", &mut found);
        let delta =
            found.into_iter().find(|(path, _)| path == ".choices[0].delta.content" || path == ".response");
        all.extend(delta.map(|(_, text)| text));
    }
    all
}

/// The data of each event, as a browser reads it.
fn events(body: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(body).replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { continue };
        let value = match line.strip_prefix("data") {
            Some("") => Some(""),
            Some(rest) => rest.strip_prefix(':').map(|value| value.strip_prefix(' ').unwrap_or(value)),
            None => None,
        };
        if line.is_empty() {
            events.extend(data.take().map(String::into_bytes));
        } else if let Some(value) = value {
            data = Some(data.map_or_else(|| value.to_owned(), |data| data + "\n" + value));
        }
    }
    events
}

/// A plain text.
pub(crate) fn text(input: &[u8]) {
    let (text, pieces) = cut(input);
    let whole = all_rules().mask_with_events(text);
    let mut stream = all_rules().stream();
    let mut out = Vec::new();
    for piece in pieces {
        stream.push_into(piece, &mut out);
    }
    out.extend(stream.finish());
    assert_eq!((&out, stream.take_events()), (&whole.0, whole.1));
    assert!(!shows(&out));
}

/// One document.
pub(crate) fn json(input: &[u8]) {
    let Some((text, out)) = body(BodyKind::Json, input) else { return };
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
    let masked: Value = serde_json::from_slice(&out)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)));
    let mut found = Vec::new();
    texts(&masked, "", &mut found);
    assert!(!found.iter().any(|(_, text)| shows(text.as_bytes())));
    // A list of the chunks of a stream may be given another one.
    if !value.is_array() && keeps_its_bones(text) && keeps_its_bones(&out) {
        assert_eq!(String::from_utf8_lossy(&skeleton(&out)), String::from_utf8_lossy(&skeleton(text)));
    }
}

/// A stream of events.
pub(crate) fn sse(input: &[u8]) {
    let Some((text, out)) = body(BodyKind::Events, input) else { return };
    let (sent, got) = (events(text), events(&out));
    assert!(got.len() >= sent.len(), "{} events became {}", sent.len(), got.len());
    let chat = joined(got.iter().map(Vec::as_slice));
    assert!(!shows(chat.as_bytes()), "{chat}");
    let is_json = |event: &Vec<u8>| event == b"[DONE]" || serde_json::from_slice::<Value>(event).is_ok();
    // The last may have no end.
    if events(&[text, b"\n\n"].concat()).iter().all(is_json) {
        assert!(got.iter().all(is_json), "{}", String::from_utf8_lossy(&out));
    }
}

/// Documents, one a line.
pub(crate) fn lines(input: &[u8]) {
    let Some((text, out)) = body(BodyKind::Lines, input) else { return };
    // What looks like another kind of body is read as that.
    if text.starts_with(b"{") || text.starts_with(b"[") {
        let lines = |body: &[u8]| body.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines(&out) >= lines(text));
    }
    let text = joined(out.split(|byte| *byte == b'\n'));
    assert!(!shows(text.as_bytes()), "{text}");
}

/// A file of rules: it is read or refused, and a rule that compiles can be run.
pub(crate) fn rules(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(rules) = rule::parse(text) else { return };
    if rules.len() > 4 || rules.iter().any(|rule| rule.pattern.len() > 100) {
        return;
    }
    let Ok(masker) = Masker::builder().rules(rules.clone()).build() else { return };
    for text in rules.iter().flat_map(|rule| rule.positive.iter().chain(&rule.negative)) {
        let _ = masker.mask(text.as_bytes());
    }
}
