//! `/log/checkpoint`, `/log/tile/...`: the evidence's tree, for witnesses (C2SP tlog-tiles).
//!
//! Checkpoints and tiles of hashes are open to everybody who can reach the listener: they are meant to be kept by
//! others. Tiles of entries name rules, credentials and approvals: they are for administrators, and reading them is recorded.

use axum::extract::{FromRequestParts as _, Path, State};
use gatewayd_core::RefusalCode;
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;

use super::AdminState;
use super::auth::{Administrator, Problem};
use super::sessions::note;

/// The newest signed checkpoint.
pub(crate) async fn checkpoint(State(state): State<AdminState>) -> ([(HeaderName, &'static str); 2], String) {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, state.recorder().checkpoint().to_string())
}

/// One tile: of hashes, or (`entries/...`) of the entries themselves.
pub(crate) async fn tile(
    State(state): State<AdminState>,
    Path(path): Path<String>,
    mut parts: Parts,
) -> Result<([(HeaderName, &'static str); 2], Vec<u8>), Problem> {
    if path.starts_with("entries") {
        let Administrator(who) = Administrator::from_request_parts(&mut parts, &state).await?;
        note(&state, who, &path, "entries", None).await?;
    }
    let recorder = state.recorder().clone();
    let found = tokio::task::spawn_blocking(move || recorder.tile(&format!("tile/{path}"))).await;
    match found {
        Ok(Ok(Some(tile))) => {
            // A tile never changes once it is there.
            let headers =
                [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "max-age=31536000, immutable")];
            Ok((headers, tile))
        }
        Ok(Ok(None)) => Err(Problem::new(RefusalCode::NotFound, "the log has no such tile (yet)")),
        Ok(Err(error)) => Err(Problem::new(RefusalCode::RecorderUnavailable, error.to_string())),
        Err(_) => Err(Problem::new(RefusalCode::RecorderUnavailable, "the tile could not be read")),
    }
}
