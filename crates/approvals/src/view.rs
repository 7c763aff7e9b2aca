//! What people see of an approval.

use gatewayd_core::{Identity, RequestId, Timestamp};

use crate::config::{Requirement, Seats};
use crate::diff::Change;
use crate::preview::{Preview, printable};
use crate::record::Record;
use crate::state::{State, Vote};
use crate::{person, quorum};

/// An approval, for people: masked, and printable on a terminal.
#[derive(Debug, Clone, serde::Serialize)]
pub struct View {
    /// Its name.
    pub id: String,
    /// Where people decide.
    pub url: String,
    /// Where it stands.
    pub state: State,
    /// Who asks; `None` where that was erased.
    pub requester: Option<Identity>,
    /// When the words of it were erased. What is left are its ids, digests, times, rule and votes.
    pub erased: Option<Timestamp>,
    /// Why, in the requester's words.
    pub reason: Option<String>,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The headers that are part of what is agreed to, by name: masked, and cut where they are long.
    pub headers: Vec<(String, String)>,
    /// The protocol.
    pub dialect: &'static str,
    /// What is to be done: an action, or the kind of a change of the gateway itself.
    pub action: String,
    /// With which model.
    pub model: Option<String>,
    /// True if the answer is a stream.
    pub streaming: bool,
    /// The route as a template.
    pub route: String,
    /// Where it goes.
    pub upstream: String,
    /// The policy rule that asks for approval.
    pub rule: String,
    /// The policy it stands in.
    pub policy_version: String,
    /// Name of the requirement.
    pub requirement: String,
    /// The requirement in words, such as `1 of ml-leads and 1 of security`.
    pub takes: String,
    /// What an approval lets pass, in words.
    pub covers: String,
    /// For each alternative, the seats still empty. Empty when decided.
    pub missing: Vec<Vec<Seats>>,
    /// Votes in order.
    pub votes: Vec<Vote>,
    /// When it was asked.
    pub created: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
    /// Whole seconds until then; 0 when it has ended.
    pub seconds_left: u64,
    /// When people decided.
    pub decided: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The request that asked first.
    pub request: Option<RequestId>,
    /// The request that is passing right now.
    pub in_use_by: Option<RequestId>,
    /// The request that passed.
    pub used_by: Option<RequestId>,
    /// The body.
    pub body: BodyView,
    /// The very same request before.
    pub before: Option<Before>,
    /// What changed since the last approved one of the same caller and route; `None` if there is none, or in lists.
    pub changes: Option<Vec<Change>>,
    #[serde(skip)]
    asks: Requirement,
}

/// The body of a request, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BodyView {
    /// Its media type.
    pub content_type: Option<String>,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of the whole body, lower-case hex. What is agreed to is this, shown or not.
    pub sha256: String,
    /// The masked beginning; `None` in lists.
    pub preview: Option<Preview>,
}

/// An earlier approval of the very same request.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Before {
    /// Its name.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// When it was asked.
    pub created: Timestamp,
}

impl View {
    /// True if this person could vote on it now.
    #[must_use]
    pub fn may_be_decided_by(&self, person: &Identity) -> bool {
        self.state == State::Pending
            && self.requester.as_ref().is_some_and(|asks| !person::may_be_same(asks, person))
            && self.asks.may_decide(person)
            && self.concerns(person)
            && !self.votes.iter().any(|vote| person::may_be_same(&vote.by, person))
    }

    /// True if this person asked, or is in a group that is asked. A program's token is asked only where the
    /// requirement lets programs vote.
    #[must_use]
    pub fn concerns(&self, person: &Identity) -> bool {
        self.requester.as_ref().is_some_and(|asks| asks.is_same_person(person))
            || self.asks.may_decide(person) && person.groups.iter().any(|group| self.asks.names_group(group))
    }

    pub(crate) fn of(record: &Record, now: Timestamp, public_url: &str) -> Self {
        let (asked, progress) = (&record.asked, &record.progress);
        let state = progress.state_at(now);
        let open = !state.is_final();
        let pending = state == State::Pending;
        Self {
            id: record.id.to_string(),
            url: address(public_url, &record.id),
            state,
            requester: progress.erased.is_none().then(|| shown(&progress.requester)),
            erased: progress.erased,
            reason: asked.reason.clone(),
            method: asked.method.clone(),
            path: asked.path.clone(),
            headers: asked.headers.clone(),
            dialect: asked.dialect.as_str(),
            action: asked.action.clone(),
            model: asked.model.clone(),
            streaming: asked.streaming,
            route: asked.route.clone(),
            upstream: asked.upstream.clone(),
            rule: asked.rule.clone(),
            policy_version: asked.policy_version.clone(),
            requirement: asked.requirement.clone(),
            takes: quorum::in_words(&progress.requirement.alternatives),
            covers: covers(&progress.requirement),
            missing: if pending {
                quorum::missing(&progress.requirement, &progress.agreed())
            } else {
                Vec::new()
            },
            votes: progress.votes.iter().map(|vote| Vote { by: shown(&vote.by), ..vote.clone() }).collect(),
            created: asked.created,
            expires: progress.deadline,
            seconds_left: if open { progress.deadline.since(now).as_secs() } else { 0 },
            decided: progress.decided,
            ended: progress.ended.or_else(|| (state == State::Expired).then_some(progress.deadline)),
            request: asked.request,
            in_use_by: progress.in_use.map(|taken| taken.request),
            used_by: progress.used_by,
            body: BodyView {
                content_type: asked.content_type.clone(),
                length: asked.body_length,
                sha256: asked.body_sha256.clone(),
                preview: None,
            },
            before: None,
            changes: None,
            asks: progress.requirement.clone(),
        }
    }
}

/// Where people decide on an approval.
pub(crate) fn address(public_url: &str, id: &str) -> String {
    format!("{}/approvals/{id}", public_url.trim_end_matches('/'))
}

fn covers(requirement: &Requirement) -> String {
    match requirement.grant {
        None => "exactly this request, once".to_owned(),
        Some(grant) => {
            format!("exactly this request, any number of times for {} s after the decision", grant.as_secs())
        }
    }
}

/// An identity fit for a terminal.
fn shown(identity: &Identity) -> Identity {
    let clean = |text: &str| printable(text, 256).into();
    Identity {
        kind: identity.kind,
        issuer: clean(&identity.issuer),
        subject: clean(&identity.subject),
        name: identity.name.as_deref().map(clean),
        groups: identity.groups.iter().map(|group| clean(group)).collect(),
        expires: identity.expires,
    }
}
