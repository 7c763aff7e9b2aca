//! One body, in whatever format it is.

use std::sync::Arc;

use super::{Format, FormatError, JsonFormat, Lanes, NdjsonFormat, SseFormat, TensorFormat, TextFormat};
use crate::lane::Session;
use crate::masker::Masker;
use crate::report::MaskEvent;

const BOM: &[u8] = b"\xEF\xBB\xBF";
/// How many bytes of a body are looked at to see what it is.
const SNIFFED: usize = 64;
/// How many to see whether it is text at all.
const LOOKED_AT: usize = 16;

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
    /// So many bytes of JSON, and behind them bytes whose lengths must not change, as KServe sends tensors
    /// (`Inference-Header-Content-Length`). Masks are as long as what they hide.
    Tensors(usize),
    /// Not said: the first bytes decide.
    Unknown,
    /// Text in an encoding that is not read. It is refused.
    Foreign,
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
        let said = content_type.unwrap_or_default().to_ascii_lowercase();
        if is_foreign(&said) {
            return Self::Foreign;
        }
        let essence = said.split(';').next().unwrap_or_default().trim();
        match essence.split_once('/') {
            Some(("image", kind)) if kind != "svg+xml" => return Self::Binary,
            Some(("audio" | "video" | "font", _)) => return Self::Binary,
            _ => {}
        }
        match essence {
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
            "application/pdf" | "application/zip" | "application/gzip" | "application/wasm" => Self::Binary,
            other if other.starts_with("application/grpc") || other.ends_with("protobuf") => Self::Binary,
            other if other.ends_with("+json") => Self::Json,
            other
                if other.starts_with("text/")
                    || other.starts_with("multipart/")
                    || other.ends_with("+xml") =>
            {
                Self::Text
            }
            // Whatever that is: what it begins with decides.
            _ => Self::Unknown,
        }
    }

    /// The kind that the first bytes of a body stand for, whatever was said of it; `None` if more are needed and
    /// not `all` is there.
    ///
    /// A body is read by clients as what it is, not as what it is said to be: events are masked as events.
    fn sniff(self, bytes: &[u8], all: bool) -> Result<Option<Self>, FormatError> {
        // What is looked at must not depend on how much there is.
        let seen = bytes.get(..SNIFFED).unwrap_or(bytes);
        let all = all || seen.len() == SNIFFED;
        let is_text = !matches!(self, Self::Binary | Self::Tensors(_));
        if self == Self::Foreign || (seen.len() >= 4 && is_text && is_wide(seen, self != Self::Unknown)) {
            return Err(FormatError::Encoding);
        }
        // A client that was not told of it may unpack it all the same.
        if is_text && self != Self::Unknown && seen.len() >= 4 && is_packed(seen) {
            return Err(FormatError::Encoding);
        }
        if let Self::Tensors(_) = self {
            return Ok(Some(self));
        }
        if !all && (seen.len() < 4 || (self == Self::Unknown && seen.len() < LOOKED_AT)) {
            return Ok(None);
        }
        let text = seen.strip_prefix(BOM).unwrap_or(seen);
        let is_json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'[' | 0x1E));
        let events = Events::of(text);
        if self == Self::Binary {
            if !all {
                return Ok(None);
            }
            let is_text = (is_json || events == Events::Certain) && !has_controls(seen);
            return if is_text { Err(FormatError::Encoding) } else { Ok(Some(self)) };
        }
        Ok(match self {
            Self::Events => Some(Self::Events),
            Self::Lines if is_json => Some(Self::Lines),
            _ if is_json => Some(Self::Json),
            // A comment may stand before events, and anything before lines.
            Self::Lines if text.starts_with(b":") => Some(Self::Lines),
            _ if events == Events::Certain => Some(Self::Events),
            _ if !all && (events == Events::Possible || text.trim_ascii().is_empty()) => None,
            Self::Unknown if has_controls(seen.get(..LOOKED_AT).unwrap_or(seen)) => Some(Self::Binary),
            Self::Unknown => Some(Self::Text),
            said => Some(said),
        })
    }
}

