//! `/api/v1/erasures` and `/api/v1/holds`: what is made unreadable, and what must not be.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_approvals::Whose;
use gatewayd_core::{Identity, RefusalCode};
use gatewayd_recorder::{Error, HoldView, Target};
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::approvals;
use super::auth::{Administrator, Problem};
use super::extract::Sent;
use super::sessions::{note, parse, read, write};

/// What is erased or held, and why: one session, or everything that one caller did.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    reason: String,
    session: Option<String>,
    /// Who issued the caller's identity, as `sessions show` says it.
    issuer: Option<String>,
    subject: Option<String>,
}

impl Wanted {
    fn target(&self) -> Result<Target, Problem> {
        match (&self.session, &self.issuer, &self.subject) {
            (Some(id), None, None) => parse(id).map(Target::Session),
            (None, Some(issuer), Some(subject)) => Ok(Target::Subject(Identity::key_of(issuer, subject))),
            _ => Err(Problem::new(
                RefusalCode::InvalidRequest,
                "say what is meant: either `session`, or `issuer` and `subject` of a caller",
            )),
        }
    }
}

/// How much was erased.
#[derive(Serialize)]
pub(crate) struct Erased {
    sessions: u64,
    /// Approvals that lost who asked and what.
    approvals: u64,
    /// Of these, those that nobody had used and nobody can use any more.
    withdrawn: u64,
}

pub(crate) async fn erase(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Sent(wanted): Sent<Wanted>,
) -> Result<Json<Erased>, Problem> {
    let target = wanted.target()?;
    in_turn(&state.clone(), erase_all(state, who, target, wanted.reason)).await.map(Json)
}

/// No erasure and no hold begins before this has ended. It ends also if whoever asked hangs up.
async fn in_turn<T: Send + 'static>(
    state: &AdminState,
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let turn = Arc::clone(&state.gateway().lasting().keeping).lock_owned().await;
    let done = tokio::spawn(async move {
        let _turn = turn;
        work.await
    });
    done.await.unwrap_or_else(|_| {
        Err(Problem::new(RefusalCode::RecorderUnavailable, "the evidence could not be reached"))
    })
}

async fn erase_all(
    state: AdminState,
    who: Identity,
    target: Target,
    reason: String,
) -> Result<Erased, Problem> {
    let already = may_erase(&state, &target).await?;
    // Approvals first: the log says that something was erased once all of it is.
    let whose = match &target {
        Target::Session(id) => Whose::Request(*id),
        Target::Subject(key) => Whose::Caller(key.clone()),
    };
    let reached = state.approvals().erase(whose, &who).await.map_err(|error| approvals::problem(&error))?;
    let sessions = match already {
        // The log has said so for longer than it was true of the approvals.
        true if reached.approvals > 0 => 0,
        _ => write(&state, move |recorder| recorder.erase(&target, Some(&who), &reason)).await?,
    };
    Ok(Erased { sessions, approvals: reached.approvals, withdrawn: reached.withdrawn })
}

/// Fails where something must be kept, before anything is erased; true if the session was erased earlier.
async fn may_erase(state: &AdminState, target: &Target) -> Result<bool, Problem> {
    let others = match target {
        Target::Session(id) => {
            let found = state.approvals().requests_with(*id).await;
            found.map_err(|error| approvals::problem(&error))?
        }
        Target::Subject(_) => Vec::new(),
    };
    let target = target.clone();
    read(state, move |reader| {
        // An approval is part of each session that it was asked for or used in.
        for other in others {
            if let Err(held @ Error::Held(_)) = reader.may_erase(&Target::Session(other)) {
                return Err(held);
            }
        }
        match reader.may_erase(&target) {
            Err(Error::Erased(_)) => Ok(true),
            other => other.map(|()| false),
        }
    })
    .await
}

/// A legal hold.
#[derive(Serialize)]
pub(crate) struct Held {
    hold: i64,
}

pub(crate) async fn hold(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Sent(wanted): Sent<Wanted>,
) -> Result<Json<Held>, Problem> {
    let target = wanted.target()?;
    let set = state.clone();
    let set =
        async move { write(&set, move |recorder| recorder.hold(&target, Some(&who), &wanted.reason)).await };
    in_turn(&state, set).await.map(|hold| Json(Held { hold }))
}

/// All holds, released ones too.
pub(crate) async fn holds(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
) -> Result<Json<Vec<HoldView>>, Problem> {
    note(&state, who, "holds", "list", None).await?;
    read(&state, gatewayd_recorder::Reader::holds).await.map(Json)
}

/// Why a hold is released.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reason {
    reason: String,
}

pub(crate) async fn release(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(hold): Path<i64>,
    Sent(why): Sent<Reason>,
) -> Result<Json<Held>, Problem> {
    write(&state, move |recorder| recorder.release(hold, Some(&who), &why.reason))
        .await
        .map(|()| Json(Held { hold }))
}
