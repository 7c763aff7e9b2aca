//! gatewayd: dialects.
