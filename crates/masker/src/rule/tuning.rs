//! Changes to rules, and more of them, from one TOML file.

use serde::Deserialize;

use super::{Allow, Rule, RuleError, Tier, check, prove};

/// What a deployment changes about the rules: rules switched off or moved to another tier, values left alone, rules
/// of its own.
///
/// ```
/// use gatewayd_masker::rule::{self, Tuning};
///
/// let tuning = Tuning::parse(r#"
///     [allow]                       # for every rule
///     patterns = ["test-[a-z0-9]+"]
///
///     [[change]]
///     id = "jwt"
///     enabled = false
///
///     [[rule]]
///     id = "acme-key"
///     description = "Acme's API key"
///     anchors = ["acme_"]
///     pattern = "acme_[a-z0-9]{20}"
///     positive = ["«acme_‹b36 20›»", "key=«acme_‹b36 20›»"]
///     negative = ["acme_short", "acme"]
/// "#)?;
/// let rules = tuning.apply(rule::builtin())?;
/// assert!(rules.iter().any(|rule| rule.id == "acme-key"));
/// assert!(rules.iter().all(|rule| rule.id != "jwt"));
/// # Ok::<(), gatewayd_masker::RuleError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// The family of rules that name none.
    pub family: String,
    /// Values that no rule masks.
    pub allow: Allow,
    /// Changes to rules by their id.
    pub change: Vec<Change>,
    /// More rules.
    pub rule: Vec<Rule>,
}

/// A change to one rule.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Which rule.
    pub id: String,
    /// Whether it is kept.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Another tier.
    #[serde(default)]
    pub tier: Option<Tier>,
    /// More values that it leaves alone.
    #[serde(default)]
    pub allow: Allow,
}

fn yes() -> bool {
    true
}

impl Tuning {
    /// Reads the changes, checks the rules among them as the built-in ones are checked, and runs their examples.
    ///
    /// # Errors
    /// Says which rule and field is at fault and what to do.
    pub fn parse(toml: &str) -> Result<Self, RuleError> {
        let tuning = Self::read(toml)?;
        for rule in &tuning.rule {
            check(rule)?;
            prove(rule, 0)?;
        }
        Ok(tuning)
    }

    pub(super) fn read(toml: &str) -> Result<Self, RuleError> {
        let mut tuning: Self = toml::from_str(toml).map_err(|error| RuleError {
            rule: "the file of rules".to_owned(),
            field: "toml",
            problem: error.to_string(),
        })?;
        let family = if tuning.family.is_empty() { "custom" } else { &tuning.family };
        for rule in tuning.rule.iter_mut().filter(|rule| rule.family.is_empty()) {
            family.clone_into(&mut rule.family);
        }
        Ok(tuning)
    }

    /// Applies the changes to these rules. A rule of one's own with the id of another takes its place.
    ///
    /// # Errors
    /// Says which change names no rule.
    pub fn apply(&self, mut rules: Vec<Rule>) -> Result<Vec<Rule>, RuleError> {
        rules.retain(|rule| self.rule.iter().all(|own| own.id != rule.id));
        rules.extend(self.rule.iter().cloned());
        for change in &self.change {
            let Some(at) = rules.iter().position(|rule| rule.id == change.id) else {
                return Err(RuleError {
                    rule: change.id.clone(),
                    field: "change",
                    problem: "there is no rule of this id; see the list of rules for its name".to_owned(),
                });
            };
            if !change.enabled {
                rules.remove(at);
            } else if let Some(rule) = rules.get_mut(at) {
                rule.tier = change.tier.unwrap_or(rule.tier);
                rule.allow.extend(&change.allow);
            }
        }
        for rule in &mut rules {
            rule.allow.extend(&self.allow);
        }
        Ok(rules)
    }
}

impl Allow {
    fn extend(&mut self, more: &Self) {
        self.values.extend_from_slice(&more.values);
        self.patterns.extend_from_slice(&more.patterns);
        self.sha256.extend_from_slice(&more.sha256);
        self.hmacs.extend_from_slice(&more.hmacs);
    }
}
