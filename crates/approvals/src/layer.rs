//! Approvals as a tower layer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use gatewayd_core::{
    Body, BoxError, BoxFuture, Decision, Dialect, Effect, Operation, Refusal, RefusalCode, Trail,
};
use http::header::HeaderName;
use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::approvals::Approvals;
use crate::gate;

/// In which a caller says why; it is shown to people and not sent on.
pub(crate) const REASON: HeaderName = HeaderName::from_static("x-approval-reason");

/// Holds what policy wants approved until people have agreed to exactly that request.
///
/// Reads the [`Decision`] from the request's extensions: [`Effect::Allow`] passes straight through,
/// [`Effect::Deny`] and a missing decision are refused. For [`Effect::Approve`] it also needs `Identity`, `Operation`
/// and `UpstreamName`. Puts a claim on the [`Trail`] if there is one; whoever commits the request's intent must make it.
#[derive(Clone)]
pub struct ApprovalsLayer {
    approvals: Approvals,
    recheck: Option<Recheck>,
}

/// Asked before a request passes on an approval.
pub(crate) type Recheck = Arc<dyn Fn(&Extensions) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync>;

impl ApprovalsLayer {
    /// A layer on these approvals.
    #[must_use]
    pub fn new(approvals: Approvals) -> Self {
        Self { approvals, recheck: None }
    }

    /// Asks this once more whether a request may go on: after people have agreed, and after any wait, directly before
    /// the approval is taken for use. It gets the request's extensions, and bounds its own time.
    ///
    /// If it refuses, the caller gets that refusal, nothing is sent, and the approval stays approved. For what people
    /// cannot know: that the caller's token was revoked meanwhile, that the policy in force now denies.
    #[must_use]
    pub fn recheck<H>(mut self, hook: H) -> Self
    where
        H: Fn(&Extensions) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync + 'static,
    {
        self.recheck = Some(Arc::new(hook));
        self
    }
}

impl fmt::Debug for ApprovalsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApprovalsLayer({:?})", self.approvals)
    }
}

impl<S> Layer<S> for ApprovalsLayer {
    type Service = ApprovalsService<S>;

    fn layer(&self, inner: S) -> ApprovalsService<S> {
        ApprovalsService { inner, approvals: self.approvals.clone(), recheck: self.recheck.clone() }
    }
}

/// The service that [`ApprovalsLayer`] makes.
#[derive(Clone)]
pub struct ApprovalsService<S> {
    inner: S,
    approvals: Approvals,
    recheck: Option<Recheck>,
}

impl<S: fmt::Debug> fmt::Debug for ApprovalsService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ApprovalsService");
        shown.field("inner", &self.inner).field("approvals", &self.approvals).finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for ApprovalsService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ApprovalsFuture<S::Future, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        let effect = request.extensions().get::<Decision>().map(|decision| decision.effect);
        match effect {
            Some(Effect::Allow) => {
                request.headers_mut().remove(REASON);
                ApprovalsFuture::Passed { inner: self.inner.call(request) }
            }
            Some(Effect::Approve) => {
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                let held = gate::hold(self.approvals.clone(), self.recheck.clone(), request, ready);
                ApprovalsFuture::Held { held: Box::pin(held) }
            }
            Some(Effect::Deny) => {
                refused(&request, RefusalCode::PolicyDenied, "policy denies this; see its decision")
            }
            None => refused(&request, RefusalCode::Misconfigured, gate::MISPLACED),
        }
    }
}

fn refused<F, E>(request: &Request<Body>, code: RefusalCode, message: &'static str) -> ApprovalsFuture<F, E> {
    ApprovalsFuture::Refused { response: Some(answer(Refusal::new(code, message), request)) }
}

/// The refusal in the caller's dialect, noted on the trail.
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

pin_project! {
    /// The answer to come.
    #[project = Projected]
    #[allow(missing_docs)]
    pub enum ApprovalsFuture<F, E> {
        #[doc(hidden)]
        Passed { #[pin] inner: F },
        #[doc(hidden)]
        Held { held: BoxFuture<'static, Result<Response<Body>, E>> },
        #[doc(hidden)]
        Refused { response: Option<Response<Body>> },
    }
}

impl<F, R, E> Future for ApprovalsFuture<F, E>
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
            Projected::Held { held } => held.as_mut().poll(cx),
            Projected::Refused { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}
