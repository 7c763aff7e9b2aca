//! What may come back: secrets are masked in server-sent events while they stream.
//!
//! ```console
//! $ cargo run -p gatewayd-examples --bin masked_sse
//! $ curl -N http://127.0.0.1:3000/chat
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt as _, stream};
use gatewayd_masker::Masker;
use gatewayd_masker::tower::MaskLayer;
use serde_json::json;

/// What a model might say, token by token. The key is in four events, and in none of them alone.
pub(crate) const TOKENS: [&str; 8] =
    ["The ", "key is ", "AK", "IAZQ3D", "RSTUVW", "XY2345", ", keep it ", "safe."];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The built-in rules, and what only you know to be secret, in whatever encoding it may come.
    let masker = Masker::builder().known_secret("the-password-of-my-database").build()?;
    let app = app(masker, Duration::from_millis(300));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}

pub(crate) fn app(masker: Masker, pause: Duration) -> Router {
    let chat = Router::new().route("/chat", get(move || async move { Sse::new(chat(pause)) }));
    masked(chat, masker, Arc::default())
}

/// Masks every answer of these routes: heads, bodies in whatever format, trailers. An answer that cannot be masked
/// (a part of a file, an unknown encoding) is refused with 502 instead of passed on.
pub(crate) fn masked(routes: Router, masker: Masker, masks: Arc<AtomicU64>) -> Router {
    let layer = MaskLayer::new(masker);
    // The event says rule, place and length. It does not know the secret, so no metric and no log can leak it.
    routes.layer(layer.on_mask(move |_request, _event| {
        masks.fetch_add(1, Ordering::Relaxed);
    }))
}

/// Events as OpenAI's API has them. All deltas of one choice are one text to the masker: it holds back only what could
/// still become a secret, and lets everything else go at once.
fn chat(pause: Duration) -> impl Stream<Item = Result<Event, Infallible>> {
    let deltas = stream::iter(TOKENS).then(move |token| async move {
        tokio::time::sleep(pause).await;
        json!({"choices": [{"index": 0, "delta": {"content": token}}]}).to_string()
    });
    deltas.chain(stream::iter(["[DONE]".to_owned()])).map(|data| Ok(Event::default().data(data)))
}