/// Whether a text looks like a stream of events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Events {
    Certain,
    Possible,
    No,
}

impl Events {
    fn of(text: &[u8]) -> Self {
        let fields: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b":"];
        let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).peekable();
        let mut others = 0;
        while let Some(line) = lines.next() {
            let is_last = lines.peek().is_none();
            if line == b"data" && !is_last {
                return Self::Certain;
            }
            if fields.iter().any(|field| line.starts_with(field)) {
                let value = line.strip_prefix(b"data:").unwrap_or_default().trim_ascii_start();
                // Behind lines of another kind, only what nothing else would look like.
                if others == 0 || matches!(value.first(), Some(b'{' | b'[')) {
                    return Self::Certain;
                }
            } else if !line.is_empty() {
                let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
                let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
                if !name.iter().all(is_name) {
                    return Self::No;
                }
                others += 1;
            }
        }
        Self::Possible
    }
}

/// Encodings in which the letters of secrets are not their ASCII bytes.
const FOREIGN: [&str; 18] = [
    "utf-16",
    "utf16",
    "utf-32",
    "utf32",
    "utf-7",
    "utf7",
    "ucs-2",
    "ucs2",
    "ucs-4",
    "ucs4",
    "iso-10646",
    "unicode",
    "csunicode",
    "csutf",
    "x-utf-",
    "cp1200",
    "ebcdic",
    "ibm037",
];

/// Whether a `Content-Type` in small letters names such an encoding. Clients are lenient about blanks and quotes.
fn is_foreign(said: &str) -> bool {
    let packed: String = said.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
    packed.split(';').filter_map(|parameter| parameter.strip_prefix("charset=")).any(|name| {
        FOREIGN.iter().any(|foreign| name.starts_with(foreign)) && !name.starts_with("unicode-1-1-utf-8")
    })
}

/// Whether text takes more than a byte for each letter. Where `is_said` to be text, zeros tell that whatever
/// stands between them.
fn is_wide(bytes: &[u8], is_said: bool) -> bool {
    let is_letter = |byte: &u8| match byte {
        0 => false,
        _ => is_said || byte.is_ascii_graphic() || byte.is_ascii_whitespace(),
    };
    let wide = |low: usize, high: usize| {
        [low, low + 2].iter().all(|at| bytes.get(*at).is_some_and(is_letter))
            && [high, high + 2].iter().all(|at| bytes.get(*at) == Some(&0))
    };
    let marks: [&[u8]; 3] = [b"\xFF\xFE", b"\xFE\xFF", b"\0\0\xFE\xFF"];
    let four = bytes.first().is_some_and(is_letter) && bytes.get(1..4) == Some(b"\0\0\0");
    marks.iter().any(|mark| bytes.starts_with(mark)) || wide(0, 1) || wide(1, 0) || four
}

/// Whether bytes are those of gzip or zstd.
fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1F\x8B\x08") || bytes.starts_with(b"\x28\xB5\x2F\xFD")
}

/// Whether there are bytes that text does not have.
fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0..=8 | 0x0E..=0x1A | 0x1C | 0x1D | 0x1F | 0x7F))
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
            BodyKind::Binary | BodyKind::Tensors(_) => Session::keeping_length(Arc::clone(&self.inner)),
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
        BodyKind::Tensors(head) => Box::new(TensorFormat::new(head)),
        BodyKind::Text | BodyKind::Binary | BodyKind::Unknown | BodyKind::Foreign => {
            Box::new(TextFormat::default())
        }
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
            None => self.sniff(bytes, false, out),
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
        if self.format.is_none() {
            self.sniff(b"", true, &mut out)?;
        }
        let format = self.format.get_or_insert_with(|| format_of(self.kind));
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

    fn sniff(&mut self, bytes: &[u8], all: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.first.extend_from_slice(bytes);
        let Some(kind) = self.kind.sniff(&self.first, all)? else { return Ok(()) };
        if kind == BodyKind::Binary && self.kind != kind {
            self.lanes = Lanes::new(Session::keeping_length(Arc::clone(&self.masker.inner)));
        }
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
