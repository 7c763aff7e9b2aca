//! `[masker]`: which rules mask.

use gatewayd_masker::{KnownSecrets, Masker, Rule, Tier, rule};
use toml::Spanned;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::RawConfig;

/// The rules to mask with, checked.
#[derive(Debug, Clone)]
pub struct Masking {
    tiers: Vec<Tier>,
    more: Vec<Rule>,
    disabled: Vec<String>,
}

impl Masking {
    /// A masker of these rules that also masks these known secrets.
    ///
    /// # Errors
    /// If the rules do not fit together.
    pub(crate) fn masker(&self, known: KnownSecrets) -> Result<Masker, gatewayd_masker::BuildError> {
        let mut builder = Masker::builder().tiers(self.tiers.iter().copied()).add_rules(self.more.clone()).known(known);
        for rule in &self.disabled {
            builder = builder.disable(rule.clone());
        }
        builder.build()
    }
}

pub(super) fn build(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Masking, ConfigError> {
    let tiers = raw.masker.tiers.iter().map(|name| tier(name, source)).collect::<Result<Vec<_>, _>>()?;
    let mut more = Vec::new();
    for path in &raw.masker.rules {
        let file = folder.resolve(path.get_ref());
        let wrong = |problem: String, remedy: &str| source.error(path.span(), "masker.rules", problem, remedy);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            wrong(
                format!("{} cannot be read: {error}", file.display()),
                "correct the path; it is relative to the configuration's own folder",
            )
        })?;
        let rules = rule::parse(&text).map_err(|error| {
            wrong(format!("{}: {error}", file.display()), "correct the rule; `gatewayd rules test FILE` checks it alone")
        })?;
        more.extend(rules);
    }
    let masking = Masking { tiers, more, disabled: raw.masker.disable.clone() };
    masking.masker(KnownSecrets::new()).map_err(|error| {
        source.error(0..0, "masker", error.to_string(), "`gatewayd rules list` shows the rules there are")
    })?;
    Ok(masking)
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
