//! The way of a request, from the outside in. This is the one place where the order of the controls stands.

use std::sync::Arc;

use arc_swap::ArcSwap;
use gatewayd_approvals::ApprovalsLayer;
use gatewayd_authn::AuthnLayer;
use gatewayd_credentials::CredentialsLayer;
use gatewayd_dialects::DialectsLayer;
use gatewayd_policy::PolicyLayer;
use gatewayd_proxy::{Proxy, Upstreams};
use gatewayd_recorder::{IntentLayer, RecordLayer};
use http::Extensions;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::masking;
use crate::metrics::MetricsLayer;
use crate::second_look;
use crate::serve::controls::Controls;
use crate::serve::drain::DrainLayer;
use crate::serve::head_limit::HeadLimitLayer;
use crate::serve::lasting::Lasting;
use crate::serve::worker::Stack;

/// Assembles the stack for one worker, around its own upstream connections. `in_force` are the controls that a
/// request which waited is judged by again.
pub(crate) fn assemble(
    controls: &Controls,
    in_force: &Arc<ArcSwap<Controls>>,
    lasting: &Lasting,
    upstreams: Upstreams,
    cut: CancellationToken,
) -> Stack {
    let recorder = &lasting.recorder;
    let strangers = lasting.strangers.clone();
    let (in_force, clock) = (Arc::clone(in_force), Arc::clone(&lasting.clock));
    let second_look = move |extensions: &Extensions| second_look::look(&in_force, &clock, extensions);
    let service = ServiceBuilder::new()
        // Opens the trail. Whatever happens from here on, refusals included, is evidence; and as the outermost
        // layer it records what the caller saw.
        .layer(
            RecordLayer::new(recorder.clone(), lasting.redact.clone())
                .strangers(move |trail| strangers.is_recorded(trail.peer())),
        )
        // Counts what the trail says at the end.
        .layer(MetricsLayer(lasting.metrics.clone()))
        // Cuts streams that outlive a shutdown; what it adds to a stream is recorded.
        .layer(DrainLayer(cut))
        // Before anybody parses anything.
        .layer(HeadLimitLayer(controls.config.limits.headers))
        // Who is calling? Takes the caller's credential off the request, so that nothing inside can see it.
        .layer(AuthnLayer::new(controls.authn.clone()))
        // What do they want, and where would it go? After authn: only known callers may make us read a body.
        .layer(DialectsLayer::new(controls.dialects.clone()).within(lasting.room.clone()))
        // May they?
        .layer(PolicyLayer::new(controls.config.policy.clone()))
        // Must people agree? Holds the request, bound to exactly these bytes; looks at caller and policy once more
        // before it goes on.
        .layer(ApprovalsLayer::new(lasting.approvals.clone()).recheck(second_look))
        // What may come back. Inside everything that shows or keeps an answer, outside everything that could leak into one.
        .layer(masking::layer(controls.config.masker.clone(), lasting.metrics.clone()))
        // With whose secret. As far in as can be: no layer but the proxy sees it.
        .layer(CredentialsLayer::new(controls.credentials.clone()))
        // The intent is durable before an answer is shown, and before anything with side effects is sent.
        .layer(IntentLayer::new(recorder))
        .service(Proxy::new(upstreams));
    BoxCloneSyncService::new(service)
}
