//! `gatewayd check`: is the configuration right?

use std::path::Path;
use std::process::ExitCode;

use gatewayd_credentials::Source;
use gatewayd_proxy::{FetchConfig, HttpFetch};

use super::print;
use crate::config::Config;
use crate::tls::ReloadingCertificate;

/// Who vouches for the holders of gateway tokens.
const GATEWAY_TOKENS: &str = "gatewayd";

pub(crate) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(file)?;
    look_at_files(&config)?;
    look_at_subjects(&config);
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

/// What `serve` opens beside the stores. A credential that is missing is no error there, for it may come later;
/// here it is at least worth a word.
fn look_at_files(config: &Config) -> anyhow::Result<()> {
    for tls in [&config.listen.tls, &config.admin.tls].into_iter().flatten() {
        ReloadingCertificate::load(&tls.certificate, &tls.key)?;
    }
    HttpFetch::new(&FetchConfig { ca: config.authn_ca.clone(), ..FetchConfig::default() })?;
    for credential in &config.credentials.credentials {
        let missing = match &credential.source {
            Source::File(path) => {
                std::fs::read(path).err().map(|error| format!("{}: {error}", path.display()))
            }
            Source::Env(name) => std::env::var_os(name).is_none().then(|| format!("{name} is not set")),
        };
        if let Some(missing) = missing {
            let name = &credential.name;
            print::note(&format!(
                "warning: credential `{name}`: {missing}; its upstreams get 503 until it is there"
            ));
        }
    }
    Ok(())
}

/// A subject is somebody only together with who vouches for it.
fn look_at_subjects(config: &Config) {
    let issuers = &config.authn.issuers;
    let vouchers = names(issuers.iter().map(|issuer| &*issuer.issuer).chain([GATEWAY_TOKENS]));
    for rule in config.policy.load().subjects_of_any_issuer() {
        print::note(&format!(
            "warning: policy rule `{rule}` names `subjects` and no `issuers`, so it takes a subject of that name from any of \
             {vouchers}; add `issuers` with the one that is meant (gateway tokens are `{GATEWAY_TOKENS}`)"
        ));
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
