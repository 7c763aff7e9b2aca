//! One body, in whatever format it is.

use std::sync::Arc;

use super::{Format, FormatError, JsonFormat, Lanes, NdjsonFormat, SseFormat, TextFormat};
use crate::lane::Session;
use crate::masker::Masker;
use crate::report::MaskEvent;

const BOM: &[u8] = b"\xEF\xBB\xBF";
/// How many bytes of a body are looked at to see what it is.
const SNIFFED: usize = 64;

/// What a body is, as far as masking is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyKind {
    /// Plain text, HTML, XML, forms.
    Text,
    /// A JSON document.
    Json,
    /// Server-sent events.
    Events,
    /// JSON documents, one a line.
    Lines,
    /// Anything whose lengths must not change: masks are as long as what they hide.
    Binary,
    /// Not said: the first bytes decide.
    Unknown,
}

impl BodyKind {
    /// The kind that a `Content-Type` stands for.
    ///
    /// ```
    /// use gatewayd_masker::format::BodyKind;
    /// assert_eq!(BodyKind::of(Some("text/event-stream; charset=utf-8")), BodyKind::Events);
    /// assert_eq!(BodyKind::of(Some("application/problem+json")), BodyKind::Json);
    /// assert_eq!(BodyKind::of(Some("image/png")), BodyKind::Binary);
    /// assert_eq!(BodyKind::of(None), BodyKind::Unknown);
    /// ```
    #[must_use]
    pub fn of(content_type: Option<&str>) -> Self {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Unknown,
            "text/event-stream" => Self::Events,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonlines"
            | "application/jsonlines"
            | "application/json-lines"
            | "application/x-json-stream"
            | "application/stream+json"
            | "application/json-seq" => Self::Lines,
            "application/json" | "text/json" | "application/x-json" => Self::Json,
            "application/xml"
            | "application/javascript"
            | "application/x-javascript"
            | "application/yaml"
            | "application/x-yaml"
            | "application/toml"
            | "application/x-www-form-urlencoded"
            | "application/x-sh"
            | "application/x-pem-file"
            | "application/sql" => Self::Text,
            other if other.ends_with("+json") => Self::Json,
            other
                if other.starts_with("text/")
                    || other.starts_with("multipart/")
                    || other.ends_with("+xml") =>
            {
                Self::Text
            }
            _ => Self::Binary,
        }
    }

    /// The kind that the first bytes of a body stand for, whatever was said of it; `None` if more are needed.
    ///
    /// A body is read by clients as what it is, not as what it is said to be: events are masked as events.
    fn sniff(self, bytes: &[u8]) -> Option<Self> {
        if self == Self::Binary {
            return Some(self);
        }
        // What is looked at must not depend on how much there is.
        let seen = bytes.get(..SNIFFED).unwrap_or(bytes);
        let bytes = seen.strip_prefix(BOM).unwrap_or(seen);
        let first = bytes.trim_ascii_start().first();
        if matches!(first, Some(b'{' | b'[')) {
            return Some(if matches!(self, Self::Unknown | Self::Events) { Self::Json } else { self });
        }
        let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
        if fields.iter().any(|field| bytes.starts_with(field)) {
            return Some(Self::Events);
        }
        let undecided = seen.len() < SNIFFED
            && (first.is_none()
                || BOM.starts_with(seen)
                || fields.iter().any(|field| field.starts_with(bytes)));
        match self {
            _ if undecided => None,
            Self::Unknown => Some(Self::Text),
            said => Some(said),
        }
    }
}

/// One body, masked as it arrives.
///
/// ```
/// use gatewayd_masker::{Masker, format::BodyKind};
///
/// let masker = Masker::builder().build()?;
/// let mut body = masker.body(BodyKind::Events);
/// let first = body.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"key AKIAZQ3D\"}}]}\n\n")?;
/// assert_eq!(first, b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"key \"}}]}\n\n");
/// let second = body.push(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"RSTUVWXY2345!\"}}]}\n\n")?;
/// assert_eq!(
///     second,
///     b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"[REDACTED:aws-access-key-id]!\"}}]}\n\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BodyStream {
    masker: Masker,
    lanes: Lanes,
    format: Option<Box<dyn Format>>,
    kind: BodyKind,
    /// The first bytes, while they do not decide.
    first: Vec<u8>,
    ended: bool,
}

impl Masker {
    /// Masks a body of a kind.
    #[must_use]
    pub fn body(&self, kind: BodyKind) -> BodyStream {
        let session = match kind {
            BodyKind::Binary => Session::keeping_length(Arc::clone(&self.inner)),
            _ => Session::new(Arc::clone(&self.inner)),
        };
        BodyStream {
            masker: self.clone(),
            lanes: Lanes::new(session),
            format: None,
            kind,
            first: Vec::new(),
            ended: false,
        }
    }

    /// Masks a body of which only its `Content-Type` is known.
    #[must_use]
    pub fn redaction(&self, content_type: Option<&str>) -> BodyStream {
        self.body(BodyKind::of(content_type))
    }

    /// Masks a body in a format of your own.
    #[must_use]
    pub fn body_in(&self, format: Box<dyn Format>) -> BodyStream {
        BodyStream { format: Some(format), ..self.body(BodyKind::Text) }
    }
}

fn format_of(kind: BodyKind) -> Box<dyn Format> {
    match kind {
        BodyKind::Json => Box::new(JsonFormat::default()),
        BodyKind::Events => Box::new(SseFormat::default()),
        BodyKind::Lines => Box::new(NdjsonFormat::default()),
        BodyKind::Text | BodyKind::Binary | BodyKind::Unknown => Box::new(TextFormat::default()),
    }
}

impl BodyStream {
    /// Takes a piece; gives what may leave.
    ///
    /// # Errors
    /// When the body cannot be masked. The error is final: end the body without another byte.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::with_capacity(bytes.len() + 16);
        self.push_into(bytes, &mut out)?;
        Ok(out)
    }

    /// As [`push`](Self::push), appending to a buffer of the caller's. After an error nothing in the buffer may
    /// be used.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_into(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        if self.ended {
            return Err(FormatError::Ended);
        }
        self.lanes.refresh();
        let result = match &mut self.format {
            Some(format) => format.push(&mut self.lanes, bytes, out),
            None => self.sniff(bytes, out),
        };
        self.ended = result.is_err();
        result
    }

    /// The end of the body; gives the rest.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Vec<u8>, FormatError> {
        if std::mem::replace(&mut self.ended, true) {
            return Err(FormatError::Ended);
        }
        self.lanes.refresh();
        let mut out = Vec::new();
        let first = std::mem::take(&mut self.first);
        let format = self.format.get_or_insert_with(|| format_of(self.kind));
        format.push(&mut self.lanes, &first, &mut out)?;
        format.finish(&mut self.lanes, &mut out)?;
        Ok(out)
    }

    /// What has been masked since the last call.
    pub fn take_events(&mut self) -> Vec<MaskEvent> {
        self.lanes.take_events()
    }

    /// What the body is; its first bytes can overrule what was said of it.
    #[must_use]
    pub fn kind(&self) -> BodyKind {
        self.kind
    }

    /// The masker this body belongs to.
    #[must_use]
    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    fn sniff(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.first.extend_from_slice(bytes);
        let Some(kind) = self.kind.sniff(&self.first) else { return Ok(()) };
        self.kind = kind;
        let first = std::mem::take(&mut self.first);
        let format = self.format.insert(format_of(kind));
        format.push(&mut self.lanes, &first, out)
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream")
            .field("masker", &self.masker)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
