//! Formats: where text is in a body, and how it is spelled there.
//!
//! A [`Format`] takes a body apart into texts, gives each to a lane of [`Lanes`], and writes what comes back
//! where the text was. The formats of this crate are plain text, JSON, server-sent events, NDJSON and tensors behind a
//! head of JSON.
//!
//! # A format of your own
//!
//! Implement [`Format`] and give it to [`Masker::body_in`](crate::Masker::body_in). A text that is at hand goes to
//! [`Lanes::whole`]; one that arrives in pieces to [`Lanes::text`] with a name of its own, and to [`Lanes::end`] where it
//! ends. This one masks records that stand behind their length, which has to be told anew:
//!
//! ```
//! use gatewayd_masker::Masker;
//! use gatewayd_masker::format::{Format, FormatError, Lanes};
//!
//! /// `5:hello,3:abc,`
//! #[derive(Default)]
//! struct Records {
//!     held: Vec<u8>,
//! }
//!
//! impl Format for Records {
//!     fn push(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
//!         self.held.extend_from_slice(bytes);
//!         while let Some(colon) = self.held.iter().position(|byte| *byte == b':') {
//!             let length = std::str::from_utf8(&self.held[..colon]).ok().and_then(|text| text.parse().ok());
//!             let length: usize = length.ok_or(FormatError::Malformed)?;
//!             if length > 1 << 20 {
//!                 return Err(FormatError::TooLong);
//!             }
//!             let end = colon + 1 + length;
//!             if self.held.len() <= end {
//!                 return Ok(());
//!             }
//!             let record = &self.held[colon + 1..end];
//!             let masked = lanes.whole("record", record);
//!             let record = masked.as_deref().unwrap_or(record);
//!             out.extend_from_slice(format!("{}:", record.len()).as_bytes());
//!             out.extend_from_slice(record);
//!             out.push(b',');
//!             self.held.drain(..=end);
//!         }
//!         if self.held.len() > 20 { Err(FormatError::Malformed) } else { Ok(()) }
//!     }
//!
//!     fn finish(&mut self, _: &mut Lanes, _: &mut Vec<u8>) -> Result<(), FormatError> {
//!         // What is not complete cannot be masked, and is not let through.
//!         if self.held.is_empty() { Ok(()) } else { Err(FormatError::Malformed) }
//!     }
//! }
//!
//! let masker = Masker::builder().build()?;
//! let mut body = masker.body_in(Box::new(Records::default()));
//! assert_eq!(body.push(b"5:hello,24:key ")?, b"5:hello,");
//! assert_eq!(body.push(b"AKIAZQ3DRSTUVWXY2345,")?, b"32:key [REDACTED:aws-access-key-id],");
//! assert!(body.finish()?.is_empty());
//! assert_eq!(body.take_events()[0].lane, "record");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod json;
mod lanes;
mod names;
mod ndjson;
mod sse;
mod tensors;
mod text;

pub use self::body::{BodyKind, BodyStream};
pub use self::json::JsonFormat;
pub use self::lanes::Lanes;
pub(crate) use self::names::Names;
pub use self::ndjson::NdjsonFormat;
pub use self::sse::SseFormat;
pub use self::tensors::TensorFormat;
pub use self::text::TextFormat;

/// The most bytes of one event, one line of NDJSON, or one list of log-probabilities.
pub(crate) const LONGEST_UNIT: usize = 16 << 20;

/// Takes one body apart.
///
/// What a format puts out must depend on the bytes of the body alone, never on how they were cut. A format
/// that cannot go on returns an error; whoever drives it must then end the body without another byte.
pub trait Format: Send {
    /// Takes a piece of the body and appends to `out` what may leave.
    ///
    /// # Errors
    /// When the body cannot be masked. The error is final.
    fn push(&mut self, lanes: &mut Lanes, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// The end of the body; appends the rest.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    fn finish(&mut self, lanes: &mut Lanes, out: &mut Vec<u8>) -> Result<(), FormatError>;
}

/// Why a body cannot be masked. Says nothing of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// An event or line is too long to be looked at as a whole.
    #[error("one event or line of the body is longer than {LONGEST_UNIT} bytes; send smaller events")]
    TooLong,
    /// Arrays and objects are nested too deeply.
    #[error("the JSON of the body is nested deeper than 512 levels")]
    TooDeep,
    /// Too many texts are open at once.
    #[error("the body interleaves more than {0} texts; none of them can be let go")]
    TooManyLanes(usize),
    /// The text is in an encoding that is not read, or the body is not what it is said to be.
    #[error(
        "the body is no UTF-8 text but is called text, or text that is called an image or the like; send UTF-8, and say what it is (Content-Type, Content-Encoding)"
    )]
    Encoding,
    /// The body cannot be taken apart as what it is said to be.
    #[error("the body is not in the format it is said to be; say what it is (Content-Type)")]
    Malformed,
    /// The body failed before, and nothing of it may follow.
    #[error("the body could not be masked and was ended")]
    Ended,
}
