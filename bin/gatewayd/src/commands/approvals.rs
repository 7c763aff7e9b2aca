//! `gatewayd approvals list | show | approve | deny | cancel`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::access::{Admin, segment};
use super::callers::Callers;
use super::print;
use crate::cli::{ApprovalsCommand, Output, VoteArgs};

pub(crate) fn run(command: ApprovalsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ApprovalsCommand::List { access, all } => {
            let found = Admin::connect(&access)?.get(&format!("/api/v1/approvals?all={all}"))?;
            match access.output {
                Output::Json => print::json(&found),
                Output::Table => list(&found),
            }
        }
        ApprovalsCommand::Show { access, id } => {
            let found = Admin::connect(&access)?.get(&path(&id))?;
            match access.output {
                Output::Json => print::json(&found),
                Output::Table => show(&found),
            }
        }
        ApprovalsCommand::Approve(args) => vote(&args, "approve")?,
        ApprovalsCommand::Deny(args) => vote(&args, "deny")?,
        ApprovalsCommand::Cancel { access, id } => {
            let left = Admin::connect(&access)?.delete(&path(&id))?;
            report(&left, access.output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(id: &str) -> String {
    format!("/api/v1/approvals/{}", segment(id))
}

fn vote(args: &VoteArgs, vote: &str) -> anyhow::Result<()> {
    let body = json!({ "vote": vote, "comment": args.comment });
    let left = Admin::connect(&args.access)?.post(&format!("{}/votes", path(&args.id)), &body)?;
    report(&left, args.access.output);
    Ok(())
}

/// Where the approval stands now.
fn report(approval: &Value, output: Output) {
    if output == Output::Json {
        return print::json(approval);
    }
    let missing = missing(approval);
    let more = if missing.is_empty() { String::new() } else { format!("; still missing: {missing}") };
    print::line(&format!("{} is {}{more}", print::cell(approval, "/id"), print::cell(approval, "/state")));
}

fn missing(approval: &Value) -> String {
    let alternatives = approval["missing"].as_array().into_iter().flatten();
    let words = alternatives.map(|seats| {
        let seats = seats.as_array().into_iter().flatten();
        let seats = seats.map(|s| format!("{} of {}", print::cell(s, "/count"), print::cell(s, "/group")));
        seats.collect::<Vec<_>>().join(" and ")
    });
    words.collect::<Vec<_>>().join(", or ")
}

fn list(found: &Value) {
    let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        print::line("Nothing waits.");
        return;
    }
    let callers = Callers::of(found, "/requester/issuer", "/requester/subject");
    let mut table = print::Table::new(&["ID", "STATE", "WHO", "WHAT", "MODEL", "REASON", "MISSING", "LEFT"]);
    for approval in found {
        table.row([
            print::cell(approval, "/id"),
            print::cell(approval, "/state"),
            if is_erased(approval) { "(erased)".to_owned() } else { callers.name(approval) },
            print::cell(approval, "/action"),
            print::cell(approval, "/model"),
            print::cell(approval, "/reason"),
            missing(approval),
            print::seconds(approval.pointer("/seconds_left")),
        ]);
    }
    table.print();
}

fn is_erased(approval: &Value) -> bool {
    approval["erased"].is_number()
}

fn show(approval: &Value) {
    let mut fields = print::Fields::new();
    fields.add("approval", print::cell(approval, "/id"));
    fields.add("state", print::cell(approval, "/state"));
    if is_erased(approval) {
        let when = print::time(approval.get("erased"));
        fields.add("erased", format!("{when}: who asked, what, and why; what was decided stays"));
    }
    fields.add("who asks", print::cell(approval, "/requester/subject"));
    fields.add("issuer", print::cell(approval, "/requester/issuer"));
    fields.add("groups", print::cell(approval, "/requester/groups"));
    fields.add("reason", print::cell(approval, "/reason"));
    fields.add("what", format!("{} {}", print::cell(approval, "/method"), print::cell(approval, "/path")));
    fields.add("action", print::cell(approval, "/action"));
    fields.add("model", print::cell(approval, "/model"));
    fields.add("upstream", print::cell(approval, "/upstream"));
    fields.add("rule", print::cell(approval, "/rule"));
    fields.add("takes", print::cell(approval, "/takes"));
    fields.add("missing", missing(approval));
    fields.add("covers", print::cell(approval, "/covers"));
    fields.add("time left", print::seconds(approval.pointer("/seconds_left")));
    fields.add("asked", print::time(approval.pointer("/created")));
    fields.add(
        "body",
        format!(
            "{} bytes, sha256 {}",
            print::cell(approval, "/body/length"),
            print::cell(approval, "/body/sha256")
        ),
    );
    fields.print();
    for vote in approval["votes"].as_array().into_iter().flatten() {
        print::line(&format!(
            "  {} by {} ({}) at {} {}",
            print::cell(vote, "/verdict"),
            print::cell(vote, "/by/subject"),
            print::cell(vote, "/by/issuer"),
            print::time(vote.pointer("/at")),
            print::cell(vote, "/comment"),
        ));
    }
    for header in approval["headers"].as_array().into_iter().flatten() {
        print::line(&format!("  header {}: {}", print::cell(header, "/0"), print::cell(header, "/1")));
    }
    let preview = print::cell(approval, "/body/preview/text");
    if !preview.is_empty() {
        print::line("\nThe request, masked:");
        print::line(&preview);
        if approval.pointer("/body/preview/truncated") == Some(&Value::Bool(true)) {
            print::line("... (the rest is not shown; what is agreed to is the whole body)");
        }
    }
    if let Some(changes) = approval["changes"].as_array() {
        print::line("\nSince the last approved one:");
        for change in changes {
            print::line(&format!("  {}", print::change(change)));
        }
        if changes.is_empty() {
            print::line("  nothing changed");
        }
    }
}
