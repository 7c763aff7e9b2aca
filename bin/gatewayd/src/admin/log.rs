//! `/log/checkpoint`, `/log/tile/...`: the evidence's tree, for witnesses (C2SP tlog-tiles).
//!
//! Open to everybody who can reach the listener: a checkpoint is meant to be kept by others, and tiles
//! hold hashes alone. What was recorded is not served here.

use axum::extract::{Path, State};
use gatewayd_core::RefusalCode;
use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::AdminState;
use super::auth::Problem;

/// The newest signed checkpoint.
pub(crate) async fn checkpoint(State(state): State<AdminState>) -> ([(HeaderName, &'static str); 2], String) {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")];
    (headers, state.recorder().checkpoint().to_string())
}

/// One tile of hashes.
pub(crate) async fn tile(
    State(state): State<AdminState>,
    Path(path): Path<String>,
) -> Result<([(HeaderName, &'static str); 2], Vec<u8>), Problem> {
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
