//! Everything that is known, one JSON object a line.

use serde::Serialize;

use super::whole;
use crate::replay::{Frame, Replay};
use crate::view::Bundle;

/// A line of the export. Bytes that are no UTF-8 are in `base64` instead of `text`.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line<'a> {
    Session {
        #[serde(flatten)]
        session: &'a Bundle,
    },
    RequestBody(Text),
    ResponseFrame {
        /// Microseconds since the frame before; for the first one, since the request arrived.
        delta_us: u64,
        #[serde(flatten)]
        bytes: Text,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Text {
    Text(String),
    Base64(String),
}

impl Text {
    fn of(bytes: &[u8]) -> Self {
        use base64::Engine as _;
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64::engine::general_purpose::STANDARD.encode(bytes)),
        }
    }
}

pub(super) fn export(bundle: &Bundle, replay: &Replay) -> String {
    let session = Line::Session { session: bundle };
    let request = Line::RequestBody(Text::of(&whole(&replay.request)));
    let frame =
        |frame: &Frame| Line::ResponseFrame { delta_us: frame.delta_us, bytes: Text::of(&frame.bytes) };
    let lines = [session, request].into_iter().chain(replay.response.iter().map(frame));
    lines.map(|line| serde_json::to_string(&line).expect("our own types are JSON") + "\n").collect()
}
