//! gatewayd: testkit.
