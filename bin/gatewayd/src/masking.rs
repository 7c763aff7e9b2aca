//! The masker's layer, with what this gateway does when it masks and when it cannot.

use std::sync::Arc;

use bytes::Bytes;
use gatewayd_core::{Body, Dialect, Ending, MaskPlace, Refusal, RefusalCode, Trail};
use gatewayd_masker::tower::{MaskError, MaskLayer};
use gatewayd_masker::{MaskEvent, Masker};
use http::Extensions;

use crate::metrics::Metrics;

/// Masks answers; notes masks on the trail and in the metrics; refuses in the caller's dialect.
pub(crate) fn layer(masker: Masker, metrics: Metrics) -> MaskLayer {
    let names = masker.clone();
    MaskLayer::new(masker)
        .on_mask(move |extensions, event| note(extensions, event, &names, &metrics))
        .on_refuse(|extensions, error| {
            let (refusal, dialect) = refuse(extensions, error);
            refusal.response(dialect).map(|body: Body| body.to_full().unwrap_or_default())
        })
        .on_break(|extensions, error| {
            let (refusal, dialect) = refuse(extensions, error);
            // Ends whatever event was begun, so that this one stands alone.
            Some(Bytes::from(format!("\n\nevent: error\ndata: {}\n\n", refusal.body(dialect))))
        })
}

fn note(extensions: &Extensions, event: &MaskEvent, names: &Masker, metrics: &Metrics) {
    metrics.masked(&event.rule, 1);
    let Some(trail) = extensions.get::<Trail>() else { return };
    // A text is named after the upstream's own member names, and these can hold a secret like anything else.
    let lane = String::from_utf8_lossy(&names.mask(event.lane.as_bytes())).into_owned();
    tracing::debug!(request = %trail.id(), rule = &*event.rule, lane, length = event.length, "masked");
    trail.masked_at(MaskPlace {
        rule: Arc::clone(&event.rule),
        lane,
        offset: event.offset,
        length: event.length,
        fingerprint: event.fingerprint.clone(),
    });
}

fn refuse(extensions: &Extensions, error: &MaskError) -> (Refusal, Dialect) {
    let refusal = Refusal::new(RefusalCode::MaskingFailed, format!("the answer is withheld: {error}"));
    let Some(trail) = extensions.get::<Trail>() else { return (refusal, Dialect::Unknown) };
    trail.end(Ending::Withheld);
    tracing::warn!(request = %trail.id(), %error, "an answer could not be masked and was withheld");
    (refusal.on(trail), trail.operation().map_or(Dialect::Unknown, |operation| operation.dialect))
}
