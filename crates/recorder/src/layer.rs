//! The outermost layer: opens the trail, keeps what comes in and what goes out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{
    Body, BoxError, Dialect, DoneMark, Ending, Peer, Redact, Refusal, RefusalCode, RequestId, Trail,
};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tower_layer::Layer;
use tower_service::Service;

use crate::body::{Recorded, tee};
use crate::recorder::Recorder;
use crate::session::Session;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// An answer without an intent is a refusal; it is read whole up to this size.
const MAX_REFUSAL: u64 = 64 * 1024;
/// A refusal is there at once; what is not is no refusal.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// The session of a request, in its extensions.
#[derive(Clone)]
pub(crate) struct InFlight(pub(crate) Arc<Session>);

/// Records each request and its answer. The outermost layer of the stack: what happens inside it, refusals
/// included, is evidence.
///
/// It puts a [`Trail`] into the request's extensions and `x-request-id` into every response. The peer is
/// taken from the extensions, if the server put a [`Peer`] there. A request gets its intent from
/// [`IntentLayer`](crate::IntentLayer) inside; an answer to a request without one is recorded as a refusal
/// before it is let go.
#[derive(Clone)]
pub struct RecordLayer {
    recorder: Recorder,
    redact: Arc<dyn Redact>,
    strangers: Option<Arc<IsRecorded>>,
}

type IsRecorded = dyn Fn(&Trail) -> bool + Send + Sync;

impl RecordLayer {
    /// Records with this recorder; request bodies and paths are masked by `redact` before they are stored.
    #[must_use]
    pub fn new(recorder: Recorder, redact: Arc<dyn Redact>) -> Self {
        Self { recorder, redact, strangers: None }
    }

    /// Asks this whether a request that was refused before anybody knew who calls gets an entry of its own. For a flood
    /// of them: it costs whoever sends them nothing, and entries stay. The hook counts those it leaves out, so that the
    /// log tells of them.
    #[must_use]
    pub fn strangers<H>(mut self, is_recorded: H) -> Self
    where
        H: Fn(&Trail) -> bool + Send + Sync + 'static,
    {
        self.strangers = Some(Arc::new(is_recorded));
        self
    }

    fn leaves_out(&self, session: &Session) -> bool {
        let Some(is_recorded) = &self.strangers else { return false };
        session.trail.identity().is_none() && session.is_untouched() && !is_recorded(&session.trail)
    }
}

impl std::fmt::Debug for RecordLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordLayer").field("recorder", &self.recorder).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = RecordService<S>;

    fn layer(&self, inner: S) -> RecordService<S> {
        RecordService { inner, layer: self.clone() }
    }
}

/// The service that [`RecordLayer`] makes.
#[derive(Debug, Clone)]
pub struct RecordService<S> {
    inner: S,
    layer: RecordLayer,
}

impl<S, B, R> Service<Request<B>> for RecordService<S>
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
        // The clone is not ready; the one that was polled is.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (mut parts, body) = request.into_parts();
        let shared = self.layer.recorder.shared();
        let peer = parts.extensions.get::<Peer>().copied();
        let trail = Trail::new(RequestId::generate(), shared.now(), peer);
        let guess = Dialect::guess(&parts.uri, &parts.headers);
        let session = Session::new(trail.clone(), Arc::clone(shared), Arc::clone(&self.layer.redact), &parts);
        let Ok(session) = session.map(Arc::new) else {
            let response = named(unavailable(&trail, guess), trail.id());
            return Box::pin(std::future::ready(Ok(response)));
        };
        parts.extensions.insert(trail);
        parts.extensions.insert(InFlight(Arc::clone(&session)));
        let body = tee(Body::new(body), &session);
        let layer = self.layer.clone();
        let call = inner.call(Request::from_parts(parts, body));
        Box::pin(async move {
            let unanswered = Unanswered(Some(session));
            let response = call.await;
            let session = unanswered.answered();
            match response {
                Ok(response) if !session.is_intended() && layer.leaves_out(&session) => {
                    Ok(named(response.map(Body::new), session.trail.id()))
                }
                Ok(response) => Ok(answer(session, response.map(Body::new), guess).await),
                Err(error) => {
                    session.finish(Ending::Withheld);
                    Err(error)
                }
            }
        })
    }
}

