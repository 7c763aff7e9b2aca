//! `/api/v1/tokens`: tokens for programs.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use gatewayd_authn::{NewToken, TokenInfo};
use gatewayd_core::RefusalCode;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::auth::{Administrator, Problem};
use super::extract::Sent;

/// What a new token is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    name: String,
    groups: Vec<String>,
    ttl_seconds: u64,
}

/// A new token. The secret is in this one answer and nowhere else.
#[derive(Serialize)]
pub(crate) struct Made {
    token: String,
    #[serde(flatten)]
    info: TokenInfo,
}

pub(crate) async fn list(
    State(state): State<AdminState>,
    Administrator(_): Administrator,
) -> Result<Json<Vec<TokenInfo>>, Problem> {
    state.tokens().list().map(Json).map_err(|error| problem(&error))
}

pub(crate) async fn create(
    State(state): State<AdminState>,
    Administrator(by): Administrator,
    Sent(wanted): Sent<Wanted>,
) -> Result<Json<Made>, Problem> {
    let new = NewToken {
        subject: wanted.name,
        groups: wanted.groups,
        ttl: Duration::from_secs(wanted.ttl_seconds),
        created_by: by.subject.to_string(),
    };
    let (secret, info) = state
        .tokens()
        .create_recorded(&new, Some(by), state.journal())
        .await
        .map_err(|error| problem(&error))?;
    let token = String::from_utf8_lossy(secret.expose()).into_owned();
    Ok(Json(Made { token, info }))
}

pub(crate) async fn revoke(
    State(state): State<AdminState>,
    Administrator(by): Administrator,
    Path(id): Path<String>,
) -> Result<Json<TokenInfo>, Problem> {
    let name = by.subject.to_string();
    let revoked = state.tokens().revoke_recorded(&id, &name, Some(by), state.journal()).await;
    revoked.map(Json).map_err(|error| problem(&error))
}

fn problem(error: &gatewayd_authn::Error) -> Problem {
    let code = match error {
        gatewayd_authn::Error::NoSuchToken(_) => RefusalCode::NotFound,
        gatewayd_authn::Error::NewToken(_) => RefusalCode::InvalidRequest,
        _ => RefusalCode::RecorderUnavailable,
    };
    Problem::new(code, error.to_string())
}
