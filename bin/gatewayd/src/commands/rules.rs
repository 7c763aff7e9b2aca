//! `gatewayd rules list | test | explain`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use gatewayd_masker::{Rule, Tier, rule};
use serde_json::json;

use super::mask::{read_tuning, rules as tuned};
use super::print;
use crate::cli::{Output, RulesCommand};

/// Examples are templates; a seed makes texts of them, always the same ones.
const SEED: u64 = 1;

pub(crate) fn run(command: RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::List { rules, output } => {
            let rules = tuned(&rules)?;
            match output {
                Output::Json => print::json(&rules.iter().map(summary).collect::<Vec<_>>()),
                Output::Table => list(&rules),
            }
            Ok(ExitCode::SUCCESS)
        }
        RulesCommand::Test { rules } => test(&rules),
        RulesCommand::Explain { id, rules } => {
            let rules = tuned(&rules)?;
            let Some(rule) = rules.iter().find(|rule| rule.id == id) else {
                bail!("there is no rule `{id}`; `gatewayd rules list` shows them");
            };
            explain(rule)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tier(rule: &Rule) -> &'static str {
    match rule.tier {
        Tier::Default => "default",
        Tier::Assignments => "assignments",
    }
}

fn summary(rule: &Rule) -> serde_json::Value {
    json!({ "id": rule.id, "family": rule.family, "tier": tier(rule), "description": rule.description })
}

fn list(rules: &[Rule]) {
    let mut table = print::Table::new(&["RULE", "FAMILY", "TIER", "FINDS"]);
    for rule in rules {
        table.row([&rule.id, &rule.family, tier(rule), &rule.description]);
    }
    table.print();
    print::line(&format!("{} rules", rules.len()));
}

/// Checks each rule and runs its examples: of these files, or of the built-in rules.
fn test(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut failures = Vec::new();
    let mut passed = 0;
    if files.is_empty() {
        for rule in rule::builtin() {
            match rule::check(&rule).and_then(|()| rule::prove(&rule, SEED)) {
                Ok(()) => passed += 1,
                Err(error) => failures.push(error.to_string()),
            }
        }
    }
    for file in files {
        match read_tuning(file) {
            Ok(tuning) => passed += tuning.rule.len() + tuning.change.len(),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    for failure in &failures {
        print::line(&format!("FAIL  {failure}"));
    }
    print::line(&format!("{passed} passed, {} failed", failures.len()));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain(rule: &Rule) -> anyhow::Result<()> {
    let mut fields = print::Fields::new();
    fields.add("rule", rule.id.clone());
    fields.add("finds", rule.description.clone());
    fields.add("family", rule.family.clone());
    fields.add("tier", tier(rule));
    fields.add("starts at", rule.anchors.join("  "));
    fields.add("but not behind", rule.unless_behind.join("  "));
    fields.add("after", rule.context.clone().unwrap_or_default());
    fields.add("secret", rule.pattern.clone());
    fields.add("at most", rule.max.map(|max| format!("{max} bytes")).unwrap_or_default());
    fields.add("committed by", rule.commit.clone().unwrap_or_default());
    fields.add("until", rule.until.clone().unwrap_or_default());
    fields.add("checked by", rule.validators.join(", "));
    fields.add("allows", rule.allow.values.join(", "));
    fields.print();
    print::line("\nfinds something in:");
    for example in rule.positives(SEED)? {
        print::line(&format!("  {}", print::printable(&String::from_utf8_lossy(&example.text))));
    }
    print::line("finds nothing in:");
    for example in rule.negatives(SEED)? {
        print::line(&format!("  {}", print::printable(&String::from_utf8_lossy(&example))));
    }
    Ok(())
}
