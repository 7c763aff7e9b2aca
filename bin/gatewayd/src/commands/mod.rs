//! What each command does.

mod access;
mod approvals;
mod check;
mod policy;
mod print;
mod token;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs the command. An exit status of 1 is an answer ("no", "not found"), 2 a command that could not be done.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check(file) => check::run(&file.config),
        Command::Policy(command) => policy::run(command),
        Command::Approvals(command) => approvals::run(command),
        Command::Token(command) => token::run(command), 
        Command::Serve(file) => crate::serve::run(&file.config),
 _ => Ok(ExitCode::SUCCESS),
    }
}
