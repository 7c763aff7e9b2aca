//! The layer and what the host can hook into it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderValue, Response, StatusCode, header};
use tower_layer::Layer;

use super::{MaskError, MaskService};
use crate::masker::Masker;
use crate::report::MaskEvent;

/// Masks the responses of a service. Cheap to clone.
#[derive(Clone)]
pub struct MaskLayer {
    pub(super) shared: Arc<Shared>,
}

/// What all services and bodies of a layer share.
pub(super) struct Shared {
    pub(super) masker: Masker,
    pub(super) on_mask: OnMask,
    pub(super) refuse: Refuse,
    pub(super) last_words: LastWords,
}

type OnMask = Arc<dyn Fn(&Extensions, &MaskEvent) + Send + Sync>;
type Refuse = Arc<dyn Fn(&Extensions, &MaskError) -> Response<Bytes> + Send + Sync>;
type LastWords = Arc<dyn Fn(&Extensions, &MaskError) -> Option<Bytes> + Send + Sync>;

impl MaskLayer {
    /// A layer around a masker.
    #[must_use]
    pub fn new(masker: Masker) -> Self {
        let shared = Shared {
            masker,
            on_mask: Arc::new(|_, _| {}),
            refuse: Arc::new(|_, error| refusal(error)),
            last_words: Arc::new(|_, error| Some(event(error))),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Is told of each mask, with the extensions of the request it belongs to.
    #[must_use]
    pub fn on_mask(self, hook: impl Fn(&Extensions, &MaskEvent) + Send + Sync + 'static) -> Self {
        self.with(|shared| shared.on_mask = Arc::new(hook))
    }

    /// Makes the response that stands for one that cannot be masked, where its head is not yet out. It is
    /// sent as it is. Without this hook: 502 with a short JSON error.
    #[must_use]
    pub fn on_refuse(
        self,
        hook: impl Fn(&Extensions, &MaskError) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.refuse = Arc::new(hook))
    }

    /// Makes the last event of a stream of events that cannot be masked any further. It is sent as it is, and the
    /// stream ends. With `None`, and for all other bodies, the body ends with an error.
    #[must_use]
    pub fn on_break(
        self,
        hook: impl Fn(&Extensions, &MaskError) -> Option<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| shared.last_words = Arc::new(hook))
    }

    fn with(self, change: impl FnOnce(&mut Shared)) -> Self {
        let mut shared = Shared {
            masker: self.shared.masker.clone(),
            on_mask: Arc::clone(&self.shared.on_mask),
            refuse: Arc::clone(&self.shared.refuse),
            last_words: Arc::clone(&self.shared.last_words),
        };
        change(&mut shared);
        Self { shared: Arc::new(shared) }
    }
}

impl<S> Layer<S> for MaskLayer {
    type Service = MaskService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MaskService { inner, shared: Arc::clone(&self.shared) }
    }
}

impl std::fmt::Debug for MaskLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskLayer").field("masker", &self.shared.masker).finish_non_exhaustive()
    }
}

/// The error as JSON. Its message has no character that would need an escape.
fn message(error: &MaskError) -> String {
    format!(
        "{{\"error\":{{\"message\":\"{error}\",\"type\":\"upstream_error\",\"code\":\"masking_failed\"}}}}"
    )
}

fn refusal(error: &MaskError) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(message(error)));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn event(error: &MaskError) -> Bytes {
    Bytes::from(format!("\n\ndata: {}\n\n", message(error)))
}
