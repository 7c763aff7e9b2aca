//! Tables for people.

use std::io::Write as _;

use comfy_table::presets;
use gatewayd_core::{inert_json, inert_text};
use serde_json::Value;

/// A line on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn line(text: &str) {
    let _reader_may_be_gone = writeln!(std::io::stdout().lock(), "{text}");
}

/// A text that has its own new lines.
pub(crate) fn text(text: &str) {
    let _reader_may_be_gone = write!(std::io::stdout().lock(), "{text}");
}

/// A value for programs, indented, which drives no terminal.
pub(crate) fn json(value: &impl serde::Serialize) {
    line(&inert_json(serde_json::to_string_pretty(value).expect("our own values are JSON")));
}

/// The most characters a cell of a table shows.
const CELL: usize = 200;

/// A table without lines.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(head);
        Self(table)
    }

    /// Adds a row. Each cell is a few words on one line: blanks by the dozen would lay out a row of their own.
    pub(crate) fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.add_row(cells.into_iter().map(|cell| in_few_words(cell.as_ref())));
    }

    pub(crate) fn print(&self) {
        line(&self.0.to_string());
    }
}

fn in_few_words(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= CELL {
        return words;
    }
    words.chars().take(CELL - 1).chain(['…']).collect()
}

/// A remark for the person at the terminal, apart from the output.
pub(crate) fn note(text: &str) {
    let _terminal_may_be_gone = writeln!(std::io::stderr().lock(), "{text}");
}

/// Names and values below each other; what has no value is left out.
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.trim().is_empty() {
            self.0.push((name, value));
        }
    }

    pub(crate) fn print(&self) {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            // What goes on in a second line does not look like a name.
            let value = value.replace('\n', &format!("\n{:width$}  ", ""));
            line(&format!("{name:width$}  {value}"));
        }
    }
}

/// Microseconds since the epoch as a time in UTC, to the second.
pub(crate) fn time(value: Option<&Value>) -> String {
    let micros = value.and_then(Value::as_i64);
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    time.map(|time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default()
}

/// Whole seconds as people say them.
pub(crate) fn seconds(value: Option<&Value>) -> String {
    let seconds = value.and_then(Value::as_i64);
    seconds.map(|seconds| format!("{:#}", jiff::SignedDuration::from_secs(seconds))).unwrap_or_default()
}

/// Microseconds as people say a short time.
pub(crate) fn micros(value: Option<&Value>) -> String {
    let Some(micros) = value.and_then(Value::as_u64) else { return String::new() };
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{:02} s", micros / 1_000_000, micros % 1_000_000 / 10_000),
    }
}

/// One change of a document: where, what was there, what is there now.
pub(crate) fn change(value: &Value) -> String {
    let (at, before, after) = (cell(value, "/at"), cell(value, "/before"), cell(value, "/after"));
    match (value["before"].is_null(), value["after"].is_null()) {
        (true, _) => format!("{at}: + {after}"),
        (_, true) => format!("{at}: - {before}"),
        _ => format!("{at}: {before} -> {after}"),
    }
}

/// A member of an object as text for a table cell: nothing for null, lists joined by commas.
pub(crate) fn cell(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map(plain).unwrap_or_default()
}

/// A value as plain text. Control characters are shown, not sent to the terminal.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The text with what is obeyed or not seen spelled out, so that a recorded text cannot drive the terminal, or read like
/// another one.
pub(crate) fn printable(text: &str) -> String {
    inert_text(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_lays_out_no_row_of_its_own() {
        let model = format!("m{}bob  train  llama\n-x eng 200", " ".repeat(78));
        assert_eq!(in_few_words(&model), "m bob train llama -x eng 200");
        let long = in_few_words(&"é".repeat(500));
        assert_eq!(long.chars().count(), CELL);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn a_recorded_escape_sequence_is_shown_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}c\u{200b}"), r"a\u001b[2Jb\u009bc\u200b");
        let value = serde_json::json!({ "a": "\u{1b}[2J\u{9b}1m\u{202e}\u{e0041} e\u{301}" });
        let text = inert_json(value.to_string());
        assert!(text.is_ascii() || !text.contains(['\u{9b}', '\u{202e}', '\u{e0041}']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
