//! The tower layer.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, BoxFuture, Dialect, Identity, Refusal, Room, Trail};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, request};
use http_body::Body as _;
use tower_layer::Layer;
use tower_service::Service;

use crate::arrival::{self, Finding, Watched};
use crate::engine::{Classified, Dialects};
use crate::form::{self, FormProblem};
use crate::peek::Peeked;
use crate::problem::Problem;
use crate::table::BodyKind;

/// Headers by which some servers let a caller change the method or the path after it was judged.
const OVERRIDES: [HeaderName; 7] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-envoy-original-path"),
];

/// When a caller is told to come back while there is no room for its body.
const SOON: Duration = Duration::from_secs(1);

/// JSON is UTF-8 (RFC 8259): a `charset` says nothing to those who heed that, and much to those who do not.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Establishes the [`Operation`](gatewayd_core::Operation) and [`UpstreamName`](gatewayd_core::UpstreamName)
/// of each request: puts both into its extensions and on its [`Trail`].
///
/// What could be read in two ways is refused with an error in the caller's dialect and never reaches the
/// inner service. A JSON body is read once and handed on as [`Body::full`]; every other body streams.
/// A body that was judged goes on with the `Content-Type` it was judged by, whatever the caller wrote.
#[derive(Debug, Clone)]
pub struct DialectsLayer {
    dialects: Dialects,
    room: Room,
}

impl DialectsLayer {
    /// A layer that classifies with `dialects`.
    #[must_use]
    pub fn new(dialects: Dialects) -> Self {
        Self { dialects, room: Room::new(u64::MAX, u64::MAX) }
    }

    /// Keeps no more of all bodies at once than there is room; more is refused with 429. Without it, each body is bounded
    /// and their number is not.
    #[must_use]
    pub fn within(mut self, room: Room) -> Self {
        self.room = room;
        self
    }
}

impl<S> Layer<S> for DialectsLayer {
    type Service = DialectsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DialectsService { inner, dialects: self.dialects.clone(), room: self.room.clone() }
    }
}

/// The service of [`DialectsLayer`].
#[derive(Debug, Clone)]
pub struct DialectsService<S> {
    inner: S,
    dialects: Dialects,
    room: Room,
}

impl<S, B, R> Service<Request<B>> for DialectsService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The instance that was polled ready is the one that must be called.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let (dialects, room) = (self.dialects.clone(), self.room.clone());
        let (mut parts, body) = request.into_parts();
        let body = Body::new(body);
        Box::pin(async move {
            let trail = parts.extensions.get::<Trail>().cloned();
            let understood = match understand(&dialects, &room, &mut parts, body).await {
                Ok(understood) => understood,
                Err(Refused { dialect, problem }) => return Ok(refuse(dialect, &problem, trail.as_ref())),
            };
            let Understood { classified, arrived, label } = understood;
            let dialect = classified.operation.dialect;
            relabel(&mut parts.headers, label, trail.as_ref());
            establish(&mut parts, classified, trail.as_ref());
            let (body, finding) = match arrived {
                Arrived::Whole(body) => (body, Finding::default()),
                Arrived::Watched(watched) => watched.into_parts(trail.clone()),
            };
            let response = inner.call(Request::from_parts(parts, body)).await?;
            // Whatever the inner service makes of a body that broke off, this is why it did.
            match finding.get() {
                Some(problem) => Ok(refuse(dialect, problem, trail.as_ref())),
                None => Ok(response.map(Body::new)),
            }
        })
    }
}

struct Understood {
    classified: Classified,
    arrived: Arrived,
    /// The content type by which the body was read; none if it was not.
    label: Option<HeaderValue>,
}

enum Arrived {
    Whole(Body),
    Watched(Box<Watched>),
}

struct Refused {
    dialect: Dialect,
    problem: Problem,
}

