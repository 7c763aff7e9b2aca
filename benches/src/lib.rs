//! Measures the whole stack: what the gateway adds to a request, to the first byte of a stream and to
//! memory, against the same load sent straight to the upstream.
//!
//! ```text
//! cargo build --release -p gatewayd -p gatewayd-benches
//! target/release/stack-bench                    the full run, under 8 minutes
//! target/release/stack-bench --quick            the same tables from shorter rounds, under a minute
//! target/release/stack-bench --json out.json    every round's figures as well
//! ```
//!
//! One process drives the load and starts everything else as its children on loopback: a zero-delay
//! upstream ([`upstream`]), and in front of it nginx (where installed), the gateway's own proxy with no
//! control ([`bare`]), and the real `gatewayd` with every control on, once for each durability
//! ([`gateway`]). Before a figure is taken, the run proves that the controls are on: a caller without a
//! token, a denied operation, a leaked key, the injected credential and the record are each checked.
//!
//! All targets take turns in every round ([`plan`]) and each is compared with the direct measurement of
//! the same round, so that a machine that drifts does not favour anyone. The upstream says in a header how
//! long it took itself, and stamps every event of a stream with the time it was sent, so that an
//! artificial delay of the upstream does not hide what was added, and timer jitter is not mistaken for it.
#![forbid(unsafe_code)]

pub mod bare;
pub mod child;
pub mod client;
pub mod events;
pub mod gateway;
pub mod load;
pub mod machine;
pub mod plan;
pub mod report;
pub mod stats;
pub mod target;
pub mod upstream;
pub mod wire;
