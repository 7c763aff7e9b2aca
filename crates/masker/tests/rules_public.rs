//! What stands behind a name: values typed along the alphabet, which may be somebody's password, values that everybody can
//! read, and names that say that what follows is public.

use gatewayd_masker::rule::{self, Rule};
use gatewayd_masker::{Masker, Tier};

fn masker(tiers: &[Tier]) -> Masker {
    Masker::builder().tiers(tiers.iter().copied()).build().expect("the built-in rules compile")
}

fn mask(masker: &Masker, text: &str) -> String {
    String::from_utf8(masker.mask(text.as_bytes())).expect("UTF-8")
}

const DRAWN: &str = "9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJT";

#[test]
fn a_key_typed_along_the_alphabet_is_a_key_behind_a_name() {
    let (default, both) = (masker(&[Tier::Default]), masker(&[Tier::Default, Tier::Assignments]));
    for value in [
        "abcdefghijklmnopqrstuvwxyz123456",
        "abc123def456ghi789jkl012mno345",
        "0123456789abcdef0123456789abcdef",
        "AbCdEfGhIjKlMnOpQrStUvWxYz123456",
        "a1b2c3d4e5f67890abcdef1234567890",
    ] {
        for text in [
            format!("API_KEY={value}\n"),
            format!("\"client_secret\": \"{value}\""),
            format!("acme_key={value}\n"),
        ] {
            assert!(!mask(&default, &text).contains(value), "{text}");
            assert!(!mask(&both, &text).contains(value), "{text}");
        }
    }
    for text in [format!("API_KEY={DRAWN}\n"), format!("acme_key={DRAWN}\n")] {
        assert!(!mask(&default, &text).contains(DRAWN), "{text}");
    }
}

#[test]
fn a_name_that_says_public_is_no_name_of_a_secret() {
    let both = masker(&[Tier::Default, Tier::Assignments]);
    for name in [
        "public_key",
        "publicKey",
        "PUBLIC-KEY",
        "public key",
        "csrf_token",
        "csrfToken",
        "csrf-token",
        "XSRF_TOKEN",
        "page_token",
        "nextToken",
        "NextToken",
        "authenticity_token",
        "cache_key",
        "sortKey",
        "publishable_key",
    ] {
        for text in [
            format!("{name}={DRAWN}\n"),
            format!("{name}: {DRAWN}\n"),
            format!("{{\"{name}\": \"{DRAWN}\"}}"),
            format!("\"{name}\" => '{DRAWN}'"),
        ] {
            assert_eq!(mask(&both, &text), text);
        }
    }
    // The word must stand directly before the name.
    for text in [format!("public secret_token={DRAWN}\n"), format!("republic.api_key={DRAWN}\n")] {
        assert!(!mask(&both, &text).contains(DRAWN), "{text}");
    }
}

#[test]
fn what_stands_before_a_name_counts_however_a_text_is_cut() {
    let masker = masker(&[Tier::Default]);
    for (name, hidden) in [("next_token", false), ("acme_token", true)] {
        let text = format!("x {name}={DRAWN} y");
        for cut in 0..text.len() {
            let mut stream = masker.stream();
            let mut out = stream.push(&text.as_bytes()[..cut]);
            out.extend(stream.push(&text.as_bytes()[cut..]));
            out.extend(stream.finish());
            let out = String::from_utf8(out).expect("UTF-8");
            assert_eq!(out.contains(DRAWN), !hidden, "{out}");
        }
    }
}

#[test]
fn a_published_value_is_left_alone_under_any_name() {
    let both = masker(&[Tier::Default, Tier::Assignments]);
    // The key for the public index of npm packages.
    let published = "6fe4476ee5a1832882e326b506d14126";
    for text in [
        format!("apiKey: '{published}'"),
        format!("ALGOLIA_API_KEY={published}\n"),
        format!("key={published} "),
    ] {
        assert_eq!(mask(&both, &text), text);
        let other = text.replace("6fe4", "7fe4");
        assert_ne!(mask(&both, &other), other);
    }
    // `Aladdin:open sesame` of RFC 7617, and another login.
    let basic = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    assert_eq!(mask(&both, basic), basic);
    assert_eq!(
        mask(&both, "Authorization: Basic YW5uOms0LWl0LXdhcw=="),
        "Authorization: Basic [REDACTED:basic-header]"
    );
}

#[test]
fn a_rule_of_ones_own_may_say_before_which_names_it_does_not_begin() {
    let rule = Rule {
        id: "acme-pin".into(),
        description: "A pin".into(),
        anchors: vec!["pin=".into()],
        context: Some("pin=".into()),
        pattern: "[0-9]{4}".into(),
        unless_behind: vec!["safety".into()],
        ..Rule::default()
    };
    rule::check(&Rule {
        positive: vec!["pin=«1234»".into(); 2],
        negative: vec!["pin=x".into(); 2],
        ..rule.clone()
    })
    .expect("a good rule");
    let masker = Masker::builder().rules([rule]).build().expect("compiles");
    assert_eq!(mask(&masker, "pin=1234 SAFETY-pin=1234"), "pin=[REDACTED:acme-pin] SAFETY-pin=1234");
}
