//! gatewayd: authn.
