//! One approval and what can happen to it: pure, without clock, store or network.
//!
//! ```text
//! pending --> approved --> consumed
//!    |           |-------> indeterminate   used, and the gateway did not live to see what came of it
//!    |           '-------> expired | cancelled
//!    '------> denied | expired | cancelled
//! ```

use std::sync::Arc;

use gatewayd_core::{Identity, RequestId, Timestamp};

use crate::config::Requirement;
use crate::error::Refused;
use crate::{person, quorum};

/// Where an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// People are asked.
    Pending,
    /// Enough people agreed; the request may pass.
    Approved,
    /// The request passed. It cannot pass again.
    Consumed,
    /// Somebody said no.
    Denied,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Cancelled,
    /// The request was let through, and nobody knows what came of it. It is never sent again by itself.
    Indeterminate,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Consumed,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Indeterminate,
    ];

    /// The name used in records and views.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Consumed => "consumed",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Indeterminate => "indeterminate",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// True if nothing can happen to it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Approved)
    }
}

/// What somebody said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes, to exactly this request.
    Approve,
    /// No.
    Deny,
}

impl Verdict {
    /// The name used in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// A vote that was counted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Vote {
    /// Who voted, with all groups they had at the time.
    pub by: Identity,
    /// Those of their groups that the requirement asks for.
    pub groups: Vec<String>,
    /// What they said.
    pub verdict: Verdict,
    /// Why.
    pub comment: String,
    /// When.
    pub at: Timestamp,
}

/// A request that is passing right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Use {
    pub(crate) request: RequestId,
    /// True if the claim is made in the journal together with the request's intent, so that the journal knows
    /// whether it was made; false if nobody but this store knows.
    pub(crate) claimed_in_journal: bool,
}

/// Everything that decides where an approval stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) requester: Identity,
    pub(crate) requirement: Requirement,
    /// When it expires if nothing ends it before.
    pub(crate) deadline: Timestamp,
    pub(crate) votes: Vec<Vote>,
    pub(crate) decided: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) in_use: Option<Use>,
    pub(crate) used_by: Option<RequestId>,
    /// When the words of it were erased: who asked, what they sent, and what was said about it.
    #[serde(default)]
    pub(crate) erased: Option<Timestamp>,
}

/// Something that happens to an approval.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Time passes.
    Tick,
    Vote {
        by: Identity,
        verdict: Verdict,
        comment: String,
    },
    Cancel {
        by: Identity,
    },
    /// Whoever keeps the gateway erases what is known of the one who asked. What nobody has used is withdrawn.
    Erase {
        by: Identity,
    },
    /// A request takes it to pass.
    Take(Use),
    /// That request did not pass after all: surely nothing was sent.
    Release(RequestId),
    /// That request passed, or found that `by` had passed before it.
    Finish {
        request: RequestId,
        by: RequestId,
    },
    /// That request, or `by` before it, may have passed, and nobody saw an answer.
    Lose {
        request: RequestId,
        by: RequestId,
    },
}

impl Progress {
    pub(crate) fn new(requester: Identity, requirement: Requirement, now: Timestamp) -> Self {
        Self {
            state: State::Pending,
            requester,
            deadline: now.plus(requirement.expires),
            requirement,
            votes: Vec::new(),
            decided: None,
            ended: None,
            in_use: None,
            used_by: None,
            erased: None,
        }
    }

    /// Where it stands at that time.
    pub(crate) fn state_at(&self, now: Timestamp) -> State {
        let over = now >= self.deadline && !self.state.is_final() && self.in_use.is_none();
        if over { State::Expired } else { self.state }
    }

    /// Takes a step, or says why not; then nothing but the passing of time has changed.
    pub(crate) fn take(&mut self, step: Step, now: Timestamp) -> Result<(), Refused> {
        self.expire(now);
        match step {
            Step::Tick => Ok(()),
            Step::Vote { by, verdict, comment } => self.vote(by, verdict, comment, now),
            Step::Cancel { by } => self.cancel(&by, now),
            Step::Erase { .. } => {
                self.erase(now);
                Ok(())
            }
            Step::Take(taken) => self.use_it(taken),
            Step::Release(request) => {
                self.leave(request, now);
                self.expire(now);
                Ok(())
            }
            Step::Finish { request, by } => self.finish(request, by, State::Consumed, now),
            Step::Lose { request, by } => self.finish(request, by, State::Indeterminate, now),
        }
    }

