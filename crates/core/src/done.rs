//! The mark by which a stream of answers says that it is whole.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The names of events after which none comes: in streams of Anthropic's, and of OpenAI's Responses API.
const LAST: [&[u8]; 4] = [b"message_stop", b"response.completed", b"response.incomplete", b"response.failed"];

/// Whether a stream of server-sent events has said its last one: `[DONE]`, as in OpenAI's chat streams, or one whose name or
/// type nothing follows. Clients hang up on seeing it, and where only the connection's end would end a stream, nothing else
/// tells an end from a crash.
///
/// Holds how the line that goes by begins: a last event can be as long as all that came before it.
#[derive(Debug, Default)]
pub struct DoneMark {
    line: Vec<u8>,
    /// The data that comes next belongs to an event of such a name.
    is_named: bool,
    /// The last line that was not blank was the data of such an event.
    was_last: bool,
}

impl DoneMark {
    /// More than a mark takes that is told by its data, with the blanks that some servers pad it with.
    const ENOUGH: usize = 256;

    /// For an answer with this head; `None` where it is no stream of events, so that nothing of it is looked at.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
        media_type.trim().eq_ignore_ascii_case("text/event-stream").then(Self::default)
    }

    /// What goes by next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.keep(line);
            self.end_line();
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(bytes);
    }

    /// True if the last event so far is the last one there is.
    #[must_use]
    pub fn is_said(&self) -> bool {
        if self.line.trim_ascii_end().is_empty() { self.was_last } else { self.tells_by_data() }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = Self::ENOUGH.saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn end_line(&mut self) {
        let line = self.line.trim_ascii_end();
        if let Some(name) = line.strip_prefix(b"event:") {
            (self.is_named, self.was_last) = (LAST.contains(&name.trim_ascii()), false);
        } else if line.starts_with(b"data:") {
            (self.is_named, self.was_last) = (false, self.is_named || self.tells_by_data());
        } else if !line.is_empty() {
            self.was_last = false;
        }
        self.line.clear();
    }

    /// True if the line that goes by is the mark, however it goes on; one that is too long to be kept whole is none.
    fn tells_by_data(&self) -> bool {
        let data = self.line.strip_prefix(b"data:").filter(|_| self.line.len() < Self::ENOUGH);
        data.is_some_and(|data| is_last(data.trim_ascii()))
    }
}

fn is_last(data: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    data == b"[DONE]"
        || serde_json::from_slice::<Event<'_>>(data).is_ok_and(|event| LAST.contains(&event.kind.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"hi\"}}\n\n";

    const MARKS: [&str; 15] = [
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
        "event: response.completed\ndata: {\"response\":{\"output\":[]},\"type\":\"response.completed\"}\n\n",
        "event:response.incomplete\r\nid: 7\r\ndata: what it was\r\n\r\n",
        "event: response.failed\rdata:\r\r",
        "data: {\"type\":\"response.completed\",\"response\":{}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\ndata: [DONE]\n\n",
    ];

    const OTHERS: [&str; 15] = [
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
        "event: response.completed\n\n",
        "event: response.completed\ndata: {\"response\":{\"output\":[",
        "event: response.completed\ndata: {}\n\ndata: more\n\n",
        "event: response.completed\nevent: response.created\ndata: {}\n\n",
        "event: response.completed.not\ndata: {}\n\n",
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
            let cases = MARKS.map(|text| (text, true)).into_iter().chain(OTHERS.map(|text| (text, false)));
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
        for end in MARKS.into_iter().take(14) {
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

    /// The last event of a response repeats all of it.
    #[test]
    fn a_last_event_with_a_name_can_be_of_any_length() {
        let said = "and so on ".repeat(DoneMark::ENOUGH);
        let text =
            format!("{EVENT}event: response.completed\ndata: {{\"response\":{{\"text\":\"{said}\"}}}}\n\n");
        let line_end = text.len() - 1;
        for at in 0..=text.len() {
            let (first, rest) = text.split_at(at);
            assert_eq!(is_said(&[first]), at >= line_end, "{at}");
            assert!(is_said(&[first, rest]), "{at}");
        }
        let mut mark = DoneMark::default();
        mark.push(text.as_bytes());
        assert!(mark.line.capacity() <= 2 * DoneMark::ENOUGH);
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
