//! The `gatewayd` program.

use std::process::ExitCode;

use clap::Parser as _;

/// Many short-lived allocations of many sizes on a thread a core: what this allocator is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match gatewayd::commands::run(gatewayd::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write as _;
            let _nobody_may_be_listening = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}
