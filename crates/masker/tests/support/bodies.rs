//! Bodies pushed through a masker in the pieces that a test chooses.

use gatewayd_masker::Masker;
use gatewayd_masker::format::{BodyKind, FormatError};

/// What comes out of a body that arrives in these pieces.
pub(crate) fn push(masker: &Masker, kind: BodyKind, pieces: &[&[u8]]) -> Result<Vec<u8>, FormatError> {
    let mut body = masker.body(kind);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(body.push(piece)?);
    }
    out.extend(body.finish()?);
    Ok(out)
}
