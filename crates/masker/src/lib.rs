//! gatewayd: masker.
