//! The mark by which a stream of answers says that it is whole.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a stream of server-sent events has said its last one: `[DONE]`, as in OpenAI's streams, or `message_stop`, as in
/// Anthropic's. Clients hang up on seeing it, and where only the connection's end would end a stream, nothing else tells an
/// end from a crash.
///
/// Holds the last bytes that went by, where a piece may end within the mark.
#[derive(Debug, Default)]
pub struct DoneMark {
    last: Vec<u8>,
}

impl DoneMark {
    /// More than a last event takes, with the blanks that some servers pad it with.
    const ENOUGH: usize = 256;

    /// For an answer with this head; `None` where it is no stream of events, so that nothing of it is looked at.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
        media_type.trim().eq_ignore_ascii_case("text/event-stream").then(Self::default)
    }

    /// What goes by next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes.get(bytes.len().saturating_sub(Self::ENOUGH)..).unwrap_or(bytes));
        self.last.drain(..self.last.len().saturating_sub(Self::ENOUGH));
    }

    /// True if the last event so far is the last one there is.
    #[must_use]
    pub fn is_said(&self) -> bool {
        let text = self.last.trim_ascii_end();
        let line = match text.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(end) => text.get(end + 1..).unwrap_or_default(),
            None if self.last.len() < Self::ENOUGH => text,
            // How the line begins is not known any more, so it is too long to be one.
            None => return false,
        };
        line.strip_prefix(b"data:").is_some_and(|data| is_last(data.trim_ascii()))
    }
}

fn is_last(data: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    data == b"[DONE]"
        || serde_json::from_slice::<Event<'_>>(data).is_ok_and(|event| event.kind == "message_stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hi\"}}\n\n";

    const LAST: [&str; 11] = [
        "data: [DONE]\n\n",
        "data: [DONE]\r\n\r\n",
        "data: [DONE]",
        "data:[DONE]\n\n",
        "data: [DONE]\r\r",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        "event: message_stop\r\ndata: {\"type\": \"message_stop\"}\r\n\r\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"                                }\n\n",
        "data:{\"type\":\"message_stop\"}",
        "event: message_stop\ndata: {\"type\":\"message_stop\",\"metrics\":{\"inputTokenCount\":9}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\ndata: [DONE]\n\n",
    ];

    const OTHERS: [&str; 10] = [
        "",
        "data: {\"text\":\"data: [DONE]\"}\n\n",
        "data: {\"text\":\"\\\"type\\\":\\\"message_stop\\\"\"}\n\n",
        "data: so it says data: [DONE]\n\n",
        "data: {\"type\":\"message_start\"}\n\n",
        "data: [DONE]\n\ndata: more\n\n",
        "data: {\"message\":{\"type\":\"message_stop\"}}\n\n",
        "event: message_stop\n",
        ": data: [DONE]\n\n",
        "{\"type\":\"message_stop\"}\n\n",
    ];

    fn is_said(pieces: &[&str]) -> bool {
        let mut mark = DoneMark::default();
        for piece in pieces {
            mark.push(piece.as_bytes());
        }
        mark.is_said()
    }

    #[test]
    fn the_mark_is_seen_wherever_the_stream_is_cut() {
        let long = EVENT.repeat(9);
        for before in ["", EVENT, &long] {
            let cases = LAST.map(|text| (text, true)).into_iter().chain(OTHERS.map(|text| (text, false)));
            for (end, wanted) in cases {
                let text = format!("{before}{end}");
                for at in 0..=text.len() {
                    let (first, rest) = text.split_at(at);
                    assert_eq!(is_said(&[first, rest]), wanted, "{first:?} {rest:?}");
                }
                let bytes: Vec<&str> = (0..text.len()).map(|at| &text[at..=at]).collect();
                assert_eq!(is_said(&bytes), wanted, "{text:?} byte by byte");
            }
        }
    }

    #[test]
    fn a_stream_that_breaks_off_within_the_mark_has_not_said_it() {
        for end in LAST.into_iter().take(10) {
            let whole = end.trim_end();
            for at in 0..whole.len() {
                assert!(!is_said(&[EVENT, &whole[..at]]), "{:?}", &whole[..at]);
            }
        }
    }

    #[test]
    fn a_line_too_long_to_be_the_mark_is_none() {
        let blanks = " ".repeat(DoneMark::ENOUGH);
        assert!(!is_said(&[&format!("x{blanks}data: [DONE]")]));
        assert!(!is_said(&[&format!("data: {{\"type\":\"message_stop\"{blanks}}}")]));
        assert!(!is_said(&["x", &"\n".repeat(DoneMark::ENOUGH)]));
    }

    #[test]
    fn only_a_stream_of_events_is_looked_at() {
        let of = |value: &'static str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, http::HeaderValue::from_static(value))]);
            DoneMark::of(&headers).is_some()
        };
        assert!(of("text/event-stream") && of("Text/Event-Stream ; charset=utf-8"));
        assert!(!of("application/json") && !of("text/event-streams") && !of(""));
        assert!(DoneMark::of(&HeaderMap::new()).is_none());
    }
}
