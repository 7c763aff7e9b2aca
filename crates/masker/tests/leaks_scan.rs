//! Leaks that were once found: what stands here came out unmasked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that fails may panic"
)]

use gatewayd_masker::Masker;

fn masker() -> Masker {
    Masker::builder().build().unwrap()
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Masks a text as a whole and byte by byte, which must agree.
fn masked(masker: &Masker, text: &str) -> String {
    let whole = masker.mask(text.as_bytes());
    let mut stream = masker.stream();
    let mut out: Vec<u8> = text.bytes().flat_map(|byte| stream.push(&[byte])).collect();
    out.extend(stream.finish());
    assert_eq!(show(&out), show(&whole), "byte by byte and as a whole: {text:?}");
    show(&whole)
}

/// Some capitals and digits without a pattern.
fn random(alphabet: &[u8], length: usize) -> String {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(alphabet[usize::try_from(state >> 33).unwrap() % alphabet.len()])
        })
        .collect()
}

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE62: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const BASE64: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/";

#[test]
fn a_text_that_ends_inside_of_a_known_secret_does_not_show_its_beginning() {
    let secret = "gwk_Zq3vT8nLw5Xc1RbY7sKd9PfH2mJ";
    let masker = Masker::builder().known_secret(secret).build().unwrap();
    for length in 8..secret.len() {
        assert_eq!(masked(&masker, &format!("key {}", &secret[..length])), "key [REDACTED:known-secret]");
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(masked(&masker, &hex[..hex.len() - 1]), "[REDACTED:known-secret]");
    let short = Masker::builder().known_secret("hunter22-x").build().unwrap();
    assert_eq!(masked(&short, "pass hunter"), "pass [REDACTED:known-secret]");
    // What goes on otherwise, or ends earlier, is not a secret.
    for clean in ["gwk_Zq3vT8nLw. More", "gwk_Zq3", "the gwk_ prefix"] {
        assert_eq!(masked(&masker, clean), clean);
    }
}

#[test]
fn a_text_that_ends_inside_of_a_key_does_not_show_most_of_it() {
    let masker = masker();
    let (base32, base62) = (random(BASE32, 16), random(BASE62, 40));
    for (text, rule) in [
        (format!("id AKIA{}", &base32[..15]), "id [REDACTED:aws-access-key-id]"),
        (format!("id AKIA{}", &base32[..12]), "id [REDACTED:aws-access-key-id]"),
        (format!("at ghp_{}", &base62[..35]), "at [REDACTED:github-pat]"),
        (format!("at ghp_{}", &base62[..27]), "at [REDACTED:github-pat]"),
    ] {
        assert_eq!(masked(&masker, &text), rule, "{text}");
    }
}

#[test]
fn a_text_that_ends_in_what_is_no_key_is_left_alone() {
    let masker = masker();
    let hex = "20e9817b9c5ddde1b0cec7622bfc557dbc823791";
    for clean in [
        "AKIA",
        "eyJhbGciOiJIUzI1NiJ9",
        "ghp_xxxx",
        "sk-learn",
        // Samples, and what begins like one.
        "AKIAIOSFODNN7EXAMPLE",
        "AKIAIOSFODNN7EXAM",
        "AKIAIOSFODNN7EXA",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "wandb_api_key = 000000000000000000000000000000000000000",
        "glpat-aaaabbbbaaaabbbbaaa",
        // Less than most of a key.
        &format!("ghp_{}", &random(BASE62, 40)[..26]),
        &format!("AKIA{}", &random(BASE32, 16)[..11]),
        // What would make keys of an issuer of it has not come.
        &format!("key = {hex}"),
        &format!("sort key={}", &hex[..32]),
    ] {
        assert_eq!(masked(&masker, clean), clean);
    }
}

#[test]
fn an_escape_spelled_before_a_key_is_no_part_of_its_word() {
    let masker = masker();
    let key = format!("AKIA{}", random(BASE32, 16));
    for before in [
        "\u{1b}[31m",
        "\u{1b}[1;38;5;208m",
        "\u{1b}[m",
        "\\u001b[0m",
        "\\x1b[31m",
        "\\033[1m",
        "[32m",
        "key\\u003d",
        "key\\u003D",
        "a\\x20",
        "a\\075",
        "a\\n",
        "a\\f",
        "a\\b",
        "k%3D",
        "k%253D",
        "k%u003D",
        "k=3D",
    ] {
        let text = format!("{before}{key}\n");
        assert_eq!(masked(&masker, &text), format!("{before}[REDACTED:aws-access-key-id]\n"));
    }
    for word in ["x", "u003d", "x20", "mm", "a[m", "1m", "\\z"] {
        let text = format!("{word}{key}\n");
        assert_eq!(masked(&masker, &text), text, "a word goes on");
    }
}

/// A key file of lines of some length, with something before and behind each.
fn pem(length: usize, lines: usize, before: &str, behind: &str) -> String {
    let body = random(BASE64, length * lines);
    let mut text = format!("{before}-----BEGIN RSA PRIVATE KEY-----{behind}\n");
    for (number, line) in body.as_bytes().chunks(length).enumerate() {
        let before = before.replace("N", &(number + 2).to_string());
        text.push_str(&format!("{before}{}{behind}\n", show(line)));
    }
    text + before + "-----END RSA PRIVATE KEY-----"
}

#[test]
fn a_key_file_is_masked_whatever_stands_beside_its_lines() {
    let masker = masker();
    for (before, behind) in [
        ("", ""),
        ("> ", ""),
        ("# ", ""),
        ("// ", ""),
        (" * ", ""),
        ("- ", ""),
        ("N: ", ""),
        ("  N | ", ""),
        ("", "<br>"),
        ("", "<br/>"),
        ("\"", "\\n\" +"),
        ("&gt; ", ""),
        ("| ", " |"),
    ] {
        for (length, lines) in [(64, 20), (20, 40), (12, 40), (6, 100)] {
            let text = pem(length, lines, before, behind);
            let out = masked(&masker, &format!("here\n{text}\nand this is what follows it"));
            let expected = format!("here\n{before}[REDACTED:private-key]\nand this is what follows it");
            assert_eq!(out, expected, "{before:?} {behind:?} {length}");
        }
    }
}

#[test]
fn no_length_is_too_much_for_a_key_file() {
    let masker = masker();
    let text = pem(64, 2000, "", "");
    assert_eq!(show(&masker.mask(text.as_bytes())), "[REDACTED:private-key]");
}

#[test]
fn no_length_is_too_much_for_a_token() {
    let masker = masker();
    for (payload, signature) in [(40_000, 86), (30, 200_000), (200_000, 200_000), (16_300, 86)] {
        let token = format!("eyJhbGciOiJIUzI1NiJ9.{}.{}", random(BASE62, payload), random(BASE62, signature));
        assert_eq!(masked(&masker, &format!("a {token} b")), "a [REDACTED:jwt] b");
    }
    // `{ "alg": ...` and a header with line breaks.
    for header in
        ["eyAiYWxnIjogIkhTMjU2IiB9", "ewogICJhbGciOiAiSFMyNTYiCn0", "ew0KICAiYWxnIjogIkhTMjU2Ig0KfQ"]
    {
        let token = format!("{header}.{}.{}", random(BASE62, 60), random(BASE62, 43));
        assert_eq!(masked(&masker, &format!("a {token} b")), "a [REDACTED:jwt] b", "{header}");
    }
}

#[test]
fn a_password_in_the_url_of_a_database_is_masked_whatever_it_holds() {
    let masker = masker();
    let long = random(BASE62, 300);
    for (url, rest) in
        [("postgres://app:", "@db/x"), ("mongodb+srv://u:", "@h"), ("postgres:\\/\\/u:", "@db\\/x")]
    {
        for password in [
            "pa/ss1Kq",
            "pa#ss1Kq",
            "pa?ss1Kq",
            "pa'ss1Kq",
            "pa\"ss1Kq",
            "pa\\ss1Kq",
            "pa<ss1Kq",
            "pa ss1Kq",
            "pa@ss1Kq",
            "7q#x",
            &long,
        ] {
            let out = masked(&masker, &format!("at {url}{password}{rest} end"));
            let masks = ["[REDACTED:url-password]", "[REDACTED:dsn-password]"];
            assert!(masks.iter().any(|mask| out == format!("at {url}{mask}{rest} end")), "{password}: {out}");
        }
    }
    let user = "u".repeat(200);
    assert_eq!(
        masked(&masker, &format!("https://{user}:hunter22x@h/")),
        format!("https://{user}:[REDACTED:url-password]@h/")
    );
    for clean in ["redis://localhost:6379/0, or me@example.com", "http://localhost:8080/@vite/client"] {
        assert_eq!(masked(&masker, clean), clean);
    }
}

#[test]
fn a_known_secret_is_found_in_the_spellings_of_other_tools() {
    let secret = "gwk Zq3vT8nLw5Xc/1";
    let masker = Masker::builder().rules([]).known_secret(secret).build().unwrap();
    let each = |write: fn(u8) -> String| secret.bytes().map(write).collect::<String>();
    let between =
        |write: fn(u8) -> String, sign: &str| secret.bytes().map(write).collect::<Vec<_>>().join(sign);
    for spelled in [
        each(|b| format!("&#X{b:X};")),
        each(|b| format!("&#{b:04};")),
        each(|b| format!("&#x{b:04x};")),
        each(|b| format!("&#x{b:04X};")),
        each(|b| format!("\\{b:03o}")),
        each(|b| format!("\\u{{{b:x}}}")),
        between(|b| format!("{b:02x}"), ":"),
        between(|b| format!("{b:02X}"), ":"),
        between(|b| format!("{b:02x}"), " "),
        between(|b| format!("{b:02X}"), " "),
    ] {
        assert_eq!(masked(&masker, &format!("<{spelled}>")), "<[REDACTED:known-secret]>", "{spelled}");
    }
}

#[test]
fn a_key_behind_an_equals_sign_that_is_spelled_as_an_escape_is_masked() {
    let text = format!("AccountName\\u003da;AccountKey\\u003d{}\\u003d\\u003d;x", random(BASE62, 86));
    assert_eq!(
        masked(&masker(), &text),
        "AccountName\\u003da;AccountKey\\u003d[REDACTED:azure-connection-key];x"
    );
}

/// A `_` ends a key whose characters have none.
#[test]
fn a_key_in_italics_or_in_a_file_name_is_masked() {
    let masker = Masker::builder().build().unwrap();
    for (before, behind) in
        [("_", "_"), ("see _", "_ there"), ("", "_backup.txt"), ("old_", "_2"), ("__", "__")]
    {
        let text = format!("{before}AKIAZ7QF3NXR2WLTK9EB{behind}");
        let expected = format!("{before}[REDACTED:aws-access-key-id]{behind}");
        for length in [1, 7, 64] {
            let mut stream = masker.stream();
            let mut out: Vec<u8> =
                text.as_bytes().chunks(length).flat_map(|piece| stream.push(piece)).collect();
            out.extend(stream.finish());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
    let longer = "see AKIAZ7QF3NXR2WLTK9EBX";
    assert_eq!(masker.mask(longer.as_bytes()), longer.as_bytes());
}

#[test]
fn what_is_longer_than_its_rule_allows_is_judged_as_far_as_that() {
    let rule = "[[rule]]\nid = \"long\"\nfamily = \"t\"\ndescription = \"d\"\nanchors = [\"k_\"]\npattern = \"k_[A-Za-z0-9]{8,}\"\nmax = 40\nvalidators = [\"entropy:3.0\"]\n";
    let masker = Masker::builder().rules(gatewayd_masker::rule::parse(rule).unwrap()).build().unwrap();
    let drawn = random(b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 100);
    assert_eq!(masked(&masker, &format!("a k_{drawn} b")), "a [REDACTED:long] b");
    let row = format!("a k_{} b", "A".repeat(100));
    assert_eq!(masked(&masker, &row), row);
}
