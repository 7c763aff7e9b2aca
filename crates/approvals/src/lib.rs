//! gatewayd: approvals.
