//! gatewayd: testkit.

mod tokens;

pub use tokens::{FakeIssuer, FakeIssuers, TestKey, TestKeyKind, TokenBuilder};
