//! What happened: an axum service that answers nothing without a record, and plays its records back.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin recorder
//! $ curl -i -H 'Authorization: Bearer session-of-alice' -d 'my key is AKIAZQ3DRSTUVWXY2345' http://127.0.0.1:3000/echo
//! $ curl -H 'Authorization: Bearer session-of-alice' http://127.0.0.1:3000/records/X-REQUEST-ID
//! $ cargo run -p gatewayd -- sessions verify evidence      # was it changed since?
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path as File, PathBuf};
use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use gatewayd_core::{Action, Event, EventKind, Identity, Journal as _, RequestId, SystemClock};
use gatewayd_examples::{Logins, Redactor, note_peer, person, sign_in, wants};
use gatewayd_masker::Masker;
use gatewayd_recorder::{Config, IntentLayer, Reader, RecordLayer, Recorder, Replay};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let evidence = File::new("evidence");
    // One process writes to a directory. Opening it closes what a crash left open.
    let recorder = Recorder::open(Config::new(evidence), Arc::new(SystemClock))?;
    let logins = Logins::new([("session-of-alice", person("alice", &["auditors"]))]);
    let app = app(&recorder, evidence, logins)?.layer(from_fn(note_peer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

pub(crate) fn app(recorder: &Recorder, evidence: &File, logins: Logins) -> Result<Router, Box<dyn Error>> {
    let redact = Arc::new(Redactor(Masker::builder().build()?));
    let recorded = Router::new()
        .route("/echo", post(|text: String| async move { text.to_uppercase() }))
        // Innermost: what is to happen is written down before anything is answered. Were it an action with side
        // effects, it would be written down before it is even begun.
        .layer(IntentLayer::new(recorder))
        .layer(from_fn(describe))
        .layer(from_fn_with_state(logins.clone(), sign_in))
        // Outermost: what it sees is what the caller sees, refusals included. What the caller sent is masked before it
        // is stored; answers are stored as they were given (gatewayd masks them further in).
        .layer(RecordLayer::new(recorder.clone(), redact));
    let reading = Router::new()
        .route("/records/{id}", get(read))
        .route_layer(from_fn_with_state(logins, sign_in))
        .with_state((recorder.clone(), evidence.to_owned()));
    Ok(recorded.merge(reading))
}

async fn describe(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(wants(Action::Infer, None, "/echo"));
    next.run(request).await
}

/// Who, what, and both bodies of a recorded request.
async fn read(
    State((recorder, evidence)): State<(Recorder, PathBuf)>,
    Extension(who): Extension<Identity>,
    Path(id): Path<String>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let id: RequestId = id.parse().map_err(|_| (StatusCode::NOT_FOUND, "no such name".to_owned()))?;
    if !who.in_group("auditors") {
        return Err((StatusCode::FORBIDDEN, "only auditors read records".to_owned()));
    }
    // Whoever reads is in the record too, and reads nothing where that cannot be written.
    let read = Event {
        kind: EventKind::AdminRead,
        actor: Some(who),
        object: id.to_string().into(),
        outcome: "shown".into(),
        request: Some(id),
    };
    recorder.record(read).await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    // Reading is file access: off the runtime's threads.
    let found = tokio::task::spawn_blocking(move || {
        let reader = Reader::open(evidence)?;
        Ok::<_, gatewayd_recorder::Error>((reader.show(id)?, reader.replay(id)?))
    });
    let found = found.await.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (bundle, replay) = found.map_err(|error| (StatusCode::NOT_FOUND, error.to_string()))?;
    let Replay { request, response, .. } = replay;
    // Frames come with their timing; here they are put together.
    let text = |frames: Vec<gatewayd_recorder::Frame>| {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.bytes).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Json(json!({"record": bundle, "request": text(request), "response": text(response)})))
}
