//! The innermost layer: makes the intent, and lets nothing out before it is durable.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Dialect, Identity, Operation, Refusal, RefusalCode};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_layer::Layer;
use tower_service::Service;

use crate::commit::CommitError;
use crate::layer::{InFlight, dialect, unavailable};
use crate::recorder::Recorder;
use crate::session::Session;

/// Makes each request's intent. The innermost layer, directly around whatever forwards the request.
///
/// An operation without side effects is forwarded at once, and its answer waits for the intent to be
/// durable. One with side effects, or with claims, is not forwarded before. If the intent cannot be
/// written, the answer is dropped and the caller gets 503; if a claim was made by another request, 409.
///
/// It needs [`RecordLayer`](crate::RecordLayer) outside, and an [`Identity`] and an [`Operation`] on the
/// trail or in the request's extensions; where one is missing, it refuses.
#[derive(Debug, Clone)]
pub struct IntentLayer(());

impl IntentLayer {
    /// A layer for the stack that this recorder records.
    #[must_use]
    pub fn new(_recorder: &Recorder) -> Self {
        Self(())
    }
}

impl<S> Layer<S> for IntentLayer {
    type Service = IntentService<S>;

    fn layer(&self, inner: S) -> IntentService<S> {
        IntentService { inner }
    }
}

/// The service that [`IntentLayer`] makes.
#[derive(Debug, Clone)]
pub struct IntentService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for IntentService<S>
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
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let request = request.map(Body::new);
        let guess = Dialect::guess(request.uri(), request.headers());
        let Some(session) = establish(&request) else {
            return Box::pin(std::future::ready(Ok(misconfigured(&request, guess))));
        };
        Box::pin(async move {
            if let Err(error) = session.shared.admit() {
                return Ok(refused(&session, &error, guess));
            }
            let trail = &session.trail;
            let waits = trail.operation().is_none_or(|operation| operation.action.has_side_effects())
                || !trail.claims().is_empty();
            let answered = if waits {
                match durable(&session).await {
                    Ok(()) => Ok(inner.call(request).await),
                    Err(error) => Err(error),
                }
            } else {
                overlapped(inner.call(request), durable(&session)).await
            };
            match answered {
                Ok(response) => response.map(|response| response.map(Body::new)),
                Err(error) => Ok(refused(&session, &error, guess)),
            }
        })
    }
}

/// The session, if what an intent needs is known.
fn establish(request: &Request<Body>) -> Option<Arc<Session>> {
    let extensions = request.extensions();
    let InFlight(session) = extensions.get::<InFlight>()?;
    if session.trail.identity().is_none() {
        session.trail.identify(extensions.get::<Identity>()?.clone());
    }
    if session.trail.operation().is_none() {
        session.trail.classify(extensions.get::<Operation>()?.clone());
    }
    Some(Arc::clone(session))
}

/// Makes the intent and waits until it is durable, as long as it may take.
async fn durable(session: &Arc<Session>) -> Result<(), CommitError> {
    let answer = session.intend()?;
    let Ok(answer) = tokio::time::timeout(session.shared.config.commit_timeout, answer).await else {
        // It may still be written, so the session stays as intended and its outcome says how it ended.
        return Err(CommitError::Unavailable("the intent was not written in time".into()));
    };
    let answer = answer.unwrap_or_else(|_| Err(CommitError::Unavailable("the recorder is closed".into())));
    match answer {
        Ok(_) => Ok(()),
        Err(error) => {
            session.not_intended();
            Err(error)
        }
    }
}

/// Begins the call, then makes the intent while the request is on its way. Ready when both are, or at once when
/// the intent fails: then the call, and with it the answer, is dropped.
async fn overlapped<T>(
    call: impl Future<Output = T>,
    durable: impl Future<Output = Result<(), CommitError>>,
) -> Result<T, CommitError> {
    let (mut call, mut durable) = (pin!(call), pin!(durable));
    let (mut begun, mut response, mut is_durable) = (false, None, false);
    std::future::poll_fn(|cx| {
        if !std::mem::replace(&mut begun, true) {
            // Waking the committer takes longer than sending the request, and the connection is another task:
            // it has its turn first.
            match call.as_mut().poll(cx) {
                Poll::Ready(answer) => response = Some(answer),
                Poll::Pending => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        if response.is_none()
            && let Poll::Ready(answer) = call.as_mut().poll(cx)
        {
            response = Some(answer);
        }
        if !is_durable {
            match durable.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => is_durable = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    })
    .await
}

fn refused(session: &Session, error: &CommitError, guess: Dialect) -> Response<Body> {
    let dialect = dialect(&session.trail, guess);
    match error {
        CommitError::Claimed { kind, id } => Refusal::new(
            RefusalCode::ApprovalConsumed,
            "another request used this approval; ask for a new one to send it again",
        )
        .with(kind, id.to_string())
        .on(&session.trail)
        .response(dialect),
        CommitError::Unavailable(why) => {
            tracing::warn!(request = %session.trail.id(), why, "an intent could not be recorded; the request is refused");
            unavailable(&session.trail, dialect)
        }
    }
}

fn misconfigured(request: &Request<Body>, guess: Dialect) -> Response<Body> {
    tracing::error!(
        "the intent layer found no session, identity or operation: the stack is assembled wrongly"
    );
    let refusal = Refusal::new(
        RefusalCode::Misconfigured,
        "this gateway is assembled wrongly: a control that must come first is missing; tell its operator",
    );
    match request.extensions().get::<gatewayd_core::Trail>() {
        Some(trail) => refusal.on(trail).response(dialect(trail, guess)),
        None => refusal.response(guess),
    }
}
