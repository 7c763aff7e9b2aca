//! What is counted, for Prometheus (OpenMetrics text), and the layer that counts requests.
//!
//! No label ever holds a subject, a path or a value of a caller's choosing: every label is bounded by the
//! configuration or by this program.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use gatewayd_core::{Body, BoxError, Trail};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};

/// A label value that is shared, not copied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shared(Arc<str>);

impl EncodeLabelValue for Shared {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    action: &'static str,
    upstream: Shared,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    rule: Shared,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

/// Every figure of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<ActionLabels, Histogram, fn() -> Histogram>,
    first_byte: Family<ActionLabels, Histogram, fn() -> Histogram>,
    open: Gauge,
    masked: Family<RuleLabels, Counter>,
    reloads: Family<ReloadLabels, Counter>,
}

/// From a tenth of a millisecond to ten minutes.
fn buckets() -> Histogram {
    Histogram::new([
        0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
        600.0,
    ])
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("gatewayd");
        let requests = Family::default();
        let duration = Family::new_with_constructor(buckets as fn() -> Histogram);
        let first_byte = Family::new_with_constructor(buckets as fn() -> Histogram);
        let open = Gauge::default();
        let masked = Family::default();
        let reloads = Family::default();
        registry.register(
            "requests",
            "Requests, by action, upstream and result: the refusal's code or the status class",
            requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From the request's head to the answer's last byte",
            duration.clone(),
        );
        registry.register(
            "first_byte_seconds",
            "From the request's head to the answer's head",
            first_byte.clone(),
        );
        registry.register("open_requests", "Requests that are not answered to the end", open.clone());
        registry.register("masked_spans", "Spans masked in answers, by rule", masked.clone());
        registry.register(
            "configuration_reloads",
            "Reloads of the configuration, by result",
            reloads.clone(),
        );
        Self(Arc::new(Inner { registry, requests, duration, first_byte, open, masked, reloads }))
    }

    /// The exposition text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)
            .expect("writing to a String does not fail");
        text
    }

    /// Counts spans that a masking rule replaced.
    pub(crate) fn masked(&self, rule: &Arc<str>, count: u64) {
        self.0.masked.get_or_create(&RuleLabels { rule: Shared(Arc::clone(rule)) }).inc_by(count);
    }

    /// Counts a reload of the configuration.
    pub(crate) fn reloaded(&self, applied: bool) {
        let result = if applied { "applied" } else { "refused" };
        self.0.reloads.get_or_create(&ReloadLabels { result }).inc();
    }
}

/// Counts the requests that pass through it.
#[derive(Debug, Clone)]
pub(crate) struct MetricsLayer(pub Metrics);

impl<S> Layer<S> for MetricsLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, metrics: self.0.clone() }
    }
}

/// See [`MetricsLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Measured<S> {
    inner: S,
    metrics: Metrics,
}

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = MeasuredFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let guard = request.extensions().get::<Trail>().map(|trail| Guard::open(&self.metrics, trail));
        MeasuredFuture { inner: self.inner.call(request), guard }
    }
}

pin_project_lite::pin_project! {
    /// Waits for the answer's head.
    pub(crate) struct MeasuredFuture<F> {
        #[pin]
        inner: F,
        guard: Option<Guard>,
    }
}

impl<F, E> Future for MeasuredFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = std::task::ready!(this.inner.poll(cx))?;
        let Some(mut guard) = this.guard.take() else { return Poll::Ready(Ok(response)) };
        guard.answered(response.status());
        Poll::Ready(Ok(response.map(|body| match body.to_full() {
            // All there: nothing to wait for.
            Some(_) => body,
            None => Body::new(MeasuredBody { inner: body, _guard: guard }),
        })))
    }
}

/// Counts when the request is over, however it ends.
struct Guard {
    metrics: Metrics,
    trail: Trail,
    started: Instant,
    status: Option<http::StatusCode>,
}

impl Guard {
    fn open(metrics: &Metrics, trail: &Trail) -> Self {
        metrics.0.open.inc();
        Self { metrics: metrics.clone(), trail: trail.clone(), started: Instant::now(), status: None }
    }

    fn action(&self) -> &'static str {
        self.trail.operation().map_or("none", |operation| operation.action.as_str())
    }

    fn answered(&mut self, status: http::StatusCode) {
        self.status = Some(status);
        let labels = ActionLabels { action: self.action() };
        self.metrics.0.first_byte.get_or_create(&labels).observe(self.started.elapsed().as_secs_f64());
    }

    fn result(&self) -> &'static str {
        if let Some(code) = self.trail.refusal() {
            return code.as_str();
        }
        match self.status.map(|status| status.as_u16() / 100) {
            None => "abandoned",
            Some(2) => "2xx",
            Some(3) => "3xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            Some(_) => "other",
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let inner = &self.metrics.0;
        inner.open.dec();
        let action = self.action();
        let upstream = self.trail.upstream().map_or_else(|| Arc::from("none"), |name| Arc::clone(&name.0));
        let labels = RequestLabels { action, upstream: Shared(upstream), result: self.result() };
        inner.requests.get_or_create(&labels).inc();
        inner.duration.get_or_create(&ActionLabels { action }).observe(self.started.elapsed().as_secs_f64());
    }
}

/// The answer's body, with the guard that counts when it is gone.
struct MeasuredBody {
    inner: Body,
    _guard: Guard,
}

impl http_body::Body for MeasuredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
