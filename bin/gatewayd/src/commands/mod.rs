//! What each command does.

mod access;
mod approvals;
mod callers;
mod check;
mod listener;
mod mask;
mod policy;
mod print;
mod replay;
mod rules;
mod sessions;
mod token;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs the command. An exit status of 1 is an answer ("no", "not found"), 2 a command that could not be done.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(file) => crate::serve::run(&file.config),
        Command::Check(file) => check::run(&file.config),
        Command::Policy(command) => policy::run(command),
        Command::Approvals(command) => approvals::run(command),
        Command::Sessions(command) => sessions::run(command),
        Command::Token(command) => token::run(command),
        Command::Mask(args) => mask::run(&args),
        Command::Rules(command) => rules::run(command),
    }
}
