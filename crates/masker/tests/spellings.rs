//! Known secrets as the encoders of this world write them: each modelled here by what its documentation says it leaves
//! alone, put into random text, cut in random pieces, while other secrets come and go.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that fails may panic"
)]

mod support;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use gatewayd_masker::{KnownSecrets, Masker};
use proptest::prelude::*;

/// What encoders of URLs leave alone beside letters and digits, and whether they write a blank as `+`.
const PERCENT: [(&str, &str, bool); 17] = [
    ("RFC 3986, encodeURIComponent of libcurl, rawurlencode", "-._~", false),
    ("JavaScript encodeURIComponent", "-_.!~*'()", false),
    ("JavaScript encodeURI", ";,/?:@&=+$-_.!~*'()#", false),
    ("Python quote", "_.-~/", false),
    ("Python quote_plus, Go QueryEscape", "_.-~", true),
    ("Java URLEncoder, forms of browsers", ".-*_", true),
    ("PHP urlencode", "-_.", true),
    (".NET UrlEncode", "-_.!*()", true),
    ("Rust NON_ALPHANUMERIC", "", false),
    ("Go PathEscape", "-_.~$&+=:@", false),
    ("Go paths", "-_.~$&+,/:;=@", false),
    ("RFC 3986 segments", "-._~!$&'()*+,;=:@", false),
    ("RFC 3986 queries", "-._~!$&'()*+,;=:@/?", false),
    ("URLs of browsers, user names", "-._~!$&'()*+,%", false),
    ("URLs of browsers, paths", "-._~!$&'()*+,;=:@/[]\\|%", false),
    ("URLs of browsers, queries", "-._~!$&'()*+,;=:@/?[]\\|%^`{}", false),
    ("grpc-message", " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~", false),
];

fn percent(value: &str, left: &str, plus: bool, upper: bool) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b' ' if plus => out.push('+'),
            _ if byte.is_ascii_alphanumeric() || left.as_bytes().contains(&byte) => {
                out.push(char::from(byte));
            }
            _ if upper => write!(out, "%{byte:02X}").unwrap(),
            _ => write!(out, "%{byte:02x}").unwrap(),
        }
        out
    })
}

/// What encoders of JSON write by number beside what they must, whether a slash gets a backslash, and whether digits
/// are in capitals.
const JSON: [(&str, &str, bool, bool); 9] = [
    ("RFC 8259, Python", "", false, false),
    ("PHP", "", true, false),
    ("Go", "<>&", false, false),
    ("Jackson for HTML", "<>&", false, true),
    ("Flask", "<>&'", false, false),
    ("Gson", "<>&='", false, false),
    (".NET", "<>&'\"+`", false, true),
    ("PHP for HTML", "<>&'\"", true, true),
    (".NET Framework", "<>&'", false, false),
];

fn json(value: &str, signs: &str, slash: bool, upper: bool, ascii: bool) -> String {
    let number = |out: &mut String, unit: u16| {
        if upper { write!(out, "\\u{unit:04X}") } else { write!(out, "\\u{unit:04x}") }.unwrap();
    };
    value.chars().fold(String::new(), |mut out, c| {
        match c {
            _ if signs.contains(c) || (ascii && !c.is_ascii()) => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| number(&mut out, *unit));
            }
            '"' | '\\' => out.extend(['\\', c]),
            '/' if slash => out.push_str("\\/"),
            _ => out.push(c),
        }
        out
    })
}

