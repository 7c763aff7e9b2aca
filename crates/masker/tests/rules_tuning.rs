//! A user's file: rules of one's own with the same checks, switches, allowlists.

use gatewayd_masker::rule::{self, Rule, Tuning};
use gatewayd_masker::{Masker, Tier};
use proptest::prelude::*;

const OWN: &str = r#"
    [[rule]]
    id = "acme-key"
    description = "Acme's API key"
    anchors = ["acme_"]
    pattern = "acme_[a-z0-9]{20}"
    left = "word"
    right = "word"
    validators = ["entropy:2.0"]
    positive = ["«acme_‹b36 20›»", "key=«acme_‹b36 20›»;"]
    negative = ["acme_short", "xacme_‹b36 20›"]
"#;

fn problem(file: &str) -> String {
    Tuning::parse(file).expect_err("refused").to_string()
}

fn masker(tuning: &str) -> Masker {
    let tuning = Tuning::parse(tuning).expect("a good file");
    let rules = tuning.apply(rule::builtin()).expect("the rules it names exist");
    Masker::builder()
        .rules(rules)
        .fingerprint_key("a key of sixteen bytes or more")
        .build()
        .expect("compiles")
}

#[test]
fn a_rule_of_ones_own_masks_beside_the_others() {
    let masker = masker(OWN);
    let masked = masker.mask(b"acme_0a1b2c3d4e5f6g7h8i9j AKIAZQ3DRSTUVWXY2345");
    assert_eq!(String::from_utf8_lossy(&masked), "[REDACTED:acme-key] [REDACTED:aws-access-key-id]");
}

#[test]
fn what_is_wrong_with_a_rule_is_said_with_its_name_and_field() {
    let all = [
        (OWN.replace("pattern =", "patern ="), "patern"),
        (OWN.replace("acme_[a-z0-9]{20}", "[a-z0-9]{20}"), "no anchor"),
        (OWN.replace("acme_[a-z0-9]{20}", "acme_[a-z0-9]+"), "unbounded"),
        (OWN.replace("acme_[a-z0-9]{20}", "acme_(?:.{0,99}x.{0,99}y){9}"), "automaton"),
        (OWN.replace("entropy:2.0", "entropy:9"), "from 0 to 8"),
        (OWN.replace("acme_short", "acme_0a1b2c3d4e5f6g7h8i9j"), "narrower"),
        (OWN.replace("key=«acme_‹b36 20›»;", "key=acme"), "are found"),
        (OWN.replace("key=«acme_‹b36 20›»;", "«key=acme_‹b36 20›»;"), "are marked"),
    ];
    for (file, says) in all {
        let problem = problem(&file);
        assert!(problem.contains(says), "{says}: {problem}");
        assert!(problem.contains("acme-key") || problem.contains("line"), "names the place: {problem}");
    }
}

#[test]
fn a_rule_can_be_switched_off_and_an_assignment_rule_switched_on() {
    let text = b"AKIAZQ3DRSTUVWXY2345 password = \"correct-horse\"";
    let before = masker("").mask(text);
    assert_eq!(String::from_utf8_lossy(&before), "[REDACTED:aws-access-key-id] password = \"correct-horse\"");
    let after = masker(
        "[[change]]\nid = 'aws-access-key-id'\nenabled = false\n[[change]]\nid = 'password-assignment'\ntier = 'default'\n",
    );
    let after = after.mask(text);
    assert_eq!(
        String::from_utf8_lossy(&after),
        "AKIAZQ3DRSTUVWXY2345 password = \"[REDACTED:password-assignment]\""
    );
}

#[test]
fn a_change_to_a_rule_that_does_not_exist_is_refused() {
    let tuning = Tuning::parse("[[change]]\nid = 'no-such-rule'\nenabled = false").expect("reads");
    let problem = tuning.apply(rule::builtin()).expect_err("refused").to_string();
    assert!(problem.contains("no-such-rule"), "{problem}");
}

