//! Text that somebody else chose, on its way to a terminal.

/// Whether a terminal does something other than show a character, or shows nothing where there is something: controls above
/// ASCII, marks that turn the direction of writing, zero-width characters, tags. The controls below U+0020 are the caller's to
/// judge, and joiners within words and emoji (U+200C, U+200D) are neither.
#[must_use]
pub fn is_obeyed_or_unseen(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
    let mut units = [0; 2];
    for c in json.chars() {
        if is_obeyed_or_unseen(c) {
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}
