//! asciicast v3: a header, then `[seconds since the event before, "o", text]` a line.

use serde_json::json;

use crate::replay::Replay;
use crate::view::Bundle;

const COLUMNS: u16 = 100;
const ROWS: u16 = 30;

pub(super) fn export(bundle: &Bundle, replay: &Replay) -> String {
    let summary = &bundle.summary;
    let title = format!("{} {} ({}){}", summary.method, summary.path, summary.id, super::warning(bundle));
    let header = json!({
        "version": 3,
        "term": { "cols": COLUMNS, "rows": ROWS },
        "timestamp": bundle.arrived().seconds(),
        "title": title,
    });
    let mut cast = format!("{header}\n");
    // A character may be cut over two frames: what is not whole yet waits for the next.
    let mut pending: Vec<u8> = Vec::new();
    let mut late = 0.0;
    for frame in &replay.response {
        late += std::time::Duration::from_micros(frame.delta_us).as_secs_f64();
        pending.extend_from_slice(&frame.bytes);
        let text = take_text(&mut pending);
        if !text.is_empty() {
            cast.push_str(&event(late, &text));
            late = 0.0;
        }
    }
    if !pending.is_empty() {
        cast.push_str(&event(late, &String::from_utf8_lossy(&pending)));
    }
    cast
}

fn event(seconds: f64, text: &str) -> String {
    format!("{}\n", json!([seconds, "o", on_a_terminal(text)]))
}

/// New lines as a terminal needs them, and no control character that could drive it.
fn on_a_terminal(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\r\n"),
            '\r' => {}
            '\t' => shown.push(c),
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// Takes all whole characters; what is no UTF-8 at all is replaced.
fn take_text(pending: &mut Vec<u8>) -> String {
    match std::str::from_utf8(pending) {
        Ok(_) => String::from_utf8_lossy(&std::mem::take(pending)).into_owned(),
        Err(error) if error.error_len().is_none() => {
            let rest = pending.split_off(error.valid_up_to());
            let text = String::from_utf8_lossy(pending).into_owned();
            *pending = rest;
            text
        }
        Err(_) => String::from_utf8_lossy(&std::mem::take(pending)).into_owned(),
    }
}
