//! Random documents and streams: the structure stays, every text is masked as it would be by itself, and nothing
//! depends on how the body was cut.

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

use gatewayd_masker::Masker;
use gatewayd_masker::format::{BodyKind, FormatError};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const SECRETS: [&str; 4] = ["aabaab", "abcabcabc", "abc0ab", "baaaaaaa"];

fn masker() -> Masker {
    let rules = support::rules().into_iter().filter(|rule| rule.context.is_none());
    Masker::builder().rules(rules).known_secret("aabaab").known_secret("abcabcabc").build().unwrap()
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[abc0 ]{1,4}",
        1 => prop::sample::select(SECRETS.to_vec()).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["\"", "\\", "\n", "\u{1}", "é", "\u{1F600}", "/", "c.", ".c", "<<b", "b>>"]).prop_map(str::to_owned),
    ];
    // Never first: a text that begins like JSON is read as JSON.
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => texts().prop_map(Value::from),
        1 => any::<i32>().prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!(true), json!(1.5e10)]),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..4)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Spells a document with blanks and needless escapes, where `whims` says so.
fn spell(document: &str, whims: &[bool]) -> String {
    let mut whims = whims.iter().copied().cycle();
    let mut whim = || whims.next().unwrap_or_default();
    let mut out = String::new();
    let (mut inside, mut escaped) = (false, 0);
    for c in document.chars() {
        match c {
            c if escaped > 0 => {
                escaped = if c == 'u' && escaped == 1 { 4 } else { escaped - 1 };
                out.push(c);
            }
            '\\' if inside => {
                escaped = 1;
                out.push(c);
            }
            '"' => {
                inside = !inside;
                out.push(c);
            }
            c if inside && whim() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            ',' | ':' | '{' if !inside && whim() => {
                out.push(c);
                out.push_str(" \n");
            }
            c => out.push(c),
        }
    }
    out
}

