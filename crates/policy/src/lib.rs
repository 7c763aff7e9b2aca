//! gatewayd: policy.
