//! One kept-alive connection that asks and times the answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::upstream::Model;
use crate::wire::{self, BodyReader, Head, Sink};

/// The times of one answer, counted from before the request was written.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Until the first byte of the body.
    pub first: Duration,
    /// Until the last byte of the body.
    pub total: Duration,
    /// What the upstream took of it, to its head.
    pub upstream: Duration,
}

/// A request, ready to be written.
#[derive(Debug, Clone)]
pub struct Call(Vec<u8>);

impl Call {
    /// A chat request to this model, presenting this bearer token.
    #[must_use]
    pub fn chat(model: Model, stream: bool, token: &str) -> Self {
        let model = model.name();
        let body = format!(
            "{{\"model\":\"{model}\",\"stream\":{stream},\"max_tokens\":160,\"messages\":[\
             {{\"role\":\"system\",\"content\":\"You are a helpful assistant. Answer in plain words.\"}},\
             {{\"role\":\"user\",\"content\":\"What does a gateway in front of a model do, and why would I want one?\"}}]}}"
        );
        Self::post("/v1/chat/completions", &body, token)
    }

    /// A POST of this JSON.
    #[must_use]
    pub fn post(path: &str, json: &str, token: &str) -> Self {
        let authorization =
            if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        Self(
            format!(
                "POST {path} HTTP/1.1\r\nhost: gateway.bench\r\n{authorization}content-type: application/json\r\n\
                 accept: application/json\r\nuser-agent: stack-bench\r\ncontent-length: {}\r\n\r\n{json}",
                json.len()
            )
            .into_bytes(),
        )
    }
}

/// A connection to a target.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nothing listens there.
    pub async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its head and body to the end.
    ///
    /// # Errors
    /// The connection broke or the answer is malformed.
    pub async fn exchange(&mut self, call: &Call, sink: &mut impl Sink) -> anyhow::Result<(Head, Timing)> {
        let started = Instant::now();
        self.stream.write_all(&call.0).await?;
        let head = self.head().await?;
        let mut reader = BodyReader::new(head.framing);
        let mut first = None;
        while !reader.done() {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            first.get_or_insert_with(|| started.elapsed());
            let used = reader.read(&self.buffer, sink)?;
            self.buffer.drain(..used);
        }
        let total = started.elapsed();
        let upstream = head.upstream.unwrap_or_default();
        Ok((head, Timing { first: first.unwrap_or(total), total, upstream }))
    }

    /// Sends a request and gives the answer's head and its body as text.
    ///
    /// # Errors
    /// The connection broke or the answer is malformed.
    pub async fn text(&mut self, call: &Call) -> anyhow::Result<(Head, String)> {
        let mut body = Vec::new();
        let (head, _) = self.exchange(call, &mut body).await?;
        Ok((head, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Reads the answer's head, leaving what follows it in the buffer.
    async fn head(&mut self) -> anyhow::Result<Head> {
        loop {
            if let Some(head) = wire::head(&self.buffer)? {
                self.buffer.drain(..head.size);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        anyhow::ensure!(read > 0, "the connection was closed in the middle of an answer");
        Ok(())
    }
}
