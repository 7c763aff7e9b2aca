//! Playing a recorded answer back in the terminal, at the speed it came.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatewayd_recorder::Pace;
use serde_json::Value;

use super::print;

/// How to play.
pub(crate) struct Manner {
    /// How much faster than it happened; 0 is all at once.
    pub speed: f64,
    /// The bytes instead of the text in them.
    pub raw: bool,
    /// Wait for Enter before each frame.
    pub step: bool,
}

/// Longest pause that is made.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

pub(crate) fn play(played: &Value, manner: &Manner) -> anyhow::Result<()> {
    anyhow::ensure!(manner.speed >= 0.0 && manner.speed.is_finite(), "--speed must be 0 or more");
    if played["altered"] == Value::Bool(true) {
        print::note(
            "ALTERED: what is on record of this session is not what was signed; run `gatewayd sessions verify`",
        );
    }
    for what in played["missing"].as_array().into_iter().flatten() {
        print::note(&format!("NOT ALL OF IT IS STORED: {}", print::plain(what)));
    }
    let mut reader = Reader::default();
    let mut out = std::io::stdout().lock();
    let mut pace = Pace::start();
    for frame in played["response"].as_array().into_iter().flatten() {
        let bytes = STANDARD
            .decode(frame["data"].as_str().unwrap_or_default())
            .context("the gateway sent a frame that is no base64")?;
        let delta = Duration::from_micros(frame["delta_us"].as_u64().unwrap_or(0));
        if manner.step {
            let mut enter = String::new();
            std::io::stdin().read_line(&mut enter)?;
        } else if manner.speed > 0.0 {
            pace.wait(pause(delta, manner.speed));
        }
        let shown =
            if manner.raw { raw(&bytes) } else { print::printable(&reader.text(&bytes)).into_bytes() };
        if out.write_all(&shown).and_then(|()| out.flush()).is_err() {
            return Ok(()); // the reader went away
        }
    }
    if !manner.raw {
        let rest = print::printable(&reader.rest());
        let _reader_may_be_gone = writeln!(out, "{rest}");
    }
    if played["open"] == Value::Bool(true) {
        print::note("(the session has not ended; this is what is recorded so far)");
    }
    Ok(())
}

fn pause(recorded: Duration, speed: f64) -> Duration {
    // However slow: more seconds than a duration holds are the longest, too.
    Duration::try_from_secs_f64(recorded.as_secs_f64() / speed).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// To a file as it was; to a terminal with its control characters made visible.
fn raw(bytes: &[u8]) -> Vec<u8> {
    if std::io::stdout().is_terminal() {
        print::printable(&String::from_utf8_lossy(bytes)).into_bytes()
    } else {
        bytes.to_vec()
    }
}

/// Finds the text that a person would have read in an answer that comes in pieces.
#[derive(Default)]
struct Reader {
    pending: Vec<u8>,
    is_stream: Option<bool>,
}

impl Reader {
    /// The text in these bytes, as far as whole lines of a stream have arrived.
    fn text(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let is_stream = *self.is_stream.get_or_insert_with(|| looks_like_events(&self.pending));
        if !is_stream {
            return String::new();
        }
        let Some(end) = self.pending.iter().rposition(|&b| b == b'\n') else { return String::new() };
        let rest = self.pending.split_off(end + 1);
        let lines = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&lines).lines().map(text_of_line).collect()
    }

    /// What is left at the end: of a stream its last line, else the whole answer.
    fn rest(&mut self) -> String {
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
        if self.is_stream == Some(true) {
            return text_of_line(&rest);
        }
        // Not a stream of events: one document, or one a line.
        let documents: Option<Vec<Value>> =
            serde_json::Deserializer::from_str(&rest).into_iter::<Value>().collect::<Result<_, _>>().ok();
        let text: String = documents.iter().flatten().map(text_of_document).collect();
        if text.is_empty() { rest } else { text }
    }
}

fn looks_like_events(bytes: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b"id:", b":", b"retry:"].iter().any(|field| bytes.starts_with(field))
}

fn text_of_line(line: &str) -> String {
    let Some(data) = line.strip_prefix("data:") else { return String::new() };
    serde_json::from_str::<Value>(data).map(|document| text_of_document(&document)).unwrap_or_default()
}

/// The answer's words: OpenAI chat and completions, the responses API, Anthropic, Ollama; or an error's.
fn text_of_document(document: &Value) -> String {
    const PLACES: &[&str] =
        &["/delta/text", "/delta/partial_json", "/response", "/message/content", "/error/message"];
    let mut text = String::new();
    for choice in document["choices"].as_array().into_iter().flatten() {
        for part in ["delta", "message"] {
            let part = &choice[part];
            for key in ["reasoning_content", "content", "refusal"] {
                text.push_str(part[key].as_str().unwrap_or_default());
            }
            for call in part["tool_calls"].as_array().into_iter().flatten() {
                text.push_str(
                    call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or_default(),
                );
            }
        }
        text.push_str(choice["text"].as_str().unwrap_or_default());
    }
    if text.is_empty() {
        let places = PLACES.iter().filter_map(|place| document.pointer(place).and_then(Value::as_str));
        text.extend(places);
        // The responses API: `{"type": "response.output_text.delta", "delta": "..."}`.
        text.push_str(document["delta"].as_str().unwrap_or_default());
    }
    if let (true, Some(error)) = (text.is_empty(), document["error"].as_str()) {
        text.push_str(error);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_stream_are_found_however_it_is_cut() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\ndata: [DONE]\n\n";
        for cut in 1..stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            let mut reader = Reader::default();
            if cut < "data:".len() {
                continue; // what it is has not shown yet
            }
            let words = [reader.text(head), reader.text(tail), reader.rest()].concat();
            assert_eq!(words, "Hello", "cut at {cut}");
        }
    }

    #[test]
    fn a_pause_is_as_long_as_it_was_at_any_speed() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, 1.0), second);
        assert_eq!(pause(second, 4.0), second / 4);
        assert_eq!(pause(second, 1e300), Duration::ZERO);
        for slow in [1e-30, f64::MIN_POSITIVE] {
            assert_eq!(pause(second, slow), LONGEST_PAUSE);
        }
        assert_eq!(pause(Duration::MAX, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn the_words_of_a_document_are_found_and_others_shown_whole() {
        let mut reader = Reader::default();
        assert_eq!(reader.text(br#"{"choices":[{"message":{"content":"Hi"}}]}"#), "");
        assert_eq!(reader.rest(), "Hi");
        let mut reader = Reader::default();
        reader.text(b"plain words");
        assert_eq!(reader.rest(), "plain words");
    }
}
