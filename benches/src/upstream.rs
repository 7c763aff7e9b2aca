//! A model server that takes no time: fixed answers in the shape of the chat API, scripted by the model's name.
//!
//! Every answer says in [`UPSTREAM_TIME`] how long the upstream itself took, and every event of a stream
//! carries the time it was sent, where the API has the time of creation.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Sleep;

use crate::events;
use crate::wire::{KEY_SEEN, UPSTREAM_TIME};

/// Events in one finite stream, the closing `[DONE]` not counted.
pub const EVENTS: usize = 50;

/// Bytes in the body of an answer that is not a stream.
pub const ANSWER: usize = 1024;

/// What the upstream does, named as a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Answers at once.
    Instant,
    /// Takes 20 ms to its first byte, and a millisecond to each event after it.
    Thinks,
    /// A stream that goes on until the caller leaves, five events a second.
    Endless,
    /// Leaks a key in its answer.
    Leaks,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Instant, Self::Thinks, Self::Endless, Self::Leaks];

    /// The name that a request gives.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "bench-instant",
            Self::Thinks => "bench-thinks-20ms",
            Self::Endless => "bench-endless",
            Self::Leaks => "bench-leaks",
        }
    }

    fn named_in(body: &[u8]) -> Self {
        let named = |model: &Self| memchr::memmem::find(body, model.name().as_bytes()).is_some();
        Self::ALL.into_iter().find(named).unwrap_or(Self::Instant)
    }
}

/// The least time that [`Model::Thinks`] takes to its first byte; up to 1 ms more.
pub const THINKING: Duration = Duration::from_millis(20);

/// The pause between two events of [`Model::Endless`].
pub const PAUSE: Duration = Duration::from_millis(200);

/// The pause between two events of [`Model::Thinks`].
pub const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// A key that no one ever had, in the shape that the masker knows; put together here so that this file holds none.
#[must_use]
pub fn leaked_key() -> String {
    ["AKIA", "QR4TXW2M", "ZPLV7KJH"].concat()
}

/// Serves on this listener for ever. `key` is the credential that a caller should present.
pub async fn serve(listener: TcpListener, key: &str) {
    let answers = Arc::new(Answers::new(key));
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Without it, the small writes of a stream wait for the peer's delayed acknowledgement.
        let _not_fatal = stream.set_nodelay(true);
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| answers.answer(request));
            let _caller_left = hyper::server::conn::http1::Builder::new()
                .half_close(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Answers {
    asked: AtomicU64,
    expected: String,
    whole: Bytes,
    leaking: Bytes,
}

type Answer = Response<Either<Full<Bytes>, EventBody>>;

impl Answers {
    fn new(key: &str) -> Self {
        Self {
            asked: AtomicU64::new(0),
            expected: format!("Bearer {key}"),
            whole: answer(""),
            leaking: answer(&leaked_key()),
        }
    }

    /// Sleeps on a thread of its own, to the microsecond: the runtime's timer wakes all that fall into one
    /// millisecond together, and callers would march in step for ever. For the same reason no two in a row
    /// sleep equally long.
    async fn think(&self) {
        let spread =
            Duration::from_micros(self.asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(379) % 1_000);
        let _never_cancelled =
            tokio::task::spawn_blocking(move || std::thread::sleep(THINKING + spread)).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let started = Instant::now();
        let key_seen =
            request.headers().get(AUTHORIZATION).is_some_and(|v| v.as_bytes() == self.expected.as_bytes());
        let body =
            request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let model = Model::named_in(&body);
        if model == Model::Thinks {
            self.think().await;
        }
        let streams = memchr::memmem::find(&body, b"\"stream\":true").is_some();
        let mut response = match (streams, model) {
            (true, _) => Response::new(Either::Right(EventBody::new(model))),
            (false, Model::Leaks) => Response::new(Either::Left(Full::new(self.leaking.clone()))),
            (false, _) => Response::new(Either::Left(Full::new(self.whole.clone()))),
        };
        let headers = response.headers_mut();
        if streams {
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
        } else {
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, self.whole.len().into());
        }
        if key_seen {
            headers.insert(KEY_SEEN, http::HeaderValue::from_static("yes"));
        }
        headers
            .insert(UPSTREAM_TIME, u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).into());
        Ok(response)
    }
}

/// A whole answer of [`ANSWER`] bytes: ordinary prose, with `word` in the middle of it.
fn answer(word: &str) -> Bytes {
    let head = r#"{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":""#;
    let tail = r#""},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":42,"completion_tokens":160,"total_tokens":202}}"#;
    let room = ANSWER - head.len() - tail.len();
    let mut text = format!("The key is {word} as you asked.");
    let mut words = WORDS.iter().cycle();
    while let Some(word) = words.next().filter(|word| text.len() + word.len() <= room) {
        text.push_str(word);
    }
    Bytes::from(format!("{head}{text:.<room$}{tail}"))
}

/// What the model says; ordinary English, as tokens come.
const WORDS: [&str; 24] = [
    " A", " gateway", " stands", " between", " those", " who", " ask", " and", " the", " model", " that",
    " answers", ",", " and", " it", " reads", " what", " comes", " back", " before", " anyone", " else",
    " does", ".",
];

/// A stream of chat deltas.
pub struct EventBody {
    model: Model,
    sent: usize,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    flushed: bool,
}

impl EventBody {
    fn new(model: Model) -> Self {
        let pause = match model {
            Model::Endless => PAUSE,
            Model::Thinks => SHORT_PAUSE,
            Model::Instant | Model::Leaks => Duration::ZERO,
        };
        let sleep = (!pause.is_zero()).then(|| Box::pin(tokio::time::sleep(Duration::ZERO)));
        Self { model, sent: 0, pause, sleep, flushed: true }
    }

    fn next(&mut self) -> Option<Bytes> {
        let last = self.model != Model::Endless && self.sent == EVENTS;
        if self.sent > EVENTS && self.model != Model::Endless {
            return None;
        }
        let word = WORDS.get(self.sent % WORDS.len()).copied().unwrap_or_default();
        self.sent += 1;
        if last {
            return Some(Bytes::from_static(b"data: [DONE]\n\n"));
        }
        let created = events::now();
        Some(Bytes::from(format!(
            "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":\"bench\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
        )))
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (pause, is_first) = (self.pause, self.sent == 0);
        if let Some(sleep) = &mut self.sleep {
            // Even an empty sleep lasts to the next millisecond.
            if !is_first {
                ready!(sleep.as_mut().poll(cx));
            }
            sleep.as_mut().reset(tokio::time::Instant::now() + pause);
        } else if !std::mem::replace(&mut self.flushed, false) {
            // Pending once between two events, so that each goes out in a write of its own, as from a real model.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.next().map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_size_they_should() {
        assert_eq!(answer("").len(), ANSWER);
        let leaking = answer(&leaked_key());
        assert_eq!(leaking.len(), ANSWER);
        let parsed: serde_json::Value = serde_json::from_slice(&leaking).expect("it is JSON");
        let text = parsed["choices"][0]["message"]["content"].as_str().expect("text");
        assert!(text.contains(&leaked_key()));
    }

    #[tokio::test]
    async fn a_finite_stream_has_its_events_and_its_end() {
        let body = EventBody::new(Model::Instant).collect().await.expect("infallible").to_bytes();
        let text = std::str::from_utf8(&body).expect("text");
        assert_eq!(text.matches("\"content\"").count(), EVENTS);
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
}
