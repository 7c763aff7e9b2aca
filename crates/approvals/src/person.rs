//! Who is the same person.

use gatewayd_core::{Identity, IdentityKind, is_obeyed_or_unseen};
use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

/// True if two identities must be taken for one person, so that nobody agrees to their own request, or counts
/// twice, by signing in another way.
///
/// That is: the same issuer and subject; subjects that read alike, at whatever issuer; or names that read alike, where
/// both have one. Two words read alike if they differ only in case, width, other forms of the same characters, blanks
/// around them and characters that are not seen; or, where one is not plain ASCII, if they cannot be told apart by eye.
/// It errs towards one person: of two people with the same name only one counts.
pub(crate) fn may_be_same(a: &Identity, b: &Identity) -> bool {
    a.is_same_person(b) || read_alike(&a.subject, &b.subject) || same_name(a, b)
}

/// True if the identity stands for a person.
pub(crate) fn is_person(identity: &Identity) -> bool {
    identity.kind != IdentityKind::GatewayToken
}

fn same_name(a: &Identity, b: &Identity) -> bool {
    let [a, b] = [a, b].map(|identity| identity.name.as_deref().unwrap_or_default());
    !folded(a).is_empty() && read_alike(a, b)
}

fn read_alike(a: &str, b: &str) -> bool {
    let (a, b) = (folded(a), folded(b));
    // Of plain words 1 and l, 0 and O would be one: identifiers of machines differ in no more.
    a == b || !(a.is_ascii() && b.is_ascii()) && skeleton(&a).eq(skeleton(&b))
}

/// The text without what does not make it another to whoever reads it.
fn folded(text: &str) -> String {
    let seen = text.chars().filter(|c| !is_obeyed_or_unseen(*c));
    // Capitals first: some letters have no small form of their own, such as that of the German SS.
    let one_case: String = seen.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let plain: String = one_case.nfkc().filter(|c| !is_obeyed_or_unseen(*c)).collect();
    plain.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(issuer: &str, subject: &str, name: Option<&str>) -> Identity {
        Identity {
            kind: IdentityKind::Oidc,
            issuer: issuer.into(),
            subject: subject.into(),
            name: name.map(Into::into),
            groups: [].into(),
            expires: None,
        }
    }

    #[test]
    fn another_way_to_sign_in_makes_no_other_person() {
        let alice = person("https://a", "alice", Some("Alice A."));
        assert!(may_be_same(&alice, &person("https://b", "alice", None)));
        assert!(may_be_same(&alice, &person("https://b", "4711", Some(" alice a. "))));
        assert!(!may_be_same(&alice, &person("https://a", "bob", Some("Bob"))));
        assert!(!may_be_same(&person("https://a", "x", None), &person("https://a", "y", None)));
        assert!(!may_be_same(&person("https://a", "x", Some(" ")), &person("https://a", "y", Some(""))));
    }

    #[test]
    fn a_subject_that_reads_alike_is_one_person_whatever_it_is_written_with() {
        let alice = person("https://a", "alice", None);
        for other in [
            "Alice",
            "ALICE",
            "alice\u{a0}",
            " alice",
            "ali\u{200b}ce",
            "alice\u{fe0f}",
            "\u{ff21}lice",
            "\u{430}lice",
            "al\u{456}ce",
            "\u{1d44e}lice",
            "alice\u{3164}",
        ] {
            for issuer in ["https://a", "https://b"] {
                assert!(may_be_same(&alice, &person(issuer, other, None)), "{other:?}");
                assert!(may_be_same(&person(issuer, other, None), &alice), "{other:?}");
            }
        }
        for other in ["alice2", "a1ice", "bob", "", "ali ce", "malice"] {
            assert!(!may_be_same(&alice, &person("https://a", other, None)), "{other:?}");
        }
        assert!(may_be_same(
            &person("https://a", "stra\u{df}e", None),
            &person("https://a", "STRASSE", None)
        ));
    }
}
