//! gatewayd: masker.
pub mod rule;
