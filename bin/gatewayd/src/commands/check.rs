//! `gatewayd check`: is the configuration right?

use std::path::Path;
use std::process::ExitCode;

use super::print;
use crate::config::Config;

pub(crate) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(file)?;
    print::line(&format!("{}: right", file.display()));
    print::line(&format!("  listens on     {} (admin {})", config.listen.address, config.admin.address));
    print::line(&format!(
        "  issuers        {}",
        names(config.authn.issuers.iter().map(|issuer| &*issuer.issuer))
    ));
    print::line(&format!("  upstreams      {}", names(config.upstreams.names())));
    print::line(&format!(
        "  credentials    {}",
        names(config.credentials.credentials.iter().map(|c| &*c.name))
    ));
    print::line(&format!(
        "  approvals      {}",
        names(config.approvals.requirements.keys().map(String::as_str))
    ));
    print::line(&format!("  policy         {}", config.policy.load().version()));

    Ok(ExitCode::SUCCESS)
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
