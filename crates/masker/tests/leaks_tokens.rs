//! Secrets in log-probabilities, however a model's tokens cut them and whatever a server writes for half a letter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test that fails may panic"
)]

use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;
use serde_json::{Value, json};

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";
const KNOWN: &str = "pä\"ss/wo+rd=😀-and-so-on";

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % bound
    }

    /// The text in tokens, some of which end inside of a letter.
    fn cut(&mut self, text: &str) -> Vec<Vec<u8>> {
        let mut rest = text.as_bytes();
        let mut tokens = Vec::new();
        while !rest.is_empty() {
            let (token, behind) = rest.split_at(rest.len().min(1 + self.below(6)));
            tokens.push(token.to_vec());
            rest = behind;
        }
        tokens
    }
}

/// How a server writes log-probabilities.
#[derive(Clone, Copy, Debug)]
struct Server {
    legacy: bool,
    gives_bytes: bool,
    /// It writes half a letter as `bytes:\xf0`.
    spells: bool,
}

impl Server {
    fn token(self, token: &[u8]) -> String {
        let spelled = || token.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        match std::str::from_utf8(token) {
            Ok(text) => text.to_owned(),
            Err(_) if self.spells => format!("bytes:{}", spelled()),
            Err(_) => String::from_utf8_lossy(token).into_owned(),
        }
    }

    fn logprobs(self, tokens: &[Vec<u8>]) -> Value {
        let texts = || tokens.iter().map(|token| self.token(token));
        if self.legacy {
            let top: Vec<Value> = texts().map(|text| json!({ text: -0.1 })).collect();
            return json!({"tokens": texts().collect::<Vec<_>>(), "top_logprobs": top, "token_logprobs": vec![-0.1; tokens.len()]});
        }
        let element = |(text, token): (String, &Vec<u8>)| {
            let one = match self.gives_bytes {
                true => json!({"token": text, "bytes": token, "logprob": -0.1}),
                false => json!({"token": text, "logprob": -0.1}),
            };
            let mut element = one.clone();
            element["top_logprobs"] = json!([one, {"token": "zz", "logprob": -3.0}]);
            element
        };
        json!({"content": texts().zip(tokens).map(element).collect::<Vec<_>>()})
    }
}

/// What the tokens of all events say, their bytes, and the first alternatives.
fn shown(events: &[Value]) -> [Vec<u8>; 4] {
    let mut all: [Vec<u8>; 4] = Default::default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let numbers = |value: &Value| {
        list(value).iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap()).collect::<Vec<_>>()
    };
    for event in events {
        let logprobs = &event["choices"][0]["logprobs"];
        for element in list(&logprobs["content"]) {
            let top = &element["top_logprobs"][0];
            all[0].extend(text(&element["token"]));
            all[1].extend(numbers(&element["bytes"]));
            all[2].extend(text(&top["token"]));
            all[3].extend(numbers(&top["bytes"]));
        }
        all[0].extend(list(&logprobs["tokens"]).iter().flat_map(text));
        let names = |top: &Value| top.as_object().map(|top| top.keys().cloned().collect::<String>());
        all[2].extend(list(&logprobs["top_logprobs"]).iter().filter_map(names).flat_map(String::into_bytes));
    }
    all
}

#[test]
fn no_part_of_a_secret_is_shown_by_tokens() {
    let masker = Masker::builder().known_secret(KNOWN).build().unwrap();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let parts = [&KEY[4..12], &KEY[12..], "ss/wo+", "-and-so-on", "rd=😀"];
    for _ in 0..3_000 {
        let mut coin = || dice.below(2) == 0;
        let server = Server { legacy: coin(), gives_bytes: coin(), spells: coin() };
        let texts = [
            format!("say {KEY} now and {KNOWN} end"),
            KNOWN.to_owned(),
            format!("é {KEY}"),
            format!("😀{KEY}😀 {KNOWN}😀"),
        ];
        let chosen = dice.below(texts.len());
        let tokens = dice.cut(&texts[chosen]);
        let mut events = Vec::new();
        let mut rest = &tokens[..];
        while !rest.is_empty() {
            let (few, behind) = rest.split_at(rest.len().min(1 + dice.below(4)));
            events.push(json!({"choices": [{"index": 0, "text": "", "logprobs": server.logprobs(few)}]}));
            rest = behind;
        }
        events.push(json!({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}));
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let masked = |piece: usize| {
            let mut body = masker.body(BodyKind::Events);
            let mut out = Vec::new();
            for piece in stream.as_bytes().chunks(piece) {
                out.extend(body.push(piece).unwrap());
            }
            out.extend(body.finish().unwrap());
            String::from_utf8(out).unwrap()
        };
        let out = masked(1 + dice.below(300));
        assert_eq!(out, masked(stream.len()), "{stream}");
        let events: Vec<Value> =
            out.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let whole =
            json!({"choices": [{"index": 0, "text": "", "logprobs": server.logprobs(&tokens)}]}).to_string();
        let mut body = masker.body(BodyKind::Json);
        let mut json = body.push(whole.as_bytes()).unwrap();
        json.extend(body.finish().unwrap());
        for events in [events, vec![serde_json::from_slice(&json).unwrap()]] {
            for shown in shown(&events) {
                let shows = |part: &&str| memchr::memmem::find(&shown, part.as_bytes()).is_some();
                if let Some(part) = parts.iter().find(|part| shows(part)) {
                    panic!("{part} by {server:?}: {}\n{stream}", String::from_utf8_lossy(&shown));
                }
            }
        }
    }
}
