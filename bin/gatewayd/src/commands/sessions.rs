//! `gatewayd sessions list | show | replay | verify`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use gatewayd_core::{Clock as _, SystemClock};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{PublicKey, rotate_root};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::access::{Admin, segment};
use super::callers::Callers;
use super::{print, replay};
use crate::cli::{AdminAccess, ExportFormat, KeepingArgs, Output, SessionsCommand, SessionsListArgs};
use crate::config::Config;

pub(crate) fn run(command: SessionsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SessionsCommand::List(args) => list(&args)?,
        SessionsCommand::Show { access, id } => {
            let bundle = Admin::connect(&access)?.get(&path(&id))?;
            match access.output {
                Output::Json => print::json(&bundle),
                Output::Table => show(&bundle),
            }
        }
        SessionsCommand::Replay { access, id, speed, raw, step } => {
            let played = Admin::connect(&access)?.get(&format!("{}/replay", path(&id)))?;
            match access.output {
                Output::Json => print::json(&played),
                Output::Table => replay::play(&played, &replay::Manner { speed, raw, step })?,
            }
        }
        SessionsCommand::Export { access, id, format } => {
            let format = match format {
                ExportFormat::Jsonl => "jsonl",
                ExportFormat::Har => "har",
                ExportFormat::Asciicast => "asciicast",
                ExportFormat::Otel => "otel",
            };
            print::text(&Admin::connect(&access)?.text(&format!("{}/export?format={format}", path(&id)))?);
        }
        SessionsCommand::Proof { access, id } => {
            print::text(&Admin::connect(&access)?.text(&format!("{}/proof", path(&id)))?);
        }
        SessionsCommand::Recheck { access, id } => return recheck(&access, &id),
        SessionsCommand::Events { access, limit } => {
            let found = Admin::connect(&access)?.get(&format!("/api/v1/events?limit={limit}"))?;
            rows(&access, &found, &EVENTS);
        }
        SessionsCommand::Holds { access } => {
            let found = Admin::connect(&access)?.get("/api/v1/holds")?;
            rows(&access, &found, &HOLDS);
        }
        SessionsCommand::Erase(args) => {
            let done = args.send("/api/v1/erasures")?;
            let [sessions, approvals, withdrawn] =
                ["/sessions", "/approvals", "/withdrawn"].map(|count| print::cell(&done, count));
            let what = format!(
                "erased: {sessions} sessions, and the words of {approvals} approvals, of which {withdrawn} were open and are withdrawn"
            );
            report(&args.access, &done, &what);
        }
        SessionsCommand::Hold(args) => {
            let done = args.send("/api/v1/holds")?;
            report(&args.access, &done, &format!("hold {}", print::cell(&done, "/hold")));
        }
        SessionsCommand::Release { access, hold, reason } => {
            let path = format!("/api/v1/holds/{hold}/release");
            let done = Admin::connect(&access)?.post(&path, &json!({ "reason": reason }))?;
            report(&access, &done, &format!("released hold {hold}"));
        }
        SessionsCommand::RotateKey(file) => {
            let config = Config::load(&file.config)?;
            let keys = rotate_root(&config.recorder, SystemClock.now())?;
            print::line(&format!(
                "a new root key is in force; the keys of {keys} callers were wrapped with it"
            ));
        }
        SessionsCommand::Verify { directory, key, pinned, output } => {
            return check(&directory, key.as_deref(), pinned.as_deref(), output);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl KeepingArgs {
    fn send(&self, path: &str) -> anyhow::Result<Value> {
        let mut wanted = serde_json::Map::new();
        let named = [("session", &self.id), ("subject", &self.subject), ("issuer", &self.issuer)];
        for (name, value) in named {
            if let Some(value) = value {
                wanted.insert(name.into(), value.as_str().into());
            }
        }
        wanted.insert("reason".into(), self.reason.as_str().into());
        Admin::connect(&self.access)?.post(path, &Value::Object(wanted))
    }
}

/// A column's name, and where its value stands.
type Column = (&'static str, &'static str);

/// Who did something, which is more than one member.
const BY: &str = "";

const EVENTS: [Column; 7] = [
    ("ENTRY", "/number"),
    ("TIME", "/time"),
    ("WHAT", "/kind"),
    ("OF", "/object"),
    ("OUTCOME", "/outcome"),
    ("BY", BY),
    ("SESSION", "/request"),
];
const HOLDS: [Column; 7] = [
    ("HOLD", "/number"),
    ("SET", "/time"),
    ("SESSION", "/session"),
    ("CALLER", "/subject"),
    ("BY", BY),
    ("REASON", "/reason"),
    ("RELEASED", "/released"),
];

fn rows(access: &AdminAccess, found: &Value, columns: &[Column]) {
    if access.output == Output::Json {
        return print::json(found);
    }
    let names: Vec<_> = columns.iter().map(|(name, _)| *name).chain([""]).collect();
    let mut table = print::Table::new(&names);
    for row in found.as_array().into_iter().flatten() {
        let cells = columns.iter().map(|(_, pointer)| match *pointer {
            "/time" | "/released" => print::time(row.pointer(pointer)),
            BY => by(row),
            pointer => print::cell(row, pointer),
        });
        table.row(cells.chain([mark(row).to_owned()]));
    }
    table.print();
}

/// Who did it, and who vouches for them: nobody does for the gateway itself, and somebody else may be called like it.
fn by(row: &Value) -> String {
    let (who, issuer) = (print::cell(row, "/actor") + &print::cell(row, "/by"), print::cell(row, "/issuer"));
    if issuer.is_empty() { who } else { format!("{who} ({issuer})") }
}

fn report(access: &AdminAccess, done: &Value, words: &str) {
    match access.output {
        Output::Json => print::json(done),
        Output::Table => print::line(words),
    }
}

fn path(id: &str) -> String {
    format!("/api/v1/sessions/{}", segment(id))
}

fn list(args: &SessionsListArgs) -> anyhow::Result<()> {
    let mut query = format!("limit={}", args.limit);
    let texts = [
        ("subject", &args.subject),
        ("issuer", &args.issuer),
        ("group", &args.group),
        ("model", &args.model),
        ("action", &args.action),
        ("rule", &args.rule),
        ("masked", &args.masked),
        ("since", &args.since),
        ("until", &args.until),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
    }
    if let Some(status) = args.status {
        query.push_str(&format!("&status={status}"));
    }
    let found = Admin::connect(&args.access)?.get(&format!("/api/v1/sessions?{query}"))?;
    match args.access.output {
        Output::Json => print::json(&found),
        Output::Table => table(&found),
    }
    if found.as_array().is_some_and(|found| found.len() >= args.limit) {
        print::note(&format!(
            "(the newest {}; older ones may fit, too: see --limit and --until)",
            args.limit
        ));
    }
    Ok(())
}

fn table(found: &Value) {
    let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if found.is_empty() {
        print::line("No session fits.");
        return;
    }
    let mut table = print::Table::new(&[
        "SESSION", "TIME", "WHO", "ACTION", "MODEL", "RULE", "STATUS", "ENDED", "MASKED", "TOOK", "",
    ]);
    let callers = Callers::of(found, "/issuer", "/subject");
    for session in found {
        table.row([
            print::cell(session, "/id"),
            print::time(session.pointer("/time")),
            callers.name(session),
            print::cell(session, "/action"),
            print::cell(session, "/model"),
            print::cell(session, "/rule"),
            print::cell(session, "/status"),
            print::cell(session, "/ending"),
            print::cell(session, "/masked"),
            print::micros(session.pointer("/duration_us")),
            mark(session).to_owned(),
        ]);
    }
    table.print();
}

/// What stands beside something that is not what was signed.
fn mark(recorded: &Value) -> &'static str {
    if recorded["altered"] == Value::Bool(true) { "ALTERED: run `gatewayd sessions verify`" } else { "" }
}

fn show(bundle: &Value) {
    let cell = |pointer| print::cell(bundle, pointer);
    let both = |a: &str, b: &str| {
        let (a, b) = (print::cell(bundle, a), print::cell(bundle, b));
        if b.is_empty() { a } else { format!("{a} ({b})") }
    };
    let mut fields = print::Fields::new();
    fields.add("session", cell("/id"));
    fields.add("time", print::time(bundle.pointer("/time")));
    fields.add("who", both("/subject", "/issuer"));
    fields.add("groups", cell("/groups"));
    fields.add("signed in by", cell("/identity_kind"));
    fields.add("from", cell("/peer"));
    fields.add("request", format!("{} {}", cell("/method"), cell("/path")));
    fields.add("action", both("/action", "/dialect"));
    fields.add("model", both("/model", "/upstream"));
    fields.add("decision", cell("/effect"));
    fields.add("rule", both("/rule", "/policy_version"));
    fields.add("approvals", cell("/claims"));
    fields.add("credential", both("/credential", "/credential_version"));
    fields.add("status", cell("/status"));
    fields.add("refusal", cell("/refusal"));
    fields.add("ended", cell("/ending"));
    fields.add("masked", masks(bundle));
    fields.add("request body", format!("{} bytes", cell("/request_bytes")));
    fields.add("answer", format!("{} bytes", cell("/response_bytes")));
    for what in bundle["missing"].as_array().into_iter().flatten() {
        fields.add("not stored", print::plain(what));
    }
    for (name, pointer) in [("waited", "/waited_us"), ("first byte", "/first_byte_us")] {
        // 0 is for what there was not.
        fields.add(name, print::micros(bundle.pointer(pointer).filter(|micros| **micros != 0)));
    }
    fields.add("took", print::micros(bundle.pointer("/duration_us")));
    fields.add("log entries", both("/number", "/outcome"));
    if bundle["altered"] == Value::Bool(true) {
        fields.add(
            "ALTERED",
            "the words shown are not those that the log commits to; run `gatewayd sessions verify`",
        );
    }
    if bundle["erased"] == Value::Bool(true) {
        fields.add("erased", "its words and bodies were erased");
    }
    fields.print();
    for (title, headers) in [("request", "request_headers"), ("answer", "response_headers")] {
        for field in bundle[headers].as_array().into_iter().flatten() {
            let value = match field["value"].as_str() {
                Some(_) => print::cell(field, "/value"),
                None => "(not stored)".to_owned(),
            };
            print::line(&format!("  {title} header {}: {value}", print::cell(field, "/name")));
        }
    }
    for place in bundle["mask_places"].as_array().into_iter().flatten() {
        let cell = |pointer| print::cell(place, pointer);
        let hidden = format!("{} bytes at {} of {}", cell("/length"), cell("/offset"), cell("/lane"));
        print::line(&format!("  masked {hidden}: {} {}", cell("/rule"), cell("/fingerprint")));
    }
    for event in bundle["events"].as_array().into_iter().flatten() {
        print::line(&format!(
            "  {} {} {} by {}: {}",
            print::time(event.pointer("/time")),
            print::cell(event, "/kind"),
            print::cell(event, "/object"),
            by(event),
            print::cell(event, "/outcome"),
        ));
    }
}

/// Exit status 1 if policy would decide otherwise, or a secret is found in what is stored; 2 if that cannot be told of all.
fn recheck(access: &AdminAccess, id: &str) -> anyhow::Result<ExitCode> {
    let checked = Admin::connect(access)?.post(&format!("{}/recheck", path(id)), &json!({}))?;
    let found = ["/found", "/found_in_request"].map(|pointer| {
        let rules = checked.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        rules
            .map(|(rule, count)| format!("{} x{count}", print::printable(rule)))
            .collect::<Vec<_>>()
            .join(", ")
    });
    let says = |pointer| checked.pointer(pointer) == Some(&Value::Bool(true));
    let differs = says("/changed") || says("/altered") || found.iter().any(|found| !found.is_empty());
    let unknown = ["/problem", "/unread", "/unread_request"]
        .iter()
        .any(|pointer| checked.pointer(pointer).is_some_and(|why| !why.is_null()));
    if access.output == Output::Json {
        print::json(&checked);
    } else {
        let decision = |effect: &str, rule: &str| {
            format!("{} by {}", print::cell(&checked, effect), print::cell(&checked, rule))
        };
        let mut fields = print::Fields::new();
        match checked.pointer("/then/effect").and_then(Value::as_str) {
            Some(_) => fields.add("then", decision("/then/effect", "/then/rule")),
            None => fields.add("then", format!("not decided: {}", print::cell(&checked, "/then/refusal"))),
        }
        match checked.pointer("/problem").and_then(Value::as_str) {
            Some(problem) => fields.add("now", format!("not decided: {}", print::printable(problem))),
            None => fields.add("now", decision("/now/decision/effect", "/now/decision/rule")),
        }
        let [in_answer, in_request] = found;
        fields.add("secrets the caller saw, by today's rules", in_answer);
        fields.add("secrets stored with the request, by today's rules", in_request);
        fields.add("answer not all looked at", print::cell(&checked, "/unread"));
        fields.add("request not all looked at", print::cell(&checked, "/unread_request"));
        fields.print();
        print::line(match (differs, unknown) {
            (true, _) => "it would be different today",
            (false, true) => "whether all would be as it was cannot be told",
            (false, false) => "nothing would be different today",
        });
    }
    Ok(match (differs, unknown) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(2),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn masks(bundle: &Value) -> String {
    let masks = bundle["masks"].as_array().into_iter().flatten();
    let masks = masks.map(|mask| format!("{} x{}", print::cell(mask, "/rule"), print::cell(mask, "/count")));
    masks.collect::<Vec<_>>().join(", ")
}

fn check(
    directory: &Path,
    key: Option<&Path>,
    pinned: Option<&Path>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(directory.is_dir(), "there is no directory {}", directory.display());
    let below = directory.join("evidence");
    anyhow::ensure!(
        directory.join("evidence.db").exists() || !below.join("evidence.db").exists(),
        "{} holds no evidence, but {} does: name that",
        directory.display(),
        below.display()
    );
    let read = |file: &Path| {
        std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
    };
    let key = key.map(|file| anyhow::Ok(PublicKey::parse(read(file)?.trim())?)).transpose()?;
    let pinned = pinned.map(read).transpose()?;
    let report = verify(directory, &Options { key, pinned, ..Options::default() })?;
    match output {
        Output::Json => print::json(&report),
        Output::Table => print::line(report.to_string().trim_end()),
    }
    Ok(ExitCode::from(report.exit_code()))
}