#[test]
fn values_are_left_alone_by_value_pattern_and_hmac_and_only_as_a_whole() {
    let key = "AKIAZQ3DRSTUVWXY2345";
    let other = "AKIAZQ3DRSTUVWXY2346";
    // HMAC-SHA-256 of the value under the fingerprint key, as the event of a mask reports it.
    let (_, events) = masker("").mask_with_events(key.as_bytes());
    let fingerprint = events.first().and_then(|event| event.fingerprint.clone()).expect("a key is set");
    for allow in [
        format!("[allow]\nvalues = ['{key}']"),
        "[allow]\npatterns = ['AKIAZQ.*2345']".to_owned(),
        format!("[allow]\nhmacs = ['{fingerprint}']"),
        format!("[[change]]\nid = 'aws-access-key-id'\nallow = {{ values = ['{key}'] }}"),
    ] {
        let masker = masker(&allow);
        assert_eq!(masker.mask(key.as_bytes()), key.as_bytes(), "{allow}");
        assert_eq!(masker.mask(other.as_bytes()), b"[REDACTED:aws-access-key-id]", "{allow}");
        // Longer text is another token, whatever it begins with.
        let longer = format!("{key}A");
        assert_eq!(masker.mask(longer.as_bytes()), longer.as_bytes(), "not of the shape: {allow}");
    }
}

#[test]
fn a_documented_sample_is_left_alone_and_its_neighbour_is_not() {
    let masker = masker("");
    assert_eq!(masker.mask(b"AKIAIOSFODNN7EXAMPLE"), b"AKIAIOSFODNN7EXAMPLE");
    assert_eq!(masker.mask(b"AKIAIOSFODNN7EXAMPLF"), b"[REDACTED:aws-access-key-id]");
}

#[test]
fn the_assignments_tier_is_off_unless_it_is_asked_for() {
    let text = b"password = \"correct-horse\"";
    assert_eq!(Masker::builder().build().expect("compiles").mask(text), text);
    let both = Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().expect("compiles");
    assert_eq!(both.mask(text), b"password = \"[REDACTED:password-assignment]\"");
}

/// Text that looks a little like a regular expression.
fn regex_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("acme_".to_owned()),
        "[a-c]{1,3}",
        "[()|.?*+^$\\[\\]{}]",
        Just("[a-z0-9]{20}".to_owned()),
        Just("[a-z]*".to_owned()),
        Just("{3,9}".to_owned()),
        Just("(?:x|y)".to_owned()),
        Just("\\b".to_owned()),
        Just("é".to_owned()),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A file of anything is read or refused with a reason, never a panic.
    #[test]
    fn any_file_is_read_or_refused(text in "\\PC{0,200}") {
        if let Err(error) = Tuning::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    /// A rule that passes the checks compiles, and every match of its pattern begins with its anchor.
    #[test]
    fn a_rule_that_passes_the_checks_compiles(
        pattern in regex_like(),
        context in proptest::option::of(regex_like()),
        max in proptest::option::of(0_usize..200),
        positive in "\\PC{0,12}",
    ) {
        let rule = Rule {
            id: "acme-key".into(),
            description: "Acme's key".into(),
            anchors: vec!["acme_".into()],
            pattern,
            context,
            max,
            positive: vec![positive, "«acme_‹b36 20›»".into()],
            negative: vec!["a".into(), "b".into()],
            ..Rule::default()
        };
        if rule::check(&rule).is_ok() {
            let _ = rule::prove(&rule, 1);
            let masker = Masker::builder().rules([rule.clone()]).build().map_err(|error| {
                TestCaseError::fail(format!("passes the checks and does not compile: {error}: {rule:?}"))
            })?;
            let text = b"xx acme_abcabcabcabcabcabcab acme_xyxy acme_aaa yy";
            for finding in masker.find(text) {
                let before = &text[..finding.range.end];
                prop_assert!(before.windows(5).any(|window| window == b"acme_"), "no anchor: {:?}", rule);
            }
        }
    }
}
