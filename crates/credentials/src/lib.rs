//! gatewayd: credentials.
