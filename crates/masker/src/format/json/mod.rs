//! JSON: every text is a string, every string is decoded, masked and spelled again.

mod bytes;
mod capture;
mod edit;
mod escape;
pub(crate) mod event;
mod loose;
mod shape;
mod stream;
mod strings;
mod tape;

pub(crate) use self::escape::Decoder;
pub(crate) use self::event::{Template, TokenQueue};
pub use self::stream::JsonFormat;
