//! Black box, through the public API.

// Tests stop where something is not as it must be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod asking;
mod cedar;
mod layer;
mod reference;
mod refusing;
mod rules;
mod several;
mod table;
