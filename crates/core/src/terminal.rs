//! Text that somebody else chose, on its way to a terminal.

use std::borrow::Cow;

/// Whether a terminal does something other than show a character, or shows nothing where there is something: controls from
/// U+007F on, format controls, marks that turn the direction of writing, zero-width characters and joiners, variation
/// selectors, fillers, tags, and whatever else Unicode lets a font leave out. The controls below U+0020 are the caller's to judge.
#[must_use]
pub fn is_obeyed_or_unseen(c: char) -> bool {
    // Nearly everything is ASCII.
    c >= '\u{7f}'
        && matches!(c, '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The same text with such characters spelled as JSON spells them, so that they are seen: `\u200b`. Of the controls below
/// U+0020, line feeds, tabs and the carriage return before a line feed stay.
///
/// ```
/// assert_eq!(gatewayd_core::inert_text("dry_run\u{200b}\r\n\u{1b}[2J"), "dry_run\\u200b\r\n\\u001b[2J");
/// ```
#[must_use]
pub fn inert_text(text: &str) -> Cow<'_, str> {
    let is_inert = |c: char| !(c < ' ' && !matches!(c, '\n' | '\t') || is_obeyed_or_unseen(c));
    if text.chars().all(is_inert) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_inert(c) || (c == '\r' && chars.peek() == Some(&'\n')) {
            out.push(c);
        } else {
            spell(c, &mut out);
        }
    }
    Cow::Owned(out)
}

/// The same JSON with such characters spelled as escapes, so that it can be looked at in a terminal. Only strings can hold
/// them, and to a program it is the same. JSON itself asks this of the controls below U+0020.
///
/// ```
/// assert_eq!(gatewayd_core::inert_json("\"a\u{9b}1mb\"".to_owned()), r#""a\u009b1mb""#);
/// ```
#[must_use]
pub fn inert_json(json: String) -> String {
    if !json.contains(is_obeyed_or_unseen) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if is_obeyed_or_unseen(c) {
            spell(c, &mut out);
        } else {
            out.push(c);
        }
    }
    out
}

fn spell(c: char, out: &mut String) {
    let mut units = [0; 2];
    out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_spelled_and_what_is_seen_stays() {
        let unseen = [
            '\u{34f}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{202e}',
            '\u{2064}',
            '\u{206a}',
            '\u{2800}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{1d173}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{e01ef}',
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
        ];
        for c in unseen {
            let spelled = inert_text(&format!("a{c}b")).into_owned();
            assert!(spelled.is_ascii() && spelled.starts_with("a\\u") && spelled.ends_with('b'), "{spelled}");
            let json = inert_json(serde_json::json!(format!("a{c}b")).to_string());
            assert!(json.is_ascii(), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), format!("a{c}b"));
        }
        for seen in ["Grüße, 世界, e\u{301} \u{a0} \u{3000}", "a\r\nb\n\tc", "\u{fffc}\u{fffd}\u{1f600}"]
        {
            assert_eq!(inert_text(seen), seen);
        }
        assert_eq!(inert_text("a\rb\u{0}"), "a\\u000db\\u0000");
    }
}
