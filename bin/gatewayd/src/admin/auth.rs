//! Who uses the admin listener: the local key, or a person of an identity provider.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use gatewayd_core::{Dialect, Identity, IdentityKind, Refusal, RefusalCode};
use http::request::Parts;

use super::AdminState;

/// A refusal as problem details (RFC 9457).
pub(crate) struct Problem(pub Refusal);

impl Problem {
    pub(crate) fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self(Refusal::new(code, message.into()))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.response(Dialect::Unknown).map(axum::body::Body::new)
    }
}

/// Somebody who signed in, whoever they are. What they may see and do is decided by what they ask for.
pub(crate) struct SignedIn(pub Identity);

impl FromRequestParts<AdminState> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let authn = state.admin_authn();
        authn.authenticate(&parts.headers).await.map(Self).map_err(Problem)
    }
}

/// An administrator: the holder of the local key, or a member of one of `admin.groups`.
pub(crate) struct Administrator(pub Identity);

impl FromRequestParts<AdminState> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let SignedIn(identity) = SignedIn::from_request_parts(parts, state).await?;
        if is_administrator(&identity, &state.admin_groups()) {
            return Ok(Self(identity));
        }
        Err(Problem::new(
            RefusalCode::PolicyDenied,
            format!("`{}` is in none of admin.groups; ask an administrator", identity.subject),
        ))
    }
}

/// Whether somebody administrates this gateway. A gateway token never does: programs do not administrate.
pub(crate) fn is_administrator(identity: &Identity, groups: &[String]) -> bool {
    match identity.kind {
        IdentityKind::LocalAdmin => true,
        IdentityKind::Oidc | IdentityKind::Saml => groups.iter().any(|group| identity.in_group(group)),
        IdentityKind::GatewayToken => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(kind: IdentityKind, group: &str) -> Identity {
        Identity {
            kind,
            issuer: "https://id.example".into(),
            subject: "someone".into(),
            name: None,
            groups: [group.into()].into(),
            expires: None,
        }
    }

    #[test]
    fn only_people_of_the_named_groups_and_the_local_key_administrate() {
        let groups = ["platform-admins".to_owned()];
        assert!(is_administrator(&identity(IdentityKind::Oidc, "platform-admins"), &groups));
        assert!(is_administrator(&identity(IdentityKind::LocalAdmin, "x"), &groups));
        assert!(!is_administrator(&identity(IdentityKind::Oidc, "ml-eng"), &groups));
        assert!(!is_administrator(&identity(IdentityKind::GatewayToken, "platform-admins"), &groups));
        assert!(!is_administrator(&identity(IdentityKind::Oidc, ""), &[]));
    }
}
