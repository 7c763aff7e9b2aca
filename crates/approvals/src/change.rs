//! Changes of the gateway itself under the same quorum: reading an unmasked recording, erasing, rotating a credential.
//!
//! Nobody is held: whoever wants the change asks, comes back, and asks again.

use std::sync::Arc;

use gatewayd_core::{Dialect, Identity, RequestId};

use crate::approvals::{Approvals, new_id};
use crate::digest::RequestDigest;
use crate::error::{Error, Refused};
use crate::passing::Passing;
use crate::preview::{LOOKED_AT, Preview, printable, short};
use crate::record::{Asked, Record};
use crate::state::{Progress, State, Step, Use};
use crate::view::View;

const MAX_SHOWN: usize = 256;

/// A change that somebody wants to make.
#[derive(Debug, Clone, Copy)]
pub struct Proposal<'a> {
    /// The kind of change, such as `erase-session`.
    pub kind: &'a str,
    /// What it is made to: a session's id, a credential's name.
    pub target: &'a str,
    /// Everything else that matters, as text or JSON. People see it masked, and agree to every byte of it.
    pub details: &'a str,
    /// Why, in the words of the one who asks. Not part of what is agreed to.
    pub reason: Option<&'a str>,
}

/// The answer to a [`Proposal`].
#[derive(Debug)]
pub enum Answer {
    /// Enough people agreed: make the change now, then say so.
    Agreed(Agreement),
    /// People are asked; propose the same again later.
    Waits(Box<View>),
    /// Somebody said no, not long ago.
    Denied(Box<View>),
}

/// The right to make one change, once.
///
/// Dropped without a word it counts as a change that may have been made: the approval becomes
/// [`State::Indeterminate`], and people are asked again.
#[must_use = "say `done` once the change is made, or `not_done` if it was not"]
pub struct Agreement {
    passing: Option<Passing>,
    id: Arc<str>,
}

impl Agreement {
    /// The approval's id, for the record of the change.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The change is made.
    pub async fn done(self) {
        if let Some(passing) = self.passing {
            passing.settle(true).await;
        }
    }

    /// The change was surely not made; the approval can still be used.
    pub async fn not_done(self) {
        if let Some(passing) = self.passing {
            passing.release().await;
        }
    }
}

impl std::fmt::Debug for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Agreement({})", self.id)
    }
}

impl Approvals {
    /// Puts a change of the gateway itself before people, or takes what they agreed to.
    ///
    /// # Errors
    /// If there is no such requirement, no room, or the store or the journal cannot be used. The change must not be made.
    pub async fn propose(
        &self,
        requirement: &str,
        proposal: Proposal<'_>,
        by: &Identity,
    ) -> Result<Answer, Error> {
        if *self.0.stopping.borrow() {
            return Err(Error::Store("the gateway is shutting down".to_owned()));
        }
        self.recover().await?;
        let record = self.describe(requirement, proposal, by)?;
        let record = self.attach(record).await?.ok_or(Refused::NoRoom)?;
        let view = |record: &Record| Box::new(View::of(record, self.now(), &self.0.config.public_url));
        match record.progress.state_at(self.now()) {
            State::Approved => self.agreement(record.id).await.map(Answer::Agreed),
            State::Denied => Ok(Answer::Denied(view(&record))),
            _ => Ok(Answer::Waits(view(&record))),
        }
    }

    async fn agreement(&self, id: Arc<str>) -> Result<Agreement, Error> {
        // Nobody but this store knows of the use.
        let taken = Use { request: RequestId::generate(), claimed_in_journal: false };
        let passing = Passing::new(self.clone(), Arc::clone(&id), taken);
        match self.step(&id, Step::Take(taken)).await {
            Ok(record) if record.progress.in_use == Some(taken) => {
                Ok(Agreement { passing: Some(passing), id })
            }
            Ok(_) => {
                passing.forget();
                Ok(Agreement { passing: None, id })
            }
            Err(error) => {
                if let Error::Refused(_) = error {
                    passing.forget();
                }
                Err(error)
            }
        }
    }

    fn describe(&self, requirement: &str, proposal: Proposal<'_>, by: &Identity) -> Result<Record, Error> {
        let found = self.requirements().get(requirement).cloned().ok_or_else(|| Error::Config {
            key: "approval",
            problem: format!("no requirement is named `{}`", requirement.escape_debug()),
            remedy: "add it, or name another".to_owned(),
        })?;
        let redact = &*self.0.redact;
        let details = proposal.details.as_bytes();
        let head = details.get(..details.len().min(LOOKED_AT)).unwrap_or_default();
        let json = serde_json::from_str::<serde::de::IgnoredAny>(proposal.details).is_ok();
        let content_type = if json { "application/json" } else { "text/plain" };
        let all = head.len() == details.len();
        let sha256 = crate::digest::sha256(details);
        let kind = printable(proposal.kind, MAX_SHOWN);
        let now = self.now();
        Ok(Record {
            id: new_id(),
            revision: 0,
            digest: RequestDigest::of_change(requirement, proposal, by),
            asked: Asked {
                created: now,
                request: None,
                method: String::new(),
                path: short(redact, proposal.target, MAX_SHOWN),
                dialect: Dialect::Unknown,
                action: kind.clone(),
                model: None,
                streaming: false,
                route: kind,
                upstream: String::new(),
                rule: "the gateway's own settings".to_owned(),
                policy_version: String::new(),
                requirement: requirement.to_owned(),
                reason: proposal.reason.map(|reason| short(redact, reason, 500)),
                headers: Vec::new(),
                content_type: Some(content_type.to_owned()),
                body_length: details.len() as u64,
                body_sha256: hex::encode(sha256),
                preview: Preview::of(redact, Some(content_type), head, all, self.0.config.preview_limit),
            },
            progress: Progress::new(by.clone(), found, now),
        })
    }
}
