//! `gatewayd token create | list | revoke`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::access::{Admin, segment};
use super::print;
use crate::cli::{Output, TokenCommand};
use crate::length_of_time;

pub(crate) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::Create { access, name, groups, ttl } => {
            let ttl = parse_ttl(&ttl)?;
            let wanted = json!({ "name": name, "groups": groups, "ttl_seconds": ttl.as_secs() });
            let made = Admin::connect(&access)?.post("/api/v1/tokens", &wanted)?;
            match access.output {
                Output::Json => print::json(&made),
                Output::Table => {
                    print::line(&print::cell(&made, "/token"));
                    print::note(
                        "This is shown once. Give it to the program as its API key; only a hash of it is stored.",
                    );
                    print::note(&format!(
                        "id {}, groups [{}], ends {}",
                        print::cell(&made, "/id"),
                        print::cell(&made, "/groups"),
                        print::time(made.pointer("/expires_at"))
                    ));
                }
            }
        }
        TokenCommand::List { access } => {
            let tokens = Admin::connect(&access)?.get("/api/v1/tokens")?;
            match access.output {
                Output::Json => print::json(&tokens),
                Output::Table => list(&tokens),
            }
        }
        TokenCommand::Revoke { access, id } => {
            let revoked = Admin::connect(&access)?.delete(&format!("/api/v1/tokens/{}", segment(&id)))?;
            match access.output {
                Output::Json => print::json(&revoked),
                Output::Table => print::line(&format!(
                    "revoked {}; the next request with it is refused",
                    print::cell(&revoked, "/id")
                )),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(tokens: &Value) {
    let mut table = print::Table::new(&["ID", "NAME", "GROUPS", "MADE BY", "ENDS", "LAST USED", "STATE"]);
    for token in tokens.as_array().into_iter().flatten() {
        let state = if token["revoked_at"].is_null() { "valid" } else { "revoked" };
        table.row([
            print::cell(token, "/id"),
            print::cell(token, "/subject"),
            print::cell(token, "/groups"),
            print::cell(token, "/created_by"),
            print::time(token.pointer("/expires_at")),
            print::time(token.pointer("/last_used")),
            state.to_owned(),
        ]);
    }
    table.print();
}

/// `12h`, `30d`, `2w`.
fn parse_ttl(text: &str) -> anyhow::Result<Duration> {
    length_of_time::read(text).with_context(|| format!("--ttl {text}: write it like 12h or 30d"))
}
