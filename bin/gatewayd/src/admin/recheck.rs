//! `/api/v1/sessions/{id}/recheck`: would this request pass today, and would its answer be masked more?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_core::{Identity, IdentityKind};
use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;
use gatewayd_policy::Explanation;
use gatewayd_recorder::{Bundle, Error, Replay};
use http::{Method, Uri};
use serde::Serialize;

use super::AdminState;
use super::auth::{Administrator, Problem};
use super::sessions::{note, parse, read};

/// What was decided then, what would be today, and what today's rules find in the stored answer.
#[derive(Serialize)]
pub(crate) struct Recheck {
    /// What is on record is not what was signed.
    altered: bool,
    then: Then,
    /// `None` where the request could not be understood, then or now: see `problem`.
    now: Option<Explanation>,
    problem: Option<String>,
    /// Effect or rule differ.
    changed: bool,
    /// What today's masking rules find in the stored answer, which was masked already: each is a secret that
    /// the caller saw.
    found: BTreeMap<Arc<str>, u64>,
    /// Why the stored answer could not be looked at, if so.
    unread: Option<String>,
}

/// The decision on record.
#[derive(Serialize)]
pub(crate) struct Then {
    effect: Option<&'static str>,
    rule: Option<String>,
    policy_version: Option<String>,
}

pub(crate) async fn recheck(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<Json<Recheck>, Problem> {
    let id = parse(&id)?;
    note(&state, who, &id.to_string(), "recheck", Some(id)).await?;
    let masker = state.gateway().controls().config.masker.clone();
    let looked = read(&state, move |reader| {
        let bundle = reader.show(id)?;
        // An erased answer is no reason not to ask policy.
        let found = match reader.replay(id) {
            Ok(replay) => find(&masker, &replay),
            Err(error @ (Error::Erased(_) | Error::Damaged(_))) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok((bundle, found))
    });
    let (bundle, found) = looked.await?;
    // Who asked for what is not what was signed: to judge that would be to judge somebody else's request.
    let now = match bundle.summary.altered {
        true => Err("the record was altered since it was made; run `gatewayd sessions verify`".to_owned()),
        false => decide(&state, &bundle),
    };
    let changed = now.as_ref().is_ok_and(|now| {
        let decision = &now.decision;
        (Some(&*decision.rule), Some(effect(decision.effect)))
            != (bundle.summary.rule.as_deref(), bundle.summary.effect)
    });
    let (found, unread) = match found {
        Ok(found) => (found, None),
        Err(why) => (BTreeMap::new(), Some(why)),
    };
    let (now, problem) = match now {
        Ok(now) => (Some(now), None),
        Err(why) => (None, Some(why)),
    };
    let then = Then {
        effect: bundle.summary.effect,
        rule: bundle.summary.rule,
        policy_version: bundle.policy_version,
    };
    let altered = bundle.summary.altered;
    Ok(Json(Recheck { altered, then, now, problem, changed, found, unread }))
}

fn effect(effect: gatewayd_core::Effect) -> &'static str {
    match effect {
        gatewayd_core::Effect::Allow => "allow",
        gatewayd_core::Effect::Deny => "deny",
        gatewayd_core::Effect::Approve => "approve",
    }
}

/// Asks the policy in force about the recorded caller and request.
fn decide(state: &AdminState, bundle: &Bundle) -> Result<Explanation, String> {
    let summary = &bundle.summary;
    let (Some(issuer), Some(subject)) = (&summary.issuer, &summary.subject) else {
        return Err("the caller was not known, so there is nothing to decide".to_owned());
    };
    let identity = Identity {
        kind: IdentityKind::Oidc, // policy does not look at how somebody signed in
        issuer: issuer.as_str().into(),
        subject: subject.as_str().into(),
        name: summary.name.as_deref().map(Into::into),
        groups: summary.groups.iter().map(|group| group.as_str().into()).collect(),
        expires: None,
    };
    let method = Method::from_bytes(summary.method.as_bytes()).map_err(|error| error.to_string())?;
    let uri: Uri =
        summary.path.parse().map_err(|_| "the recorded path was masked and cannot be routed".to_owned())?;
    let controls = state.gateway().controls();
    let classified = controls
        .dialects
        .classify_named(&method, &uri, summary.model.as_deref())
        .map_err(|problem| problem.to_string())?;
    let source = bundle.peer.as_ref().and_then(|peer| peer.parse::<std::net::SocketAddr>().ok());
    let now = state.gateway().lasting().clock.now();
    let policy = controls.config.policy.load();
    Ok(policy.explain(&identity, &classified.operation, &classified.upstream, source.map(|s| s.ip()), now))
}

/// What today's rules find in what the caller saw.
fn find(masker: &Masker, replay: &Replay) -> Result<BTreeMap<Arc<str>, u64>, String> {
    let mut body = masker.body(BodyKind::Unknown);
    let mut found = BTreeMap::new();
    for frame in &replay.response {
        body.push(&frame.bytes).map_err(|error| error.to_string())?;
    }
    body.finish().map_err(|error| error.to_string())?;
    for event in body.take_events() {
        *found.entry(event.rule).or_default() += 1;
    }
    Ok(found)
}