    /// The groups of each person who agreed.
    pub(crate) fn agreed(&self) -> Vec<&[String]> {
        let yes = self.votes.iter().filter(|vote| vote.verdict == Verdict::Approve);
        yes.map(|vote| vote.groups.as_slice()).collect()
    }

    /// The groups of a person that the requirement asks for.
    pub(crate) fn groups_asked(&self, person: &Identity) -> Vec<String> {
        let asked = |group: &&Arc<str>| self.requirement.names_group(group);
        person.groups.iter().filter(asked).map(ToString::to_string).collect()
    }

    fn vote(
        &mut self,
        by: Identity,
        verdict: Verdict,
        comment: String,
        now: Timestamp,
    ) -> Result<(), Refused> {
        if self.state != State::Pending {
            return Err(Refused::AlreadyDecided(self.state));
        }
        if person::may_be_same(&self.requester, &by) {
            return Err(Refused::OwnRequest);
        }
        if !self.requirement.may_decide(&by) {
            return Err(Refused::NotAPerson);
        }
        let groups = self.groups_asked(&by);
        if groups.is_empty() {
            return Err(Refused::NotAnApprover(quorum::in_words(&self.requirement.alternatives)));
        }
        if self.votes.iter().any(|vote| person::may_be_same(&vote.by, &by)) {
            return Err(Refused::AlreadyVoted);
        }
        self.votes.push(Vote { by, groups, verdict, comment, at: now });
        match verdict {
            Verdict::Deny if self.requirement.one_denial_denies => {
                self.decided = Some(now);
                self.end(State::Denied, now);
            }
            Verdict::Approve if quorum::is_met(&self.requirement, &self.agreed()) => {
                self.state = State::Approved;
                self.decided = Some(now);
                if let Some(grant) = self.requirement.grant {
                    self.deadline = now.plus(grant);
                }
            }
            Verdict::Deny | Verdict::Approve => {}
        }
        Ok(())
    }

    fn cancel(&mut self, by: &Identity, now: Timestamp) -> Result<(), Refused> {
        let asked = self.requirement.may_decide(by) && !self.groups_asked(by).is_empty();
        if !self.requester.is_same_person(by) && !asked {
            return Err(Refused::NotYours);
        }
        if self.in_use.is_some() {
            return Err(Refused::InUse);
        }
        if self.state.is_final() {
            return Err(Refused::AlreadyDecided(self.state));
        }
        self.end(State::Cancelled, now);
        Ok(())
    }

    /// A request that is passing goes on; what becomes of it is still kept, and no word of it.
    fn erase(&mut self, now: Timestamp) {
        if self.erased.is_some() {
            return;
        }
        if !self.state.is_final() && self.in_use.is_none() {
            self.end(State::Cancelled, now);
        }
        self.requester = Identity {
            kind: self.requester.kind,
            issuer: "".into(),
            subject: "".into(),
            name: None,
            groups: [].into(),
            expires: None,
        };
        for vote in &mut self.votes {
            vote.comment.clear();
        }
        self.erased = Some(now);
    }

    fn use_it(&mut self, taken: Use) -> Result<(), Refused> {
        if self.state != State::Approved {
            return Err(Refused::NotUsable(self.state));
        }
        if self.requirement.grant.is_some() {
            return Ok(());
        }
        if self.in_use.is_some() {
            return Err(Refused::InUse);
        }
        self.in_use = Some(taken);
        Ok(())
    }

    fn leave(&mut self, request: RequestId, now: Timestamp) {
        if self.in_use.is_none_or(|taken| taken.request != request) {
            return;
        }
        self.in_use = None;
        // It could not be withdrawn while it was used.
        if self.erased.is_some() {
            self.end(State::Cancelled, now);
        }
    }

    fn finish(
        &mut self,
        request: RequestId,
        by: RequestId,
        state: State,
        now: Timestamp,
    ) -> Result<(), Refused> {
        if self.in_use.is_none_or(|taken| taken.request != request) {
            return Err(Refused::NotUsable(self.state));
        }
        self.in_use = None;
        self.used_by = Some(by);
        self.end(state, now);
        Ok(())
    }

    fn expire(&mut self, now: Timestamp) {
        if self.state_at(now) != self.state {
            self.end(State::Expired, now);
        }
    }

    fn end(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.ended = Some(now);
    }
}
