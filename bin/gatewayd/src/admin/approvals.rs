//! `/api/v1/approvals`: what waits for people, and their votes. A held request is shown with its contents, so that reading
//! it is recorded like the reading of a session.

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_approvals::{Error, Filter, Refused, State as ApprovalState, Verdict, View};
use gatewayd_core::{Identity, RefusalCode};
use serde::Deserialize;

use super::AdminState;
use super::auth::{Problem, SignedIn, is_administrator};
use super::extract::{Asked, Sent};
use super::sessions::note;

/// Which approvals to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    #[serde(default)]
    all: bool,
}

/// Administrators see all; others what they asked for, and what asks them.
pub(crate) async fn list(
    State(state): State<AdminState>,
    SignedIn(who): SignedIn,
    Asked(listing): Asked<Listing>,
) -> Result<Json<Vec<View>>, Problem> {
    let filter = Filter {
        states: if listing.all { Vec::new() } else { vec![ApprovalState::Pending, ApprovalState::Approved] },
        requester: None,
        concerning: (!is_administrator(&who, &state.admin_groups())).then(|| who.clone()),
    };
    note(&state, who, "approvals", "list", None).await?;
    state.approvals().list(&filter).await.map(Json).map_err(|error| problem(&error))
}

pub(crate) async fn show(
    State(state): State<AdminState>,
    SignedIn(who): SignedIn,
    Path(id): Path<String>,
) -> Result<Json<View>, Problem> {
    let view = find(&state, &who, &id).await?;
    note(&state, who, &view.id, "show", view.request).await?;
    Ok(Json(view))
}

/// A vote.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ballot {
    vote: Verdict,
    #[serde(default)]
    comment: String,
}

pub(crate) async fn vote(
    State(state): State<AdminState>,
    SignedIn(who): SignedIn,
    Path(id): Path<String>,
    Sent(ballot): Sent<Ballot>,
) -> Result<Json<View>, Problem> {
    find(&state, &who, &id).await?;
    let voted = state.approvals().vote(&id, &who, ballot.vote, &ballot.comment).await;
    voted.map(Json).map_err(|error| problem(&error))
}

pub(crate) async fn cancel(
    State(state): State<AdminState>,
    SignedIn(who): SignedIn,
    Path(id): Path<String>,
) -> Result<Json<View>, Problem> {
    find(&state, &who, &id).await?;
    state.approvals().cancel(&id, &who).await.map(Json).map_err(|error| problem(&error))
}

/// One that this person may see. One that they may not see does not exist for them.
async fn find(state: &AdminState, who: &Identity, id: &str) -> Result<View, Problem> {
    let view = state.approvals().show(id).await.map_err(|error| problem(&error))?;
    if is_administrator(who, &state.admin_groups()) || view.concerns(who) {
        return Ok(view);
    }
    Err(problem(&Error::NotFound(id.to_owned())))
}

fn problem(error: &Error) -> Problem {
    let code = match error {
        Error::NotFound(_) => RefusalCode::NotFound,
        Error::Refused(Refused::AlreadyDecided(_) | Refused::AlreadyVoted) => RefusalCode::ApprovalConsumed,
        Error::Refused(_) => RefusalCode::PolicyDenied,
        _ => RefusalCode::RecorderUnavailable,
    };
    Problem::new(code, error.to_string())
}
