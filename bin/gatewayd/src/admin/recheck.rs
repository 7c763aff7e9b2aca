//! `/api/v1/sessions/{id}/recheck`: would this request pass today, and would its answer be masked more?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_core::{Identity, IdentityKind};
use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;
use gatewayd_policy::Explanation;
use gatewayd_recorder::{Bundle, Error, Frame, StoredBody};
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
    /// Why the answer could not be looked at, or not all of it, if so.
    unread: Option<String>,
    /// The same of the stored request, which was masked before it was stored.
    found_in_request: BTreeMap<Arc<str>, u64>,
    /// Why the request could not be looked at, or not all of it, if so.
    unread_request: Option<String>,
}

/// The decision on record.
#[derive(Serialize)]
pub(crate) struct Then {
    effect: Option<&'static str>,
    rule: Option<String>,
    policy_version: Option<String>,
    /// Why it was refused, if so. Where there is no effect, that was before policy was asked.
    refusal: Option<&'static str>,
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
        let (answer, request) = match reader.replay(id) {
            Ok(replay) => {
                let (answer, request) = (&bundle.stored_response, &bundle.stored_request);
                (find(&masker, &replay.response, answer), find(&masker, &replay.request, request))
            }
            Err(error @ (Error::Erased(_) | Error::Damaged(_))) => (Looked::not(&error), Looked::not(&error)),
            Err(error) => return Err(error),
        };
        Ok((bundle, answer, request))
    });
    let (bundle, answer, request) = looked.await?;
    // Who asked for what is not what was signed: to judge that would be to judge somebody else's request.
    let now = match bundle.summary.altered {
        true => Err("the record was altered since it was made; run `gatewayd sessions verify`".to_owned()),
        false => decide(&state, &bundle),
    };
    // What was refused before policy was asked was not decided otherwise.
    let changed = now.as_ref().is_ok_and(|now| {
        let decision = &now.decision;
        bundle.summary.effect.is_some()
            && (Some(&*decision.rule), Some(effect(decision.effect)))
                != (bundle.summary.rule.as_deref(), bundle.summary.effect)
    });
    let (now, problem) = match now {
        Ok(now) => (Some(now), None),
        Err(why) => (None, Some(why)),
    };
    let then = Then {
        effect: bundle.summary.effect,
        rule: bundle.summary.rule,
        policy_version: bundle.policy_version,
        refusal: bundle.summary.refusal,
    };
    Ok(Json(Recheck {
        altered: bundle.summary.altered,
        then,
        now,
        problem,
        changed,
        found: answer.found,
        unread: answer.unread,
        found_in_request: request.found,
        unread_request: request.unread,
    }))
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

/// What today's rules find in a stored body.
#[derive(Default)]
struct Looked {
    found: BTreeMap<Arc<str>, u64>,
    /// Why it is not all of the body, if so.
    unread: Option<String>,
}

impl Looked {
    fn not(why: &impl ToString) -> Self {
        Self { unread: Some(why.to_string()), ..Self::default() }
    }
}

fn find(masker: &Masker, frames: &[Frame], stored: &StoredBody) -> Looked {
    let mut looked = Looked::default();
    let mut body = masker.body(BodyKind::Unknown);
    let read = frames.iter().try_for_each(|frame| body.push(&frame.bytes).map(drop));
    if let Err(error) = read.and_then(|()| body.finish().map(drop)) {
        return Looked::not(&error);
    }
    for event in body.take_events() {
        *looked.found.entry(event.rule).or_default() += 1;
    }
    if stored.cut || stored.withheld || stored.lost {
        looked.unread = Some(format!("only {} bytes of it are stored", stored.bytes));
    }
    looked
}
