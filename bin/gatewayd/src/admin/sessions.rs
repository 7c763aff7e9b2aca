//! `/api/v1/sessions`: what was recorded. Reading is recorded too, before anything is shown.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatewayd_core::{Action, Event, EventKind, Identity, Journal as _, RefusalCode, RequestId};
use gatewayd_recorder::export::{self, Format};
use gatewayd_recorder::{Bundle, Error, EventView, Filter, Frame, Reader, Recorder, Summary};
use http::HeaderName;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use super::AdminState;
use super::auth::{Administrator, Problem};
use super::extract::Asked;
use super::moment;

/// Which sessions to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listing {
    subject: Option<String>,
    issuer: Option<String>,
    group: Option<String>,
    model: Option<String>,
    action: Option<String>,
    rule: Option<String>,
    status: Option<u16>,
    masked: Option<String>,
    /// From when on, as [`moment`] reads it.
    since: Option<String>,
    /// Before when.
    until: Option<String>,
    limit: Option<usize>,
}

/// Most sessions in one answer.
const MOST: usize = 10_000;

pub(crate) async fn list(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Asked(listing): Asked<Listing>,
) -> Result<Json<Vec<Summary>>, Problem> {
    let action = match listing.action.as_deref().map(|name| (name, Action::from_name(name))) {
        Some((name, None)) => {
            return Err(Problem::new(RefusalCode::InvalidRequest, format!("there is no action `{name}`")));
        }
        Some((_, found)) => found,
        None => None,
    };
    let now = state.gateway().lasting().clock.now();
    let moment = |text: Option<String>| text.map(|text| moment::read(&text, now)).transpose();
    let filter = Filter {
        subject: listing.subject,
        issuer: listing.issuer,
        group: listing.group,
        model: listing.model,
        action,
        rule: listing.rule,
        status: listing.status,
        since: moment(listing.since)?,
        until: moment(listing.until)?,
        masked_rule: listing.masked,
        limit: most(listing.limit)?,
    };
    note(&state, who, "sessions", "list", None).await?;
    read(&state, move |reader| reader.list(&filter)).await.map(Json)
}

pub(crate) async fn show(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<Json<Bundle>, Problem> {
    let id = parse(&id)?;
    note(&state, who, &id.to_string(), "show", Some(id)).await?;
    read(&state, move |reader| reader.show(id)).await.map(Json)
}

/// How many events to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Newest {
    limit: Option<usize>,
}

fn most(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(50);
    if (1..=MOST).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(RefusalCode::InvalidRequest, format!("`limit` is from 1 to {MOST}")))
}

/// What is on record beside requests: votes, rotations, configurations, tokens, readings.
pub(crate) async fn events(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Asked(newest): Asked<Newest>,
) -> Result<Json<Vec<EventView>>, Problem> {
    note(&state, who, "events", "list", None).await?;
    let limit = most(newest.limit)?;
    read(&state, move |reader| reader.events(None, limit)).await.map(Json)
}

/// A recorded request and its answer.
#[derive(Serialize)]
pub(crate) struct Played {
    request: Vec<PlayedFrame>,
    response: Vec<PlayedFrame>,
    open: bool,
    /// What is on record is not what was signed.
    altered: bool,
    /// What passed and is not in it, in words.
    missing: Vec<String>,
}

/// Some bytes, and how long after the ones before they came.
#[derive(Serialize)]
pub(crate) struct PlayedFrame {
    delta_us: u64,
    /// Base64.
    data: String,
}

impl From<Frame> for PlayedFrame {
    fn from(frame: Frame) -> Self {
        Self { delta_us: frame.delta_us, data: STANDARD.encode(frame.bytes) }
    }
}

pub(crate) async fn replay(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<Json<Played>, Problem> {
    let id = parse(&id)?;
    note(&state, who, &id.to_string(), "replay", Some(id)).await?;
    let replay = read(&state, move |reader| reader.replay(id)).await?;
    Ok(Json(Played {
        request: replay.request.into_iter().map(PlayedFrame::from).collect(),
        response: replay.response.into_iter().map(PlayedFrame::from).collect(),
        open: replay.open,
        altered: replay.altered,
        missing: replay.missing,
    }))
}

/// In which format to export.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    format: String,
}

pub(crate) async fn export(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
    Asked(wanted): Asked<Wanted>,
) -> Result<([(HeaderName, &'static str); 1], String), Problem> {
    let id = parse(&id)?;
    let Some(format) = Format::from_name(&wanted.format) else {
        let known = Format::ALL.map(Format::as_str).join(", ");
        return Err(Problem::new(
            RefusalCode::InvalidRequest,
            format!("write one of these formats: {known}"),
        ));
    };
    note(&state, who, &id.to_string(), "export", Some(id)).await?;
    let text = read(&state, move |reader| Ok(export::export(&reader.show(id)?, &reader.replay(id)?, format)))
        .await?;
    Ok(([(CONTENT_TYPE, format.media_type())], text))
}

/// The proofs that a session's entries are in the log (C2SP tlog-proof), one after the other.
pub(crate) async fn proof(
    State(state): State<AdminState>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<String, Problem> {
    let id = parse(&id)?;
    note(&state, who, &id.to_string(), "proof", Some(id)).await?;
    read(&state, move |reader| {
        let bundle = reader.show(id)?;
        let entries = [Some(bundle.summary.number), bundle.outcome];
        let proofs = entries.into_iter().flatten().map(|entry| Ok(reader.prove(entry)?.to_string()));
        Ok(proofs.collect::<Result<Vec<_>, Error>>()?.join("\n"))
    })
    .await
}

pub(super) fn parse(id: &str) -> Result<RequestId, Problem> {
    id.parse().map_err(|_| {
        Problem::new(
            RefusalCode::InvalidRequest,
            "this is no session id; it looks like the x-request-id of an answer",
        )
    })
}

/// Who looks at what goes into the evidence first; without that, nothing is shown.
pub(super) async fn note(
    state: &AdminState,
    who: Identity,
    object: &str,
    outcome: &'static str,
    request: Option<RequestId>,
) -> Result<(), Problem> {
    let event = Event {
        kind: EventKind::AdminRead,
        actor: Some(who),
        object: object.into(),
        outcome: outcome.into(),
        request,
    };
    let recorded = state.recorder().record(event).await;
    recorded.map_err(|error| Problem::new(RefusalCode::RecorderUnavailable, error.to_string()))
}

pub(super) async fn read<T: Send + 'static>(
    state: &AdminState,
    work: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    let config = state.gateway().controls().config.recorder.clone();
    let done = tokio::task::spawn_blocking(move || {
        let reader = match &config.root_key {
            Some(key) => Reader::open_with_root(&config.dir, key)?,
            None => Reader::open(&config.dir)?,
        };
        work(&reader)
    });
    settle(done.await)
}

pub(super) async fn write<T: Send + 'static>(
    state: &AdminState,
    work: impl FnOnce(&Recorder) -> Result<T, Error> + Send + 'static,
) -> Result<T, Problem> {
    let recorder = state.recorder().clone();
    settle(tokio::task::spawn_blocking(move || work(&recorder)).await)
}

fn settle<T>(done: Result<Result<T, Error>, JoinError>) -> Result<T, Problem> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let code = match error {
                Error::NoSession(_) | Error::Erased(_) => RefusalCode::NotFound,
                Error::Held(_) => RefusalCode::PolicyDenied,
                _ => RefusalCode::RecorderUnavailable,
            };
            Err(Problem::new(code, error.to_string()))
        }
        Err(_) => Err(Problem::new(RefusalCode::RecorderUnavailable, "the evidence could not be reached")),
    }
}