/// How a letter is written by its number.
type Number = fn(u32) -> String;
/// How `"` and `'` are written in HTML, and what else by which number.
type Marks = [(char, &'static str)];
const HTML: [(&str, &Marks); 12] = [
    ("text of XML", &[]),
    ("attributes of XML, PHP before 8.1", &[('"', "&quot;")]),
    ("Python, Jinja", &[('"', "&quot;"), ('\'', "&#x27;")]),
    ("Jinja", &[('"', "&#34;"), ('\'', "&#39;")]),
    ("Django, lodash, Ruby", &[('"', "&quot;"), ('\'', "&#39;")]),
    ("PHP", &[('"', "&quot;"), ('\'', "&#039;")]),
    ("XML", &[('"', "&quot;"), ('\'', "&apos;")]),
    ("JSTL", &[('"', "&#034;"), ('\'', "&#039;")]),
    ("Go templates", &[('"', "&#34;"), ('\'', "&#39;"), ('+', "&#43;")]),
    ("Mustache", &[('"', "&quot;"), ('\'', "&#39;"), ('/', "&#x2F;"), ('`', "&#x60;"), ('=', "&#x3D;")]),
    ("Handlebars", &[('"', "&quot;"), ('\'', "&#x27;"), ('`', "&#x60;"), ('=', "&#x3D;")]),
    (".NET", &[('"', "&quot;"), ('\'', "&#x27;"), ('`', "&#x60;"), ('+', "&#x2B;")]),
];

fn html(value: &str, marks: &Marks, beyond: Option<Number>) -> String {
    value.chars().fold(String::new(), |mut out, c| {
        match (c, marks.iter().find(|(mark, _)| *mark == c), beyond) {
            ('&', ..) => out.push_str("&amp;"),
            ('<', ..) => out.push_str("&lt;"),
            ('>', ..) => out.push_str("&gt;"),
            (_, Some((_, by)), _) => out.push_str(by),
            (_, None, Some(number)) if !c.is_ascii() => out.push_str(&number(u32::from(c))),
            _ => out.push(c),
        }
        out
    })
}

/// All the ways; each with its name.
fn spelled(value: &str) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = vec![("raw".into(), value.into())];
    let mut add = |name: &str, text: String| all.push((name.to_owned(), text.into_bytes()));
    for (name, left, plus) in PERCENT {
        add(name, percent(value, left, plus, true));
        add(name, percent(value, left, plus, false));
    }
    for (name, signs, slash, upper) in JSON {
        add(name, json(value, signs, slash, upper, false));
        add(name, json(value, signs, slash, upper, true));
    }
    let numbers: [Option<Number>; 4] =
        [None, Some(|c| format!("&#{c};")), Some(|c| format!("&#x{c:x};")), Some(|c| format!("&#x{c:X};"))];
    for (name, marks) in HTML {
        for beyond in numbers {
            add(name, html(value, marks, beyond));
        }
    }
    let bytes = |write: fn(u8) -> String| value.bytes().map(write).collect::<String>();
    add("hex", bytes(|byte| format!("{byte:02x}")));
    add("HEX", bytes(|byte| format!("{byte:02X}")));
    add("\\x", bytes(|byte| format!("\\x{byte:02x}")));
    add("\\X", bytes(|byte| format!("\\x{byte:02X}")));
    add("%", bytes(|byte| format!("%{byte:02x}")));
    let units: Vec<u16> = value.encode_utf16().collect();
    add("\\u", units.iter().map(|unit| format!("\\u{unit:04x}")).collect());
    add("\\U", units.iter().map(|unit| format!("\\u{unit:04X}")).collect());
    all.push(("UTF-16LE".into(), units.iter().flat_map(|unit| unit.to_le_bytes()).collect()));
    all.push(("UTF-16BE".into(), units.iter().flat_map(|unit| unit.to_be_bytes()).collect()));
    all
}

/// Signs that escapes change, letters that are two, three and four bytes, and few letters of others, so that values
/// begin alike.
const VALUE: &str = "[abq0-9\"'/\\\\+=&<> %:@~!*()`,;?#\\[\\]{}|^$._äß€😀-]{6,24}";

#[test]
fn encoders_do_not_hide_a_secret() {
    let values = [
        "wJalr+XUtn/FEMI/K7MDENG=",
        "pa'ss\"wo<rd>&9x",
        "it's ~(a)*b!c@d:e;f,g?h#i",
        "pä/ss+wör'd=9😀&x",
        "a`b[c]d{e}f|g^h$i\\j",
    ];
    let mut leaks = Vec::new();
    for value in values {
        let masker = Masker::builder().rules([]).known_secret(value).build().unwrap();
        for (name, text) in spelled(value) {
            let whole = masker.mask(&[b"<", &text[..], b">"].concat());
            if whole != b"<[REDACTED:known-secret]>" {
                leaks.push(format!("{name}: {}", String::from_utf8_lossy(&text)));
            }
        }
    }
    assert!(leaks.is_empty(), "{} leak:\n{}", leaks.len(), leaks.join("\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn a_secret_in_any_spelling_is_hidden_however_it_is_cut_while_others_come_and_go(
        values in prop::collection::vec(VALUE, 1..4),
        others in prop::collection::vec("[xyz]{6,9}", 1..3),
        around in prop::collection::vec("[abq0-9%&\\\\u;#A-F=+/]{0,9}", 8),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 8),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let known = KnownSecrets::new();
        known.extend(values.iter().map(String::as_bytes)).unwrap();
        let masker = Masker::builder().rules([]).known(known.clone()).build().unwrap();
        let all: Vec<(String, Vec<u8>)> = values.iter().flat_map(|value| spelled(value)).collect();
        let chosen: Vec<&(String, Vec<u8>)> = picks.iter().map(|pick| pick.get(&all)).collect();
        let mut text = Vec::new();
        for (before, (_, spelled)) in around.iter().zip(&chosen) {
            text.extend(before.as_bytes());
            text.extend(b"\n");
            text.extend(spelled);
            text.extend(b"\n");
        }
        let whole = masker.mask(&text);
        for (name, spelled) in &chosen {
            prop_assert!(
                !whole.windows(spelled.len()).any(|seen| seen == spelled),
                "{name}: {}", String::from_utf8_lossy(spelled)
            );
        }
        let mut stream = masker.stream();
        let mut out = Vec::new();
        for (at, piece) in support::cut(&text, &cuts).into_iter().enumerate() {
            let other = &others[at % others.len()];
            if at % 3 == 2 {
                known.remove(other.as_bytes());
            } else {
                known.insert(other.as_bytes()).unwrap();
            }
            out.extend(stream.push(piece));
        }
        out.extend(stream.finish());
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&whole));
    }

    #[test]
    fn base64_of_a_secret_is_hidden_whatever_stands_around_it(
        value in VALUE,
        before in prop::collection::vec(any::<u8>(), 0..9),
        after in prop::collection::vec(any::<u8>(), 0..9),
        cuts in prop::collection::vec(any::<usize>(), 0..9),
    ) {
        let masker = Masker::builder().rules([]).known_secret(&value).build().unwrap();
        let text = [&before[..], value.as_bytes(), &after].concat();
        // Bits of the first and the last character may belong to what stands around.
        let (first, last) = ((before.len() * 8).div_ceil(6), (before.len() + value.len()) * 8 / 6);
        for encoded in [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text), URL_SAFE.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            let whole = masker.mask(encoded.as_bytes());
            let inside = &encoded.as_bytes()[first..last];
            prop_assert!(!whole.windows(inside.len()).any(|seen| seen == inside), "{}", encoded);
            let mut stream = masker.stream();
            let mut out: Vec<u8> = support::cut(encoded.as_bytes(), &cuts).into_iter().flat_map(|piece| stream.push(piece)).collect();
            out.extend(stream.finish());
            prop_assert_eq!(out, whole);
        }
    }
}
