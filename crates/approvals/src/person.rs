//! Who is the same person.

use gatewayd_core::{Identity, IdentityKind};

/// True if two identities must be taken for one person, so that nobody agrees to their own request, or counts
/// twice, by signing in another way.
///
/// That is: the same issuer and subject; the same subject at whatever issuer; or the same name (regardless
/// of case), where both have one. It errs towards one person: of two people with the same name only one counts.
pub(crate) fn may_be_same(a: &Identity, b: &Identity) -> bool {
    a.is_same_person(b) || a.subject == b.subject || same_name(a, b)
}

/// True if the identity stands for a person.
pub(crate) fn is_person(identity: &Identity) -> bool {
    identity.kind != IdentityKind::GatewayToken
}

fn same_name(a: &Identity, b: &Identity) -> bool {
    let folded = |identity: &Identity| {
        let name = identity.name.as_deref().unwrap_or_default().trim().to_lowercase();
        (!name.is_empty()).then_some(name)
    };
    folded(a).is_some_and(|name| folded(b).is_some_and(|other| other == name))
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
}
