//! One request that needs approval, from its body to its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{
    Body, BoxError, Decision, Identity, Operation, Refusal, RefusalCode, RequestId, Trail, UpstreamName,
    without_credentials,
};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, request};
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::approvals::{Approvals, claim, grant_claim, new_id};
use crate::config::Requirement;
use crate::digest::{BodyName, Parts, RequestDigest};
use crate::error::{Error, Refused};
use crate::headers::Covered;
use crate::hold::{self, Outcome};
use crate::layer::{REASON, Recheck};
use crate::multipart;
use crate::passing::Passing;
use crate::preview::{LOOKED_AT, Preview, short};
use crate::record::{Asked, Record};
use crate::spool::{self, Failure, Limits, Whole};
use crate::state::{Progress, State, Step, Use};
use crate::view::address;

pub(crate) const MISPLACED: &str = "the gateway is assembled wrongly: approvals must come after authn, dialects and policy; tell its operator";

const MAX_REASON: usize = 500;
const MAX_SHOWN: usize = 2048;
/// When a caller is told to come back while people are still being asked.
const COME_BACK: Duration = Duration::from_secs(30);
/// When a caller is told to come back to a gateway that restarts or is busy.
const SOON: Duration = Duration::from_secs(5);

/// What the outer controls found out.
#[derive(Clone)]
struct Facts {
    identity: Identity,
    operation: Operation,
    upstream: UpstreamName,
    decision: Decision,
    trail: Option<Trail>,
}

/// Holds a request that needs approval, and lets it pass once it has it.
pub(crate) async fn hold<S, R>(
    approvals: Approvals,
    recheck: Option<Recheck>,
    request: Request<Body>,
    mut inner: S,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<R>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let (mut head, body) = request.into_parts();
    let trail = head.extensions.get::<Trail>().cloned();
    let dialect = head.extensions.get::<Operation>().map_or_else(
        || gatewayd_core::Dialect::guess(&head.uri, &head.headers),
        |operation| operation.dialect,
    );
    let (body, passing) = match agreed(&approvals, recheck.as_ref(), &mut head, body).await {
        Ok(agreed) => agreed,
        Err(refusal) => {
            let refusal = match &trail {
                Some(trail) => refusal.on(trail),
                None => *refusal,
            };
            return Ok(refusal.response(dialect));
        }
    };
    let result = inner.call(Request::from_parts(head, body)).await;
    let answered = match &result {
        Err(_) => false,
        Ok(response) => {
            response.extensions().get::<RefusalCode>().is_none_or(|code| may_have_been_sent(*code))
        }
    };
    if let Some(passing) = passing {
        passing.settle(answered).await;
    }
    result.map(|response| response.map(Body::new))
}

/// A refusal that an upstream may have to do with: something may have been sent.
fn may_have_been_sent(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::UpstreamUnavailable
            | RefusalCode::UpstreamInvalid
            | RefusalCode::UpstreamTimeout
            | RefusalCode::MaskingFailed
    )
}

/// Waits for agreement, and takes the approval for this request.
async fn agreed(
    approvals: &Approvals,
    recheck: Option<&Recheck>,
    head: &mut request::Parts,
    body: Body,
) -> Result<(Body, Option<Passing>), Box<Refusal>> {
    let facts = facts(head)?;
    let requirement = requirement(approvals, &facts.decision)?;
    if *approvals.0.stopping.borrow() {
        return Err(shutting_down());
    }
    // Kept while the request waits: it bounds held sockets, memory and disk at once.
    let Some(_place) = approvals.0.places.take(&facts.identity) else {
        let message = "too many requests wait for approval; send this one again later";
        return Err(Box::new(Refusal::new(RefusalCode::TooManyRequests, message).retry_after(SOON)));
    };
    approvals.recover().await.map_err(|error| unavailable(&error))?;
    let reason = reason(&mut head.headers)?;
    let boundary = multipart::boundary(&head.headers);
    let account = approvals.0.disk.open(Some(&facts.identity));
    let taken = spool::take(body, &limits(approvals), boundary, account).await;
    let mut whole = taken.map_err(|failure| not_taken(&failure))?;
    let record = ask(approvals, head, &facts, requirement, reason, &mut whole).await?;
    let attached = approvals.attach(record).await.map_err(|error| unavailable(&error))?.ok_or_else(|| {
        let message = "too many approvals of yours wait for people; wait for them, or cancel some";
        Box::new(Refusal::new(RefusalCode::TooManyRequests, message).retry_after(COME_BACK))
    })?;
    let id = attached.id;
    let outcome = hold::until_decided(approvals, &id).await.map_err(|error| unavailable(&error))?;
    match outcome {
        Outcome::Decided(_, State::Approved) => {}
        Outcome::Decided(record, state) => return Err(ended(&record, state)),
        Outcome::Parked(record) => return Err(parked(approvals, &record)),
        Outcome::ShuttingDown => return Err(shutting_down()),
    }
    // What held when the request came in may not hold any more.
    if let Some(recheck) = recheck {
        recheck(&head.extensions).await.map_err(Box::new)?;
    }
    let passing = take(approvals, &id, facts.trail.as_ref()).await?;
    Ok((whole.into_body(), passing))
}

