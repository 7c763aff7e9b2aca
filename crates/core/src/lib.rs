//! gatewayd: core.
