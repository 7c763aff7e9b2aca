//! The gateway's binary as a library, so that tests and benches can reach its parts.
//!
//! It only wires: [`cli`] reads the command line, [`config`] turns the TOML file into each crate's own
//! settings, `stack` puts the controls in order, `serve` runs them, `admin` is the API that the commands in
//! `commands` talk to.
#![forbid(unsafe_code)]

mod admin;
pub mod cli;
pub mod commands;
pub mod config;
mod length_of_time;
mod masking;
mod metrics;
mod second_look;
mod serve;
mod stack;
mod telemetry;
mod tls;
