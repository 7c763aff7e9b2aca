//! `/api/v1/approvals`: what waits for people, and their votes. A held request is shown with its contents, so that reading
//! it is recorded like the reading of a session.

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_approvals::{Error, Filter, Refused, State as ApprovalState, Verdict, View};
use gatewayd_core::{Identity, RefusalCode};
use http::HeaderName;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
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

/// Where the address of an approval leads that callers are told: how to see and decide it. The page is open, so it is the
/// same for an approval that there is and for one that there is not.
pub(crate) async fn signpost(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<([(HeaderName, &'static str); 2], String), Problem> {
    let is_one =
        id.strip_prefix("apr-").is_some_and(|id| id.bytes().all(|b| b.is_ascii_hexdigit()) && id.len() == 32);
    if !is_one {
        return Err(Problem::new(RefusalCode::NotFound, "this is the id of no approval"));
    }
    let url = &state.gateway().controls().config.admin.public_url;
    let page = format!(
        "Approval {id}\n\n\
         Whoever asked for it sees it, whoever is asked sees and decides it: on the command line\n\n  \
         gatewayd approvals show {id}\n  \
         gatewayd approvals approve {id} -m \"why\"\n  \
         gatewayd approvals deny {id} -m \"why not\"\n\n\
         with GATEWAYD_ADMIN={url} and a token of your identity provider in GATEWAYD_TOKEN; or with the same token at\n\n  \
         GET  {url}/api/v1/approvals/{id}\n  \
         POST {url}/api/v1/approvals/{id}/votes  {{\"vote\": \"approve\", \"comment\": \"why\"}}\n\n\
         Once it is approved, whoever asked sends the same request again.\n"
    );
    let fields = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((fields, page))
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

pub(super) fn problem(error: &Error) -> Problem {
    let code = match error {
        Error::NotFound(_) => RefusalCode::NotFound,
        Error::Refused(Refused::AlreadyDecided(_) | Refused::AlreadyVoted) => RefusalCode::ApprovalConsumed,
        Error::Refused(_) => RefusalCode::PolicyDenied,
        _ => RefusalCode::RecorderUnavailable,
    };
    Problem::new(code, error.to_string())
}
