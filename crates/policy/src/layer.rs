//! The policy as a tower layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use bytes::Bytes;
use gatewayd_core::{
    Action, Body, BoxError, Clock, Decision, Dialect, Effect, Identity, Operation, Peer, Refusal,
    RefusalCode, SystemClock, Trail, UpstreamName,
};
use http::{Request, Response};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::engine::{DEFAULT_DENY, Policy};

/// The policy in force, which can be exchanged while requests run. A clone is the same handle.
#[derive(Clone)]
pub struct PolicyHandle(Arc<Shared>);

struct Shared {
    policy: ArcSwap<Policy>,
    clock: Arc<dyn Clock>,
}

impl PolicyHandle {
    /// A handle on a policy, with the machine's clock.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self::with_clock(policy, Arc::new(SystemClock))
    }

    /// A handle on a policy, with a clock of your own.
    #[must_use]
    pub fn with_clock(policy: Policy, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared { policy: ArcSwap::from_pointee(policy), clock }))
    }

    /// The policy in force.
    #[must_use]
    pub fn load(&self) -> Arc<Policy> {
        self.0.policy.load_full()
    }

    /// Puts another policy in force: for the next decision, and with nothing of the old one's cache.
    pub fn replace(&self, policy: Policy) {
        self.0.policy.store(Arc::new(policy));
    }

    fn decide(&self, facts: &Facts<'_>) -> Decision {
        let policy = self.0.policy.load();
        let source = facts.peer.map(|peer| peer.address.ip());
        policy.decide(facts.identity, facts.operation, facts.upstream, source, self.0.clock.now())
    }
}

impl std::fmt::Debug for PolicyHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PolicyHandle").field(&self.load()).finish()
    }
}

/// Lets a request pass only where the policy allows it, or allows it after approval.
///
/// Reads [`Identity`], [`Operation`] and [`UpstreamName`] from the request's extensions and refuses as
/// misconfigured where one is missing. Puts the [`Decision`] there, and on the [`Trail`] if there is one.
/// A decision of [`Effect::Approve`] passes on: a control further in must hold the request.
#[derive(Debug, Clone)]
pub struct PolicyLayer(PolicyHandle);

impl PolicyLayer {
    /// A layer that asks this policy.
    #[must_use]
    pub fn new(policy: PolicyHandle) -> Self {
        Self(policy)
    }
}

impl<S> Layer<S> for PolicyLayer {
    type Service = PolicyService<S>;

    fn layer(&self, inner: S) -> PolicyService<S> {
        PolicyService { inner, policy: self.0.clone() }
    }
}

/// The service that [`PolicyLayer`] makes.
#[derive(Debug, Clone)]
pub struct PolicyService<S> {
    inner: S,
    policy: PolicyHandle,
}

impl<S, B, R> Service<Request<B>> for PolicyService<S>
where
    S: Service<Request<Body>, Response = Response<R>>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = PolicyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> PolicyFuture<S::Future> {
        let mut request = request.map(Body::new);
        match judge(&self.policy, &mut request) {
            Ok(()) => PolicyFuture::Passed { inner: self.inner.call(request) },
            Err(refusal) => PolicyFuture::Refused { response: Some(answer(*refusal, &request)) },
        }
    }
}

pin_project! {
    /// The answer to come: the refusal, or whatever the inner service answers.
    #[project = Projected]
    #[allow(missing_docs)]
    pub enum PolicyFuture<F> {
        #[doc(hidden)]
        Passed { #[pin] inner: F },
        #[doc(hidden)]
        Refused { response: Option<Response<Body>> },
    }
}

impl<F, R, E> Future for PolicyFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Passed { inner } => {
                Poll::Ready(ready!(inner.poll(cx)).map(|response| response.map(Body::new)))
            }
            Projected::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}

struct Facts<'a> {
    identity: &'a Identity,
    operation: &'a Operation,
    upstream: &'a UpstreamName,
    peer: Option<Peer>,
}

/// Decides, and leaves the decision on the request; or says no.
fn judge(policy: &PolicyHandle, request: &mut Request<Body>) -> Result<(), Box<Refusal>> {
    let extensions = request.extensions();
    let trail = extensions.get::<Trail>();
    let (Some(identity), Some(operation), Some(upstream)) =
        (extensions.get::<Identity>(), extensions.get::<Operation>(), extensions.get::<UpstreamName>())
    else {
        let message =
            "the gateway is assembled wrongly: policy must come after authn and dialects; tell its operator";
        return Err(Box::new(Refusal::new(RefusalCode::Misconfigured, message)));
    };
    let peer = trail.and_then(Trail::peer).or_else(|| extensions.get::<Peer>().copied());
    let decision = policy.decide(&Facts { identity, operation, upstream, peer });
    if let Some(trail) = trail {
        trail.decide(decision.clone());
    }
    if decision.effect == Effect::Deny {
        let refusal = Refusal::new(RefusalCode::PolicyDenied, denial(&decision, operation));
        return Err(Box::new(refusal.with("rule", &*decision.rule)));
    }
    request.extensions_mut().insert(decision);
    Ok(())
}

/// Says which rule denies and what to do next. Holds nothing that the caller wrote.
fn denial(decision: &Decision, operation: &Operation) -> String {
    let rule = &*decision.rule;
    if operation.action == Action::Unknown {
        return format!(
            "this method and path are no operation that the gateway knows, and no policy rule allows `unknown` here \
             ({rule}); check both, or ask the gateway's operator"
        );
    }
    let action = operation.action.as_str();
    let works = matches!(operation.action, Action::Infer | Action::Embed | Action::Tokenize);
    let mut told = if rule == DEFAULT_DENY {
        format!("no policy rule allows you `{action}` here ({DEFAULT_DENY}); ")
    } else {
        format!("policy rule `{rule}` denies `{action}` here; ")
    };
    told.push_str(match operation.model {
        // The server takes a model by itself, which may be one that a rule keeps the caller from.
        None if works => {
            "the request names no model, so rules about any model count: name one in `model`, or ask the gateway's \
             operator"
        }
        _ if rule == DEFAULT_DENY => "ask the gateway's operator for a rule, or for a group that has one",
        _ => "use a model or operation it does not cover, or ask the gateway's operator about that rule",
    });
    if !operation.other_models.is_empty() {
        told.push_str(". Each model that the request names must be allowed");
    }
    told
}

fn answer(refusal: Refusal, request: &Request<Body>) -> Response<Body> {
    let extensions = request.extensions();
    let dialect = extensions
        .get::<Operation>()
        .map_or_else(|| Dialect::guess(request.uri(), request.headers()), |operation| operation.dialect);
    match extensions.get::<Trail>() {
        Some(trail) => refusal.on(trail).response(dialect),
        None => refusal.response(dialect),
    }
}
