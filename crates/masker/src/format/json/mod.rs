//! JSON: every text is a string, every string is decoded, masked and spelled again.

mod escape;
pub(crate) mod event;
mod loose;
mod shape;
mod stream;
mod tape;

pub(crate) use self::escape::Decoder;
pub(crate) use self::event::TokenQueue;
pub use self::stream::JsonFormat;
