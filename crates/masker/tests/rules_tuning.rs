//! A user's file: rules of one's own with the same checks, switches, allowlists.

use gatewayd_masker::rule::{self, Tuning};
use gatewayd_masker::{Masker, Tier};

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
    let text = b"AKIAZQ3DRSTUVWXY2345 password = \"c0rrect-h0rse\"";
    let before = masker("").mask(text);
    assert_eq!(String::from_utf8_lossy(&before), "[REDACTED:aws-access-key-id] password = \"c0rrect-h0rse\"");
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
    let text = b"password = \"c0rrect-h0rse\"";
    assert_eq!(Masker::builder().build().expect("compiles").mask(text), text);
    let both = Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().expect("compiles");
    assert_eq!(both.mask(text), b"password = \"[REDACTED:password-assignment]\"");
}
