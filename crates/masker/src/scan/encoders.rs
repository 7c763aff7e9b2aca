//! How the encoders of libraries write a value: each escapes other signs, so that each writes it otherwise.
//!
//! A row stands for all encoders that agree. For a value of letters and digits most rows give the value itself.

use super::variants::{Digits, LOWER, UPPER, escape_u, hex, json, percent};

/// What encoders of URLs leave alone beside letters and digits, and whether they write a blank as `+`.
const PERCENT: [(&[u8], bool); 17] = [
    // RFC 3986; PHP's rawurlencode.
    (b"-._~", false),
    // JavaScript's encodeURIComponent and encodeURI.
    (b"-_.!~*'()", false),
    (b";,/?:@&=+$-_.!~*'()#", false),
    // Python's quote and quote_plus, Java and browsers' forms, PHP, .NET.
    (b"_.-~/", false),
    (b"_.-~", true),
    (b".-*_", true),
    (b"-_.", true),
    (b"-_.!*()", true),
    // Rust's NON_ALPHANUMERIC.
    (b"", false),
    // Go's path segments and paths.
    (b"-_.~$&+=:@", false),
    (b"-_.~$&+,/:;=@", false),
    // Only what RFC 3986 forbids in a segment, and in a query.
    (b"-._~!$&'()*+,;=:@", false),
    (b"-._~!$&'()*+,;=:@/?", false),
    // The URLs of browsers: user names, paths, queries.
    (b"-._~!$&'()*+,%", false),
    (b"-._~!$&'()*+,;=:@/[]\\|%", false),
    (b"-._~!$&'()*+,;=:@/?[]\\|%^`{}", false),
    // The messages of gRPC.
    (b" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", false),
];

/// What encoders of JSON write by number beside what they must, whether a slash gets a backslash, and the digits.
const JSON: [(&[u8], bool, &Digits); 9] = [
    (b"", false, LOWER),
    (b"", true, LOWER),
    // Go and Rails; Flask; Gson; others that take care of HTML.
    (b"<>&", false, LOWER),
    (b"<>&'", false, LOWER),
    (b"<>&='", false, LOWER),
    (b"<>&", false, UPPER),
    (b"<>&'\"", false, UPPER),
    // PHP for HTML; .NET.
    (b"<>&'\"", true, UPPER),
    (b"<>&'\"+`", false, UPPER),
];

/// What encoders of HTML and XML write in place of which sign, beside `&`, `<` and `>`.
const HTML: [&[(u8, &[u8])]; 12] = [
    &[],
    &[(b'"', b"&quot;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#39;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#x27;")],
    &[(b'"', b"&quot;"), (b'\'', b"&apos;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#039;")],
    &[(b'"', b"&#34;"), (b'\'', b"&#39;")],
    &[(b'"', b"&#034;"), (b'\'', b"&#039;")],
    // Go's templates, Mustache, Handlebars, .NET.
    &[(b'"', b"&#34;"), (b'\'', b"&#39;"), (b'+', b"&#43;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#39;"), (b'/', b"&#x2F;"), (b'`', b"&#x60;"), (b'=', b"&#x3D;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#x27;"), (b'`', b"&#x60;"), (b'=', b"&#x3D;")],
    &[(b'"', b"&quot;"), (b'\'', b"&#x27;"), (b'`', b"&#x60;"), (b'+', b"&#x2B;")],
];

/// What is not ASCII, in HTML.
const BEYOND_IN_HTML: [fn(char) -> String; 4] = [
    |c| format!("&#{};", u32::from(c)),
    |c| format!("&#x{:x};", u32::from(c)),
    |c| format!("&#x{:X};", u32::from(c)),
    named_entity,
];

/// Gives what each encoder makes of a value.
pub(super) fn of(value: &[u8], add: &mut impl FnMut(Vec<u8>)) {
    if value.iter().all(u8::is_ascii_alphanumeric) {
        return;
    }
    for (left, plus) in PERCENT {
        for digits in [LOWER, UPPER] {
            let mut out = Vec::with_capacity(value.len() * 3);
            for byte in value {
                match byte {
                    b' ' if plus => out.push(b'+'),
                    _ => percent(&mut out, *byte, digits, |byte| left.contains(&byte)),
                }
            }
            add(out);
        }
    }
    // No other encoder touches these.
    if value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
        return;
    }
    for (signs, slash, digits) in JSON {
        let ascii = |byte: u8, out: &mut Vec<u8>| match byte {
            b'/' if slash => out.extend(b"\\/"),
            _ if signs.contains(&byte) => escape_u(out, u16::from(byte), digits),
            _ => json(byte, out),
        };
        add(raw_beyond(value, &ascii));
        for digits in [LOWER, UPPER] {
            spell(value, &ascii, &|c, out| units(c, out, digits), add);
        }
    }
    for signs in HTML {
        let ascii = |byte: u8, out: &mut Vec<u8>| match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            _ => match signs.iter().find(|(sign, _)| *sign == byte) {
                Some((_, entity)) => out.extend(*entity),
                None => out.push(byte),
            },
        };
        add(raw_beyond(value, &ascii));
        for entity in BEYOND_IN_HTML {
            spell(value, &ascii, &|c, out| out.extend(entity(c).into_bytes()), add);
        }
    }
    // As Python and JavaScript show a text, and as C and Python show its bytes.
    spell(value, &json, &|c, out| out.extend(in_program(c).into_bytes()), add);
    spell(
        value,
        &json,
        &|c, out| {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.extend(b"\\x");
                hex(out, byte, LOWER);
            }
        },
        add,
    );
}

fn raw_beyond(value: &[u8], ascii: &impl Fn(u8, &mut Vec<u8>)) -> Vec<u8> {
    value.iter().fold(Vec::with_capacity(value.len() * 2), |mut out, byte| {
        if byte.is_ascii() {
            ascii(*byte, &mut out);
        } else {
            out.push(*byte);
        }
        out
    })
}

/// A text in which what is not ASCII is spelled too; nothing where there is none.
fn spell(
    value: &[u8],
    ascii: &impl Fn(u8, &mut Vec<u8>),
    beyond: &impl Fn(char, &mut Vec<u8>),
    add: &mut impl FnMut(Vec<u8>),
) {
    if value.is_ascii() {
        return;
    }
    let Ok(text) = std::str::from_utf8(value) else { return };
    add(text.chars().fold(Vec::with_capacity(value.len() * 4), |mut out, character| {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() => ascii(byte, &mut out),
            _ => beyond(character, &mut out),
        }
        out
    }));
}

fn units(character: char, out: &mut Vec<u8>, digits: &Digits) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        escape_u(out, *unit, digits);
    }
}

fn in_program(character: char) -> String {
    match u32::from(character) {
        code @ ..0x100 => format!("\\x{code:02x}"),
        code @ ..0x1_0000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// The name HTML has for a letter of Latin-1, or its number.
fn named_entity(character: char) -> String {
    let code = u32::from(character);
    let name = code.checked_sub(0xa0).and_then(|at| LATIN_1.split(' ').nth(usize::try_from(at).ok()?));
    name.map_or_else(|| format!("&#{code};"), |name| format!("&{name};"))
}

/// The names of the characters from U+00A0 to U+00FF.
const LATIN_1: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 \
                       sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute \
                       Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH \
                       Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN \
                       szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute \
                       icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml \
                       yacute thorn yuml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_latin_1_have_names_and_others_numbers() {
        assert_eq!(named_entity('\u{a0}'), "&nbsp;");
        assert_eq!(named_entity('ÿ'), "&yuml;");
        assert_eq!(named_entity('€'), "&#8364;");
    }
}