fn expected(masker: &Masker, value: &Value) -> Value {
    let mask = |text: &str| String::from_utf8(masker.mask(text.as_bytes())).unwrap();
    match value {
        Value::String(text) => mask(text).into(),
        Value::Array(values) => values.iter().map(|value| expected(masker, value)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (mask(key), expected(masker, value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

fn run(masker: &Masker, kind: BodyKind, pieces: &[&[u8]]) -> String {
    let mut body = masker.body(kind);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(body.push(piece).unwrap());
    }
    out.extend(body.finish().unwrap());
    String::from_utf8(out).unwrap()
}

thread_local!(static MASKER: Masker = masker());

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn each_text_of_a_document_is_masked_and_nothing_else(
        value in values(),
        whims in prop::collection::vec(any::<bool>(), 1..40),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        // The texts of records in a list are watched for going on from one to the next.
        let value = match value {
            Value::Array(list) if list.iter().any(Value::is_object) => json!({"list": list}),
            value => value,
        };
        MASKER.with(|masker| -> Result<(), TestCaseError> {
            let document = spell(&value.to_string(), &whims);
            let whole = run(masker, BodyKind::Json, &[document.as_bytes()]);
            prop_assert_eq!(&run(masker, BodyKind::Json, &support::cut(document.as_bytes(), &cuts)), &whole);
            prop_assert_eq!(&run(masker, BodyKind::Json, &document.as_bytes().chunks(1).collect::<Vec<_>>()), &whole);
            let wanted = expected(masker, &value);
            let got: Value = serde_json::from_str(&whole).map_err(|error| TestCaseError::fail(format!("{error}: {whole}")))?;
            prop_assert_eq!(&got, &wanted, "{} -> {}", document, whole);
            if wanted == value {
                prop_assert_eq!(whole, document);
            }
            Ok(())
        })?;
    }

    #[test]
    fn each_choice_of_a_stream_is_masked_as_its_whole_text(
        texts in prop::collection::vec(texts(), 1..4),
        order in prop::collection::vec((any::<usize>(), 1usize..5), 1..40),
        whims in prop::collection::vec(any::<bool>(), 1..40),
        endings in prop::collection::vec(prop::sample::select(vec!["\n", "\r\n", "\r"]), 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
        finished in any::<bool>(),
    ) {
        let mut rest: Vec<Vec<char>> = texts.iter().map(|text| text.chars().collect()).collect();
        let mut events = Vec::new();
        for (pick, length) in order.into_iter().chain((0..texts.len()).map(|index| (index, usize::MAX))) {
            let index = pick % rest.len();
            let length = length.min(rest[index].len());
            let delta: String = rest[index].drain(..length).collect();
            events.push(json!({"choices": [{"index": index, "delta": {"content": delta}}]}));
        }
        if finished {
            events.extend((0..texts.len()).map(|index| json!({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})));
        }
        let mut body = String::new();
        for (number, event) in events.iter().enumerate() {
            let end = endings[number % endings.len()];
            let spelled = spell(&event.to_string(), &whims).replace('\n', " ");
            body.push_str(&format!("data: {spelled}{end}{end}"));
        }
        MASKER.with(|masker| -> Result<(), TestCaseError> {
            let whole = run(masker, BodyKind::Events, &[body.as_bytes()]);
            prop_assert_eq!(&run(masker, BodyKind::Events, &support::cut(body.as_bytes(), &cuts)), &whole);
            prop_assert_eq!(&run(masker, BodyKind::Events, &body.as_bytes().chunks(1).collect::<Vec<_>>()), &whole);
            let mut got = vec![String::new(); texts.len()];
            for line in whole.split(['\r', '\n']).filter_map(|line| line.strip_prefix("data: ")) {
                let event: Value = serde_json::from_str(line).map_err(|error| TestCaseError::fail(format!("{error}: {line}")))?;
                let choice = &event["choices"][0];
                if let Some(content) = choice["delta"]["content"].as_str() {
                    got[choice["index"].as_u64().unwrap() as usize].push_str(content);
                }
            }
            for (got, text) in got.iter().zip(&texts) {
                let wanted = String::from_utf8(masker.mask(text.as_bytes())).unwrap();
                prop_assert_eq!(got, &wanted);
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_in_any_format_give_the_same_however_they_are_cut(
        text in prop_oneof![
            support::texts(),
            "[\\[\\]{}\":,\\\\abc0dtun \\n\\r-]{0,40}".prop_map(String::into_bytes),
            "((data|event|id|): ?[{\"ab:}\\\\]{0,6}[\\r\\n]{1,2}){0,6}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
            (0usize..80, "\u{feff}?[{\\[d\"a:]{0,6}").prop_map(|(blanks, text)| (" ".repeat(blanks) + &text).into_bytes()),
            "\u{feff}[{\\[d\"a:]{0,6}".prop_map(String::into_bytes),
        ],
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        MASKER.with(|masker| -> Result<(), TestCaseError> {
            for kind in [BodyKind::Text, BodyKind::Json, BodyKind::Events, BodyKind::Lines, BodyKind::Binary, BodyKind::Unknown] {
                let go = |pieces: &[&[u8]]| {
                    let mut body = masker.body(kind);
                    let mut out = Vec::new();
                    for piece in pieces {
                        out.extend(body.push(piece)?);
                    }
                    out.extend(body.finish()?);
                    Ok::<_, FormatError>(out)
                };
                let whole = go(&[&text]);
                prop_assert_eq!(&go(&support::cut(&text, &cuts)), &whole, "{:?}", kind);
                prop_assert_eq!(&go(&text.chunks(1).collect::<Vec<_>>()), &whole, "{:?}", kind);
                // What is refused shows nothing more.
                let Ok(whole) = whole else { continue };
                for secret in ["aabaab", "abcabcabc"] {
                    prop_assert!(!whole.windows(secret.len()).any(|w| w == secret.as_bytes()), "{:?} shows {}", kind, secret);
                }
            }
            Ok(())
        })?;
    }
}

/// A stream has one choice in the list of each event: its own number tells whose text was masked, and where in it.
#[test]
fn a_report_names_the_choice_and_not_its_place_in_the_event() {
    let masker = gatewayd_masker::Masker::builder().known_secret("hunter2-hunter2").build().unwrap();
    let mut body = masker.body(BodyKind::Events);
    for (index, text) in [(0, "hunter2-"), (1, "it is "), (0, "hunter2"), (1, "hunter2-hunt"), (1, "er2!")] {
        let event = format!(r#"{{"choices":[{{"index":{index},"delta":{{"content":"{text}"}}}}]}}"#);
        body.push(format!("data: {event}\n\n").as_bytes()).unwrap();
    }
    body.finish().unwrap();
    let mut told: Vec<_> = body.take_events().into_iter().map(|e| (e.lane, e.offset, e.length)).collect();
    told.sort();
    let lane = |index: u64| format!("choices[{index}].delta.content");
    assert_eq!(told, [(lane(0), 0, 15), (lane(1), 6, 15)]);
}
