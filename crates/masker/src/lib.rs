//! Masks secrets in text that arrives in pieces.
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
pub use self::stream::Stream;