async fn understand(
    dialects: &Dialects,
    room: &Room,
    parts: &mut request::Parts,
    body: Body,
) -> Result<Understood, Refused> {
    for name in OVERRIDES {
        parts.headers.remove(name);
    }
    let parts = &*parts;
    let refused = |problem| Refused { dialect: Dialect::guess(&parts.uri, &parts.headers), problem };
    check_head(&parts.method, &parts.headers).map_err(refused)?;
    let head = dialects.head(&parts.method, &parts.uri, &parts.headers).map_err(refused)?;
    let dialect = head.dialect;
    let refused = |problem| Refused { dialect, problem };
    let limits = dialects.limits();
    let taken = || room.open(parts.extensions.get::<Identity>());
    let content_type = content_type(&parts.headers);
    let mut label = None;
    let (arrived, peeked) = match head.body_kind() {
        BodyKind::Empty if body.is_end_stream() => (Arrived::Whole(Body::empty()), Peeked::default()),
        BodyKind::Empty => return Err(refused(Problem::UnexpectedBody)),
        BodyKind::Opaque if body.as_full().is_some_and(<[u8]>::is_empty) => {
            (Arrived::Whole(body), Peeked::default())
        }
        BodyKind::Opaque => (Arrived::Watched(Box::new(Watched::new(body, limits))), Peeked::default()),
        BodyKind::Form if !is_json(content_type) => {
            check_encoding(&parts.headers).map_err(refused)?;
            let content_type = content_type.ok_or_else(|| refused(FormProblem::ContentType.into()))?;
            label = form::plain(content_type)
                .and_then(|plain| HeaderValue::from_maybe_shared(Bytes::from(plain)).ok());
            let (watched, model, stream) =
                arrival::form(body, content_type, limits, taken()).await.map_err(refused)?;
            (Arrived::Watched(Box::new(watched)), Peeked { model, stream, ..Peeked::default() })
        }
        BodyKind::Json | BodyKind::Form => {
            check_encoding(&parts.headers).map_err(refused)?;
            let bytes = arrival::whole(body, limits, taken()).await.map_err(refused)?;
            let peeked = head.peek(&bytes).map_err(|problem| refused(problem.into()))?;
            // A body that is not there needs no type; where the caller gave one, it is this one.
            let is_labelled = !bytes.is_empty() || parts.headers.contains_key(CONTENT_TYPE);
            label = is_labelled.then_some(JSON);
            (Arrived::Whole(Body::full(bytes)), peeked)
        }
    };
    let classified = dialects.finish(head, peeked).map_err(refused)?;
    Ok(Understood { classified, arrived, label })
}

/// What is refused whatever the route is.
fn check_head(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    // An offer of h2c may be passed over, and Java's client makes it to every plain server.
    let upgrades = headers.get_all(UPGRADE).iter().any(|value| {
        let mut offers = value.as_bytes().split(|&byte| byte == b',');
        offers.any(|offer| !offer.trim_ascii().eq_ignore_ascii_case(b"h2c"))
    });
    if method == Method::CONNECT || upgrades {
        return Err(Problem::Upgrade);
    }
    for (name, text) in [
        (CONTENT_TYPE, "content-type"),
        (CONTENT_ENCODING, "content-encoding"),
        (CONTENT_LENGTH, "content-length"),
    ] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Problem::DuplicateHeader(text));
        }
    }
    Ok(())
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => Err(Problem::Encoded),
        _ => Ok(()),
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json")
    })
}

/// Sends a body on as what it was judged to be. Servers that choose a parser by its content type would read
/// another body out of the same bytes: a form out of JSON, or UTF-7 out of ASCII.
fn relabel(headers: &mut HeaderMap, label: Option<HeaderValue>, trail: Option<&Trail>) {
    let Some(label) = label else { return };
    if headers.get(CONTENT_TYPE) == Some(&label) {
        return;
    }
    if let (Some(trail), Ok(text)) = (trail, label.to_str()) {
        trail.retype(text);
    }
    headers.insert(CONTENT_TYPE, label);
}

/// Puts the facts where the other controls find them, and the path to send into the request.
fn establish(parts: &mut request::Parts, classified: Classified, trail: Option<&Trail>) {
    let Classified { operation, upstream, path } = classified;
    if let Some(trail) = trail {
        trail.classify(operation.clone());
        trail.route_to(upstream.clone());
    }
    parts.extensions.insert(operation);
    parts.extensions.insert(upstream);
    if let Some(path) = path {
        parts.uri = Uri::from(path);
    }
}

fn refuse(dialect: Dialect, problem: &Problem, trail: Option<&Trail>) -> Response<Body> {
    let mut refusal = Refusal::new(problem.code(), problem.to_string());
    if let Problem::NoRoom(_) = problem {
        refusal = refusal.retry_after(SOON);
    }
    match trail {
        Some(trail) => refusal.on(trail).response(dialect),
        None => refusal.response(dialect),
    }
}