fn facts(head: &request::Parts) -> Result<Facts, Box<Refusal>> {
    let found = || {
        Some(Facts {
            identity: head.extensions.get::<Identity>()?.clone(),
            operation: head.extensions.get::<Operation>()?.clone(),
            upstream: head.extensions.get::<UpstreamName>()?.clone(),
            decision: head.extensions.get::<Decision>()?.clone(),
            trail: head.extensions.get::<Trail>().cloned(),
        })
    };
    found().ok_or_else(|| Box::new(Refusal::new(RefusalCode::Misconfigured, MISPLACED)))
}

fn requirement(approvals: &Approvals, decision: &Decision) -> Result<(String, Requirement), Box<Refusal>> {
    let name = decision.approval.as_deref().unwrap_or_default();
    let found = approvals.requirements().get(name).cloned();
    found.map(|requirement| (name.to_owned(), requirement)).ok_or_else(|| {
        let message = "policy asks for an approval that is not configured; tell the gateway's operator";
        Box::new(Refusal::new(RefusalCode::Misconfigured, message).with("rule", &*decision.rule))
    })
}

/// The caller's reason; taken off the request.
fn reason(headers: &mut HeaderMap) -> Result<Option<String>, Box<Refusal>> {
    let values: Vec<String> = headers
        .get_all(REASON)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    headers.remove(REASON);
    match <[String; 1]>::try_from(values) {
        Ok([reason]) => Ok(Some(reason)),
        Err(values) if values.is_empty() => Ok(None),
        Err(_) => {
            let message = "header `x-approval-reason` is there more than once; send it once";
            Err(Box::new(Refusal::new(RefusalCode::InvalidRequest, message)))
        }
    }
}

fn limits(approvals: &Approvals) -> Limits {
    let config = &approvals.0.config;
    Limits {
        body: config.body_limit,
        memory: config.memory_limit,
        timeout: config.body_timeout,
        folder: config.spool_dir.clone(),
    }
}

/// What is put before people.
async fn ask(
    approvals: &Approvals,
    head: &request::Parts,
    facts: &Facts,
    (name, requirement): (String, Requirement),
    reason: Option<String>,
    whole: &mut Whole,
) -> Result<Record, Box<Refusal>> {
    let (body, covered) = match &whole.pieces {
        // The pieces are all that the content type says; see `multipart`.
        Some(pieces) => (BodyName::Pieces(pieces), Covered::of(&head.headers, Some(&CONTENT_TYPE))),
        None => {
            let body = BodyName::Bytes { sha256: &whole.sha256, length: whole.length };
            (body, Covered::of(&head.headers, None))
        }
    };
    let redact = &*approvals.0.redact;
    let headers = covered.shown(redact).ok_or_else(|| {
        let message = "the request has more headers than can be put before people; leave some out";
        Box::new(Refusal::new(RefusalCode::HeadersTooLarge, message))
    })?;
    let digest = RequestDigest::of(&Parts {
        method: &head.method,
        uri: &head.uri,
        headers: &covered,
        identity: &facts.identity,
        operation: &facts.operation,
        upstream: &facts.upstream,
        decision: &facts.decision,
        body,
    });
    let first = whole.head(LOOKED_AT).await.map_err(|error| not_taken(&Failure::Disk(error)))?;
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let all = first.len() as u64 == whole.length;
    let preview = Preview::of(redact, content_type, &first, all, approvals.0.config.preview_limit);
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let (now, operation) = (approvals.now(), &facts.operation);
    Ok(Record {
        id: new_id(),
        revision: 0,
        digest,
        asked: Asked {
            created: now,
            request: facts.trail.as_ref().map(Trail::id),
            method: short(redact, head.method.as_str(), 32),
            path: short(redact, &without_credentials(path), MAX_SHOWN),
            dialect: operation.dialect,
            action: operation.action.as_str().to_owned(),
            model: operation.model.as_deref().map(|model| short(redact, model, 256)),
            streaming: operation.streaming,
            route: operation.route.to_string(),
            upstream: facts.upstream.0.to_string(),
            rule: facts.decision.rule.to_string(),
            policy_version: facts.decision.policy_version.to_string(),
            requirement: name,
            reason: reason
                .map(|reason| short(redact, &reason, MAX_REASON))
                .filter(|reason| !reason.is_empty()),
            headers,
            content_type: content_type.map(|value| short(redact, value, 128)),
            body_length: whole.length,
            body_sha256: hex::encode(whole.sha256),
            preview,
        },
        progress: Progress::new(facts.identity.clone(), requirement, now),
    })
}

