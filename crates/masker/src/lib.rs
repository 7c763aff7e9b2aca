//! Masks secrets in text that arrives in pieces.
//!
//! A [`Masker`] knows what secrets look like (its [rules](rule)) and which values are secret because you say so (its
//! [known secrets](KnownSecrets)). It replaces both by placeholders, in a whole text or in a stream.
//!
//! ```
//! use gatewayd_masker::Masker;
//!
//! let masker = Masker::builder().known_secret("correct horse battery").build()?;
//! assert_eq!(
//!     masker.mask(b"id AKIAZQ3DRSTUVWXY2345, pass correct horse battery"),
//!     b"id [REDACTED:aws-access-key-id], pass [REDACTED:known-secret]"
//! );
//! # Ok::<(), gatewayd_masker::BuildError>(())
//! ```
//!
//! # Streams
//!
//! A [`Stream`] takes a plain text piece by piece. However the text is cut, what comes out is the same; and a byte comes
//! out as soon as nothing that may follow could make it part of a secret. There are no timers and no windows.
//!
//! ```
//! # use gatewayd_masker::Masker;
//! # let masker = Masker::builder().build()?;
//! let mut stream = masker.stream();
//! assert_eq!(stream.push(b"see A"), b"see ");
//! assert_eq!(stream.push(b"nd then AKIA"), b"And then ");
//! assert_eq!(stream.push(b"ZQ3DRSTUVWXY2345"), b"");
//! assert_eq!(stream.push(b"!"), b"[REDACTED:aws-access-key-id]!");
//! # Ok::<(), gatewayd_masker::BuildError>(())
//! ```
//!
//! # Formats
//!
//! Most text is inside of something: JSON strings, server-sent events, lines. [`Masker::body`] takes a body of a
//! [kind](format::BodyKind) apart, masks each text by itself, and leaves everything else byte for byte as it was. In a
//! stream of events a secret that is split over several is found, whatever the dialect.
//!
//! ```
//! # use gatewayd_masker::Masker;
//! use gatewayd_masker::format::BodyKind;
//!
//! # let masker = Masker::builder().build()?;
//! let mut body = masker.body(BodyKind::Json);
//! let masked = body.push(br#"{"n": 1.50, "text": "\u0041KIAZQ3DRSTUVWXY2345"}"#)?;
//! assert_eq!(masked, br#"{"n": 1.50, "text": "[REDACTED:aws-access-key-id]"}"#);
//! let event = &body.take_events()[0];
//! assert_eq!((&*event.rule, &*event.lane, event.length), ("aws-access-key-id", "text", 20));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MaskReader`] and [`MaskWriter`] do the same for `std::io`. With the feature `tower`, `tower::MaskLayer` does it for
//! the responses of any tower service: headers, bodies in any encoding, trailers.
//!
//! # Rules
//!
//! A [`Rule`] is data, read from TOML. The built-in ones are in two tiers: what can hardly be anything else, and
//! assignments such as `password = ...`, which are off unless asked for.
//!
//! ```
//! use gatewayd_masker::{Masker, Tier, rule};
//!
//! let own = rule::parse(
//!     r#"
//!     [[rule]]
//!     id = "ticket"
//!     family = "ours"
//!     description = "A ticket of our help desk."
//!     anchors = ["TCK-"]
//!     pattern = "TCK-[0-9]{6}"
//!     left = "word"
//!     right = "word"
//!     positive = ["see TCK-123456.", "TCK-000001"]
//!     negative = ["TCK-12345", "TCK-1234567"]
//!     "#,
//! )?;
//! let masker = Masker::builder().tiers([Tier::Default, Tier::Assignments]).add_rules(own).build()?;
//! assert_eq!(masker.mask(b"see TCK-123456."), b"see [REDACTED:ticket].");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! Each text is a *lane*. Per lane a state is carried from byte to byte: one automaton over the literals at which
//! rules begin; for each rule that has begun, the state of its own automaton; and for each known secret that may have begun,
//! its place in a sorted table of all spellings. A byte is let go when it is before the earliest of these. The cost
//! is the same for every byte, whatever the input; where too much is undecided at once, it is masked.

#![forbid(unsafe_code)]

mod emit;
pub mod format;
mod io;
mod known;
mod lane;
mod masker;
mod report;
pub mod rule;
mod scan;
mod stream;
#[cfg(feature = "tower")]
pub mod tower;
mod value;

pub use self::io::{MaskReader, MaskWriter};
pub use self::known::{KnownSecretError, KnownSecrets};
pub use self::masker::{BuildError, Builder, Masker, Placeholder};
pub use self::report::{Finding, MaskEvent};
pub use self::rule::{Rule, RuleError, Tier};
pub use self::scan::Engine;
pub use self::stream::Stream;

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
