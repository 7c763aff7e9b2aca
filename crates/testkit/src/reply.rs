//! What a fake upstream answers.

use std::future::pending;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, BoxError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::upstream::{Seen, Shared};

/// What a fake upstream answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Reply {
    /// These bytes, whole.
    Whole {
        /// Status code.
        status: u16,
        /// Headers, also repeated ones.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Bytes,
    },
    /// What was received, as JSON: `method`, `uri`, `version`, `headers` (pairs), `body`, `trailers`.
    Echo,
    /// The body of the request, piece by piece as it arrives.
    Pipe,
    /// Pieces with a delay before each but the first, then an ending.
    Stream {
        /// Content type.
        content_type: &'static str,
        /// The pieces.
        pieces: Vec<Bytes>,
        /// Delay before each piece but the first.
        delay: Duration,
        /// How it ends.
        ending: StreamEnding,
    },
    /// Never answers.
    Hang,
    /// Waits, then answers.
    After(Duration, Box<Reply>),
}

/// How a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnding {
    /// As it should.
    Complete,
    /// With these trailers.
    Trailers(Vec<(&'static str, String)>),
    /// It says nothing more and stays open.
    Hang,
    /// The connection is closed in mid-stream.
    Cut,
}

impl Reply {
    /// A JSON answer of exactly that many bytes (at least 10).
    #[must_use]
    pub fn json(length: usize) -> Self {
        let body = format!("{{\"text\":\"{}\"}}", "a".repeat(length.saturating_sub(11)));
        Self::body("application/json", body)
    }

    /// This body with status 200.
    #[must_use]
    pub fn body(content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::Whole {
            status: 200,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }

    /// This text, compressed with gzip.
    #[must_use]
    pub fn gzip(content_type: &str, text: &str) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory takes any bytes");
        let body = encoder.finish().expect("memory takes any bytes").into();
        let headers =
            vec![("content-type", content_type.to_owned()), ("content-encoding", "gzip".to_owned())];
        Self::Whole { status: 200, headers, body }
    }

    /// OpenAI's chat stream: that many deltas `t0 `, `t1 ` ..., then `[DONE]`.
    #[must_use]
    pub fn events(count: usize, delay: Duration) -> Self {
        let mut pieces: Vec<Bytes> = (0..count).map(delta).collect();
        pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Self::Stream { content_type: "text/event-stream", pieces, delay, ending: StreamEnding::Complete }
    }

    /// Ollama's chat stream: that many lines, the last one `done`.
    #[must_use]
    pub fn lines(count: usize, delay: Duration) -> Self {
        let line = |at: usize| {
            let done = at + 1 == count;
            format!("{{\"message\":{{\"role\":\"assistant\",\"content\":\"t{at} \"}},\"done\":{done}}}\n")
                .into()
        };
        let pieces = (0..count).map(line).collect();
        Self::Stream { content_type: "application/x-ndjson", pieces, delay, ending: StreamEnding::Complete }
    }

    /// That many deltas of a chat stream without the `[DONE]`, then this ending.
    #[must_use]
    pub fn broken_events(count: usize, ending: StreamEnding) -> Self {
        let pieces = (0..count).map(delta).collect();
        Self::Stream { content_type: "text/event-stream", pieces, delay: Duration::ZERO, ending }
    }

    pub(crate) fn streams_back(&self) -> bool {
        matches!(self, Self::Pipe)
    }

    pub(crate) fn piped(&self, body: Body, watch: Watch) -> Response<Body> {
        Response::new(Body::new(Watched { body, watch }))
    }

    pub(crate) async fn answer(&self, seen: &Seen, mut watch: Watch) -> Response<Body> {
        let mut reply = self;
        while let Self::After(wait, then) = reply {
            tokio::time::sleep(*wait).await;
            reply = then;
        }
        let response = match reply {
            Self::Hang => pending().await,
            Self::Stream { content_type, pieces, delay, ending } => {
                let body = stream(pieces.clone(), *delay, ending.clone());
                let mut response = Response::new(Body::new(Watched { body, watch }));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                return response;
            }
            Self::Whole { status, headers, body } => whole(*status, headers, body.clone()),
            Self::Echo | Self::Pipe | Self::After(..) => {
                whole(200, &[("content-type", "application/json".to_owned())], echo(seen).into())
            }
        };
        watch.finish();
        response
    }
}

fn delta(at: usize) -> Bytes {
    let choice = format!("{{\"index\":0,\"delta\":{{\"content\":\"t{at} \"}}}}");
    format!("data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{choice}]}}\n\n").into()
}

fn whole(status: u16, headers: &[(&'static str, String)], body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a test names a real status");
    *response.headers_mut() = header_map(headers);
    response
}

fn header_map(pairs: &[(&'static str, String)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("a test names a real value");
    pairs.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
}

fn echo(seen: &Seen) -> String {
    let pairs = |headers: &HeaderMap| -> Vec<[String; 2]> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.iter().map(|(name, value)| [name.to_string(), text(value)]).collect()
    };
    serde_json::json!({
        "method": seen.method.as_str(),
        "uri": seen.uri.to_string(),
        "version": format!("{:?}", seen.version),
        "headers": pairs(&seen.headers),
        "body": String::from_utf8_lossy(&seen.body),
        "trailers": seen.trailers.as_ref().map(pairs),
    })
    .to_string()
}

fn stream(pieces: Vec<Bytes>, delay: Duration, ending: StreamEnding) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for (at, piece) in pieces.into_iter().enumerate() {
            if at > 0 && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if sender.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
        }
        match ending {
            StreamEnding::Complete => {}
            StreamEnding::Trailers(pairs) => {
                let _gone = sender.send(Ok(Frame::trailers(header_map(&pairs)))).await;
            }
            StreamEnding::Hang => sender.closed().await,
            StreamEnding::Cut => {
                let _gone = sender.send(Err("cut as told".into())).await;
            }
        }
    });
    Body::new(Pieces { receiver })
}

struct Pieces {
    receiver: mpsc::Receiver<Result<Frame<Bytes>, BoxError>>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.receiver.poll_recv(cx)
    }
}

/// Counts a reply that is dropped before it ended.
pub(crate) struct Watch {
    shared: Option<Arc<Shared>>,
}

impl Watch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared: Some(shared) }
    }

    pub(crate) fn finish(&mut self) {
        self.shared = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.note_cancelled();
        }
    }
}

struct Watched {
    body: Body,
    watch: Watch,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let is_last = match &frame {
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Pending => false,
        };
        if is_last {
            self.watch.finish();
        }
        frame
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
