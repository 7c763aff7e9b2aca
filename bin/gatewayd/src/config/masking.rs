//! `[masker]`: which rules mask.

use std::path::PathBuf;

use gatewayd_masker::rule::Tuning;
use gatewayd_masker::{KnownSecrets, Masker, Rule, Tier, rule};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::RawConfig;

/// The masker of these rules, which also masks the known secrets.
pub(super) fn build(
    raw: &RawConfig,
    source: &Source<'_>,
    folder: &Folder,
    known: &KnownSecrets,
) -> Result<Masker, ConfigError> {
    let tiers = raw.masker.tiers.iter().map(|name| tier(name, source)).collect::<Result<Vec<_>, _>>()?;
    let mut rules = rule::builtin();
    for path in &raw.masker.rules {
        rules = tune(rules, path, source, folder)?;
    }
    let mut builder = Masker::builder().rules(rules).tiers(tiers).known(known.clone());
    #[cfg(feature = "vectorscan")]
    {
        builder = builder.engine(gatewayd_masker::Engine::Vectorscan);
    }
    for rule in &raw.masker.disable {
        builder = builder.disable(rule.clone());
    }
    builder.build().map_err(|error| {
        source.error(0..0, "masker", error.to_string(), "`gatewayd rules list` shows the rules there are")
    })
}

/// The rules as a file changes them. Its own rules are checked, and their examples run.
fn tune(
    rules: Vec<Rule>,
    path: &Spanned<PathBuf>,
    source: &Source<'_>,
    folder: &Folder,
) -> Result<Vec<Rule>, ConfigError> {
    let file = folder.resolve(path.get_ref());
    let wrong = |problem: String, remedy: &str| source.error(path.span(), "masker.rules", problem, remedy);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        wrong(
            format!("{} cannot be read: {error}", file.display()),
            "correct the path; it is relative to the configuration's own folder",
        )
    })?;
    Tuning::parse(&text).and_then(|tuning| tuning.apply(rules)).map_err(|error| {
        wrong(
            format!("{}: {error}", file.display()),
            "correct the rule; `gatewayd rules test FILE` checks it alone",
        )
    })
}

fn tier(name: &Spanned<String>, source: &Source<'_>) -> Result<Tier, ConfigError> {
    match name.get_ref().as_str() {
        "default" => Ok(Tier::Default),
        "assignments" => Ok(Tier::Assignments),
        other => Err(source.error(
            name.span(),
            "masker.tiers",
            format!("there is no tier `{}`", other.escape_debug()),
            "use \"default\", \"assignments\" or both",
        )),
    }
}