/// Takes the approval for this request, so that no other can pass on it; `None` for a grant, which many may use.
async fn take(
    approvals: &Approvals,
    id: &Arc<str>,
    trail: Option<&Trail>,
) -> Result<Option<Passing>, Box<Refusal>> {
    let request = trail.map_or_else(RequestId::generate, Trail::id);
    let taken = Use { request, claimed_in_journal: trail.is_some() };
    let passing = Passing::new(approvals.clone(), Arc::clone(id), taken);
    let refused = match approvals.step(id, Step::Take(taken)).await {
        Ok(record) if record.progress.in_use == Some(taken) => {
            if let Some(trail) = trail {
                trail.claim(claim(id));
            }
            return Ok(Some(passing));
        }
        Ok(_) => {
            if let Some(trail) = trail {
                trail.claim(grant_claim(id, request));
            }
            passing.forget();
            return Ok(None);
        }
        Err(refused) => refused,
    };
    // After any other error nobody knows whether it was taken: `passing` finds out.
    if let Error::Refused(_) = refused {
        passing.forget();
    }
    Err(match refused {
        Error::Refused(Refused::InUse) => consumed(id, "another request is using this approval right now"),
        Error::Refused(Refused::NotUsable(state)) => {
            let record = approvals.get(id).await.map_err(|error| unavailable(&error))?;
            ended(&record, state)
        }
        error => unavailable(&error),
    })
}

fn parked(approvals: &Approvals, record: &Record) -> Box<Refusal> {
    let left = record.progress.deadline.since(approvals.now());
    let url = address(&approvals.0.config.public_url, &record.id);
    let message = format!(
        "rule `{}` asks people to approve this ({}); send the same request again once they have, see {url}",
        record.asked.rule,
        crate::quorum::in_words(&record.progress.requirement.alternatives),
    );
    let refusal = Refusal::new(RefusalCode::ApprovalPending, message)
        .with("approval_id", &*record.id)
        .with("approval_url", url)
        .with("approval_seconds_left", left.as_secs().to_string())
        .with("rule", record.asked.rule.as_str())
        .retry_after(COME_BACK.min(left).max(Duration::from_secs(1)));
    Box::new(refusal)
}

/// The answer to a request whose approval ended while it was attached.
fn ended(record: &Record, state: State) -> Box<Refusal> {
    let (code, message) = match state {
        State::Denied => {
            (RefusalCode::ApprovalDenied, "an approver said no; talk to them before you ask again")
        }
        State::Cancelled => {
            (RefusalCode::ApprovalDenied, "this approval was cancelled; send the request again to ask anew")
        }
        State::Expired => {
            (RefusalCode::ApprovalExpired, "nobody decided in time; send the request again to ask anew")
        }
        State::Consumed | State::Indeterminate | State::Pending | State::Approved => {
            return consumed(&record.id, "another request has used this approval");
        }
    };
    let refusal =
        Refusal::new(code, message).with("approval_id", &*record.id).with("rule", record.asked.rule.as_str());
    Box::new(refusal)
}

fn consumed(id: &Arc<str>, what: &str) -> Box<Refusal> {
    let message = format!("{what}, and it lets one request pass; do not send it again by itself");
    Box::new(Refusal::new(RefusalCode::ApprovalConsumed, message).with("approval_id", &**id))
}

fn shutting_down() -> Box<Refusal> {
    let message = "the gateway restarts; send the same request again, its approval is kept";
    Box::new(Refusal::new(RefusalCode::ShuttingDown, message).retry_after(SOON))
}

/// The store or the journal cannot be used: nothing passes.
fn unavailable(error: &Error) -> Box<Refusal> {
    tracing::error!(%error, "approvals cannot be kept, so a request that needs one is refused");
    let message = "approvals cannot be kept right now, so nothing that needs one passes; send it again later";
    Box::new(Refusal::new(RefusalCode::RecorderUnavailable, message).retry_after(SOON))
}

fn not_taken(failure: &Failure) -> Box<Refusal> {
    let (code, message) = match failure {
        Failure::TooLarge => (RefusalCode::BodyTooLarge, "the body is too large to be put before people"),
        Failure::TooSlow => (RefusalCode::RequestTimeout, "the body did not arrive in time"),
        Failure::NoRoom(no_room) => {
            let refusal = Refusal::new(RefusalCode::TooManyRequests, no_room.to_string());
            return Box::new(refusal.retry_after(SOON));
        }
        Failure::Broken => (RefusalCode::InvalidRequest, "the body broke off or is framed wrongly"),
        Failure::Disk(error) => {
            tracing::error!(%error, "a body that waits for approval cannot be kept on disk");
            let message = "the body cannot be kept while it waits for approval; send it again later";
            return Box::new(Refusal::new(RefusalCode::RecorderUnavailable, message).retry_after(SOON));
        }
    };
    Box::new(Refusal::new(code, message))
}
