//! The masker's layer, with what this gateway does when it masks and when it cannot.

use bytes::Bytes;
use gatewayd_core::{Body, Dialect, Ending, Refusal, RefusalCode, Trail};
use gatewayd_masker::tower::{MaskError, MaskLayer};
use gatewayd_masker::{MaskEvent, Masker};
use http::Extensions;

use crate::metrics::Metrics;

/// Masks answers; counts masks on the trail and in the metrics; refuses in the caller's dialect.
pub(crate) fn layer(masker: Masker, metrics: Metrics) -> MaskLayer {
    MaskLayer::new(masker)
        .on_mask(move |extensions, event| count(extensions, event, &metrics))
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

fn count(extensions: &Extensions, event: &MaskEvent, metrics: &Metrics) {
    if let Some(trail) = extensions.get::<Trail>() {
        trail.mask(&event.rule, 1);
        tracing::debug!(request = %trail.id(), rule = &*event.rule, lane = event.lane, length = event.length, "masked");
    }
    metrics.masked(&event.rule, 1);
}

fn refuse(extensions: &Extensions, error: &MaskError) -> (Refusal, Dialect) {
    let refusal = Refusal::new(RefusalCode::MaskingFailed, format!("the answer is withheld: {error}"));
    let Some(trail) = extensions.get::<Trail>() else { return (refusal, Dialect::Unknown) };
    trail.end(Ending::Withheld);
    tracing::warn!(request = %trail.id(), %error, "an answer could not be masked and was withheld");
    (refusal.on(trail), trail.operation().map_or(Dialect::Unknown, |operation| operation.dialect))
}
