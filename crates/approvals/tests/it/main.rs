//! Black box, through the tower layer and the management calls.

// Tests stop where something is not as it must be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod changing;
mod deciding;
mod erasing;
mod headers;
mod holding;
mod passing;
mod rechecking;
mod showing;
mod world;
