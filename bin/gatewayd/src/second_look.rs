//! A last look at a request that waited for people: what was true when it came may not be true any more.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gatewayd_authn::Presented;
use gatewayd_core::{
    BoxFuture, Clock, Decision, Effect, Identity, Operation, Refusal, RefusalCode, Trail, UpstreamName,
};
use http::Extensions;

use crate::serve::controls::Controls;

/// Judges the caller and the request again, by the controls in force *now*: a token revoked or a rule changed
/// while people decided counts. What people agreed to stays agreed; the caller may come again with a good token.
pub(crate) fn look(
    controls: &ArcSwap<Controls>,
    clock: &Arc<dyn Clock>,
    extensions: &Extensions,
) -> BoxFuture<'static, Result<(), Refusal>> {
    let controls = controls.load_full();
    let facts = Facts::of(extensions);
    let now = clock.now();
    Box::pin(async move {
        let facts = facts.ok_or_else(|| {
            Refusal::new(RefusalCode::Misconfigured, "this gateway is assembled wrongly; tell its operator")
        })?;
        let identity = controls.authn.authenticate_presented(&facts.presented).await?;
        if !identity.is_same_person(&facts.identity) {
            return Err(Refusal::new(
                RefusalCode::InvalidToken,
                "the token is not the one the request came with",
            ));
        }
        let policy = controls.config.policy.load();
        let source = facts.trail.and_then(|trail| trail.peer()).map(|peer| peer.address.ip());
        let decision = policy.decide(&identity, &facts.operation, &facts.upstream, source, now);
        if asks_no_more(&facts.decision, &decision) {
            return Ok(());
        }
        let rule = &decision.rule;
        let message = match decision.effect {
            Effect::Deny => format!("policy changed while this request waited: rule `{rule}` denies it now"),
            _ => format!(
                "policy changed while this request waited: rule `{rule}` asks for another approval; send it again"
            ),
        };
        Err(Refusal::new(RefusalCode::PolicyDenied, message).with("rule", rule.to_string()))
    })
}

/// Whether what people agreed to is still enough.
fn asks_no_more(then: &Decision, now: &Decision) -> bool {
    match now.effect {
        Effect::Allow => true,
        Effect::Approve => now.approval == then.approval,
        Effect::Deny => false,
    }
}

/// What the outer controls established about the request.
struct Facts {
    presented: Presented,
    identity: Identity,
    operation: Operation,
    upstream: UpstreamName,
    decision: Decision,
    trail: Option<Trail>,
}

impl Facts {
    fn of(extensions: &Extensions) -> Option<Self> {
        Some(Self {
            presented: extensions.get::<Presented>()?.clone(),
            identity: extensions.get::<Identity>()?.clone(),
            operation: extensions.get::<Operation>()?.clone(),
            upstream: extensions.get::<UpstreamName>()?.clone(),
            decision: extensions.get::<Decision>()?.clone(),
            trail: extensions.get::<Trail>().cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(effect: Effect, approval: Option<&str>) -> Decision {
        let approval = approval.map(Into::into);
        Decision { effect, rule: "r".into(), policy_version: "v".into(), approval }
    }

    #[test]
    fn an_approval_is_enough_unless_policy_asks_for_more() {
        let then = decision(Effect::Approve, Some("two-people"));
        assert!(asks_no_more(&then, &then));
        assert!(asks_no_more(&then, &decision(Effect::Allow, None)));
        assert!(!asks_no_more(&then, &decision(Effect::Deny, None)));
        assert!(!asks_no_more(&then, &decision(Effect::Approve, Some("the-board"))));
    }
}
