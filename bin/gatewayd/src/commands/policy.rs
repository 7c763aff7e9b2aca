//! `gatewayd policy explain | test | schema`: what would policy say? Nothing is sent.

use std::process::ExitCode;

use anyhow::Context as _;
use gatewayd_core::{Action, Clock as _, Effect, Operation, SystemClock, Timestamp, UpstreamName};
use gatewayd_dialects::Dialects;
use gatewayd_policy::{Case, Explanation, Policy, RuleOutcome, TestTable};
use http::{Method, Uri};

use super::print;
use crate::cli::{ExplainArgs, Output, PolicyCommand};
use crate::config::Config;

pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Explain(args) => explain(&args),
        PolicyCommand::Test { file, table, output } => {
            let config = Config::load(&file.config)?;
            test(&config, &table, output)
        }
        PolicyCommand::Schema => {
            print::line(Policy::schema_text());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.file.config)?;
    let dialects = Dialects::new(&config.dialects)?;
    let issuer =
        args.issuer.clone().or_else(|| config.authn.issuers.first().map(|issuer| issuer.issuer.clone()));
    let case = Case {
        name: None,
        groups: as_rules_see(&config, issuer.as_deref(), &args.groups),
        subject: Some(args.subject.clone()),
        issuer,
        method: Some(args.method.clone()),
        path: args.path.clone(),
        model: args.model.clone(),
        upstream: None,
        time: None,
        address: args.address,
        expect: Effect::Allow,
        rule: None,
    };
    let (operation, upstream) = understand(&dialects, &case).map_err(anyhow::Error::msg)?;
    let now = match &args.time {
        None => SystemClock.now(),
        Some(text) => {
            let time: jiff::Timestamp =
                text.parse().with_context(|| format!("--time {text}: write it like 2026-01-05T10:00:00Z"))?;
            Timestamp(time.as_microsecond())
        }
    };
    let explanation =
        config.policy.load().explain(&case.identity(), &operation, &upstream, args.address, now);
    match args.output {
        Output::Json => print::json(&serde_json::json!({
            "operation": operation, "upstream": upstream, "explanation": explanation,
        })),
        Output::Table => {
            show(&operation, &upstream, &explanation);
            if !case.groups.is_empty() && case.groups != args.groups {
                print::note(&format!(
                    "note: this issuer's groups have a prefix here: {}",
                    case.groups.join(", ")
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(operation: &Operation, upstream: &UpstreamName, explanation: &Explanation) {
    let decision = &explanation.decision;
    let verdict = match decision.effect {
        Effect::Allow => "ALLOW",
        Effect::Deny => "DENY",
        Effect::Approve => "APPROVE",
    };
    print::line(&format!("{verdict} by rule `{}`", decision.rule));
    if let Some(approval) = &decision.approval {
        print::line(&format!("  needs approval `{approval}`"));
    }
    if let Some(error) = &explanation.error {
        print::line(&format!("  because of an error: {error}"));
    }
    print::line(&format!(
        "  {} on {} ({}), upstream {}, policy {}",
        operation.action.as_str(),
        explanation.model.as_deref().unwrap_or("no model"),
        operation.route,
        upstream.0,
        decision.policy_version,
    ));
    if operation.action == Action::Unknown {
        print::line("  no operation that is known: look at the method and the path");
    }
    print::line("");
    let mut table = print::Table::new(&["RULE", "EFFECT", "MATCHED", "WHY NOT"]);
    for rule in &explanation.rules {
        let (matched, why) = match &rule.outcome {
            RuleOutcome::Matched => ("yes", ""),
            RuleOutcome::NotMatched(why) => ("no", why.as_str()),
            RuleOutcome::Failed(why) => ("failed", why.as_str()),
        };
        table.row([rule.rule.as_str(), rule.effect.as_str(), matched, why]);
    }
    table.print();
}

fn test(config: &Config, table: &std::path::Path, output: Output) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(table).with_context(|| format!("{} cannot be read", table.display()))?;
    let mut table = TestTable::parse(&text)?;
    for case in &mut table.cases {
        case.groups = as_rules_see(config, case.issuer.as_deref(), &case.groups);
    }
    let dialects = Dialects::new(&config.dialects)?;
    let results = table.run(&config.policy.load(), SystemClock.now(), |case| understand(&dialects, case));
    let failed = results.iter().filter(|result| result.failure.is_some()).count();
    match output {
        Output::Json => print::json(&results),
        Output::Table => {
            for result in &results {
                match &result.failure {
                    None => print::line(&format!("ok    {}: {}", result.case, result.expected)),
                    Some(why) => {
                        print::line(&format!("FAIL  {}: expected {}, {why}", result.case, result.expected));
                    }
                }
            }
            print::line(&format!("{} passed, {failed} failed", results.len() - failed));
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The groups of a token as rules see them: with the prefix of its issuer. One that is written with it has it already.
fn as_rules_see(config: &Config, issuer: Option<&str>, groups: &[String]) -> Vec<String> {
    let known = config.authn.issuers.iter().find(|known| Some(&*known.issuer) == issuer);
    let prefix = known.map_or("", |known| known.group_prefix.as_str());
    let whole = |group: &String| {
        if group.starts_with(prefix) { group.clone() } else { format!("{prefix}{group}") }
    };
    groups.iter().map(whole).collect()
}

/// What a case's method, path and model mean to the route tables and the upstreams of the configuration.
fn understand(dialects: &Dialects, case: &Case) -> Result<(Operation, UpstreamName), String> {
    let name = case.method.as_deref().unwrap_or("POST");
    let method = Method::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no HTTP method"))?;
    let upper = name.to_ascii_uppercase();
    if name != upper && Dialects::routes().any(|route| route.method.as_str() == upper) {
        return Err(format!("`{name}` is another method than `{upper}`: case counts, so write `{upper}`"));
    }
    let uri: Uri =
        case.path.parse().map_err(|_| format!("`{}` is no path; write it like /v1/models", case.path))?;
    let classified = dialects.classify_named(&method, &uri, case.model.as_deref());
    let mut classified = classified.map_err(|problem| format!("{problem}"))?;
    if let Some(upstream) = &case.upstream {
        classified.upstream = UpstreamName(upstream.as_str().into());
    }
    Ok((classified.operation, classified.upstream))
}
