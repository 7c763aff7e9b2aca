//! gatewayd: recorder.