/// Lets the answer to a forwarded request go under observation, any other once it is recorded.
async fn answer(session: Arc<Session>, mut response: Response<Body>, guess: Dialect) -> Response<Body> {
    let id = session.trail.id();
    session.answered(response.status().as_u16(), response.headers());
    if session.is_intended() {
        let done = DoneMark::of(response.headers());
        return named(response.map(|body| Recorded::wrap(body, session, done)), id);
    }
    let whole = match response.body().to_full() {
        Some(whole) => Some(whole),
        None => read_refusal(response.body_mut()).await,
    };
    let Some(whole) = whole else {
        tracing::error!(
            "a long answer came without an intent: the stack lacks the intent layer around its leaf"
        );
        let refusal = Refusal::new(
            RefusalCode::Misconfigured,
            "this gateway is assembled wrongly: an answer came from outside the recorded path; tell its operator",
        );
        let refusal = refusal.on(&session.trail).response(dialect(&session.trail, guess));
        session.answered(500, refusal.headers());
        return record_refusal(&session, refusal, guess).await;
    };
    *response.body_mut() = Body::full(whole);
    record_refusal(&session, response, guess).await
}

async fn record_refusal(session: &Arc<Session>, response: Response<Body>, guess: Dialect) -> Response<Body> {
    let bytes = response.body().to_full();
    let unanswered = Unanswered(Some(Arc::clone(session)));
    let recorded = session.refuse(bytes.as_ref());
    let patience = session.shared.config.commit_timeout;
    let response = match tokio::time::timeout(patience, recorded).await {
        Ok(Ok(Ok(_))) => response,
        failed => {
            tracing::warn!(request = %session.trail.id(), ?failed, "a refusal could not be recorded");
            unavailable(&session.trail, dialect(&session.trail, guess))
        }
    };
    unanswered.answered();
    named(response, session.trail.id())
}

/// Reads a short answer whole; `None` if it is long, slow, or breaks off. A layer between may have changed its
/// length, so that nothing but reading tells.
async fn read_refusal(body: &mut Body) -> Option<Bytes> {
    if body.size_hint().lower() > MAX_REFUSAL {
        return None;
    }
    let limit = usize::try_from(MAX_REFUSAL).unwrap_or(usize::MAX);
    let whole = http_body_util::Limited::new(body, limit).collect();
    tokio::time::timeout(REFUSAL_PATIENCE, whole).await.ok()?.ok().map(http_body_util::Collected::to_bytes)
}

/// The dialect that the caller is answered in.
pub(crate) fn dialect(trail: &Trail, guess: Dialect) -> Dialect {
    trail.operation().map_or(guess, |operation| operation.dialect)
}

/// The answer when the evidence cannot be written.
pub(crate) fn unavailable(trail: &Trail, dialect: Dialect) -> Response<Body> {
    Refusal::new(
        RefusalCode::RecorderUnavailable,
        "the record of this request cannot be written, so it is not answered; send it again later",
    )
    .retry_after(Duration::from_secs(1))
    .on(trail)
    .response(dialect)
}

/// Adds the request's name, instead of any that came from inside.
fn named(mut response: Response<Body>, id: RequestId) -> Response<Body> {
    let name = HeaderValue::from_maybe_shared(Bytes::from(id.to_string()));
    response.headers_mut().insert(X_REQUEST_ID, name.expect("a UUID is plain ASCII"));
    response
}

/// Notes that the caller went away, if it is dropped before the answer is there.
struct Unanswered(Option<Arc<Session>>);

impl Unanswered {
    fn answered(mut self) -> Arc<Session> {
        self.0.take().expect("the session is taken once, here")
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            session.finish(Ending::ClientGone);
        }
    }
}
