//! Properties: there is one reading of a path and of a body, whoever reads it.

use gatewayd_core::Operation;
use gatewayd_dialects::{Config, Dialects, JsonProblem, Problem, UpstreamRule};
use http::{Method, Uri};
use proptest::prelude::*;
use serde_json::Value;

fn dialects() -> Dialects {
    Dialects::new(&Config { upstreams: vec![UpstreamRule::new("all", &["*"])], ..Config::default() })
        .expect("a sound configuration")
}

fn read(method: &Method, path: &str) -> Option<Result<Operation, Problem>> {
    let uri: Uri = path.parse().ok()?;
    Some(dialects().classify(method, &uri, None).map(|found| found.operation))
}

/// A server that does everything to a path that servers are known to do.
fn normalised(path: &str) -> String {
    let mut decoded = path.to_owned();
    for _ in 0..3 {
        let bytes: Vec<u8> = percent_encoding::percent_decode_str(&decoded).collect();
        decoded = String::from_utf8_lossy(&bytes).into_owned();
    }
    let decoded = decoded.replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default()) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "v1",
        "chat",
        "completions",
        "models",
        "fine_tuning",
        "jobs",
        "api",
        "delete",
        "slots",
        "openai",
        "deployments",
        "m",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "/",
        "//",
        "%5c",
        ";x=1",
        "%3b",
        "%00",
        "%63hat",
        "%",
        "%25",
        "%252e",
        "load",
        "v2",
        "",
        "a:b",
        "%3A",
        "@",
        "%20",
        "+",
    ]);
    words.prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(piece(), 1..7), prop::sample::select(vec!["/", ""])).prop_map(|(pieces, joint)| {
        let joint = if joint.is_empty() { "" } else { "/" };
        format!("/{}", pieces.join(joint))
    })
}

/// JSON with members that are near to ours, in more than one spelling.
fn json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "\"model\"",
        "\"mod\\u0065l\"",
        "\"stream\"",
        "\"Model\"",
        "\"x\"",
        "\"messages\"",
        "\"mode\"",
        "\"\"",
    ]);
    let value = prop::sample::select(vec![
        "\"m\"",
        "\"a\\nb\"",
        "\"\\u006d\"",
        "true",
        "false",
        "null",
        "1",
        "-1.5e3",
        "{}",
        "{\"model\":\"in\"}",
        "[]",
        "[1,{\"stream\":true}]",
        "\"\\ud83d\\ude00\"",
        "1e999",
        "tru",
        "\"",
        "01",
        "\"\\ud800\"",
    ]);
    prop::collection::vec((key, value), 0..5).prop_map(|members| {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

/// A JSON text with a few bytes changed, removed or doubled.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (json(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..3)).prop_map(
        |(text, changes)| {
            let mut bytes = text.into_bytes();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len().max(1));
                match how {
                    0 if at < bytes.len() => drop(bytes.splice(at..=at, [byte])),
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => bytes.insert(at, byte),
                }
            }
            bytes
        },
    )
}

/// The members of the top level, with repetitions.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// What passes is read by the most meddlesome server as we read it.
    #[test]
    fn no_spelling_of_a_path_gets_around(path in path(), post in any::<bool>()) {
        let method = if post { Method::POST } else { Method::GET };
        if let Some(Ok(ours)) = read(&method, &path) {
            let theirs = normalised(&path);
            let theirs: String = percent_encoding::utf8_percent_encode(&theirs, &SPACE).to_string();
            let theirs = read(&method, &theirs).expect("still a target").expect("still accepted");
            prop_assert_eq!((ours.action, &ours.route, &ours.model), (theirs.action, &theirs.route, &theirs.model));
        }
    }

    /// A body passes only if a full parse finds the same, and nobody could find anything else.
    #[test]
    fn a_body_is_read_as_a_full_parse_reads_it(body in damaged()) {
        let uri: Uri = "/v1/chat/completions".parse().expect("a target");
        let ours = dialects().classify(&Method::POST, &uri, Some(&body)).map(|found| found.operation);
        let full = serde_json::from_slice::<Members>(&body);
        match (&ours, &full) {
            (Ok(operation), Ok(Members(members))) => {
                let values = |name: &str| members.iter().filter(|(key, _)| key == name).map(|(_, v)| v).collect::<Vec<_>>();
                let (models, streams) = (values("model"), values("stream"));
                prop_assert!(models.len() <= 1 && streams.len() <= 1);
                prop_assert_eq!(operation.model.as_deref(), models.first().and_then(|v| v.as_str()));
                prop_assert_eq!(operation.streaming, streams.first().and_then(|v| v.as_bool()).unwrap_or(false));
            }
            // The parts that are passed over are checked for their shape, not decoded.
            (Ok(_), Err(error)) => prop_assert!(
                body.is_empty()
                    || serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() && {
                        let why = error.to_string();
                        why.contains("surrogate") || why.contains("hex escape") || why.contains("out of range")
                            || why.contains("expected an object")
                    },
                "{}", error
            ),
            (Err(Problem::Json(JsonProblem::Syntax { .. })), Ok(_)) => prop_assert!(false, "refused sound JSON"),
            _ => {}
        }
    }

    /// Nothing that anybody sends makes it panic.
    #[test]
    fn it_stands_anything(method in "[A-Z]{1,9}", path in "(/[ -~]{0,40})?", body in prop::collection::vec(any::<u8>(), 0..60)) {
        if let (Ok(uri), Ok(method)) = (path.parse::<Uri>(), Method::from_bytes(method.as_bytes())) {
            let _verdict = dialects().classify(&method, &uri, Some(&body));
        }
    }
}

/// What must be encoded again to make a decoded path a target.
const SPACE: percent_encoding::AsciiSet = percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'^')
    .add(b'|')
    .add(b'[')
    .add(b']');
