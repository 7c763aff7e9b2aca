//! `gatewayd mask`: a filter. What is masked leaves at once; a summary goes to standard error.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use gatewayd_masker::format::BodyKind;
use gatewayd_masker::rule::Tuning;
use gatewayd_masker::{Masker, Rule, Tier, rule};

use super::print;
use crate::cli::{MaskArgs, TierChoice};

/// Exit status where something was masked, so that a script can tell; 0 where nothing was.
const FOUND: u8 = 1;

pub(crate) fn run(args: &MaskArgs) -> anyhow::Result<ExitCode> {
    let mut body = masker(args)?.body(kind(args));
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut found: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    let mut piece = vec![0; 64 * 1024];
    if input.is_terminal() {
        print::note("reading from the keyboard; end with Ctrl-D");
    }
    loop {
        let read = match input.read(&mut piece) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context("standard input cannot be read")?,
        };
        let masked = match piece.get(..read) {
            Some(bytes) if read > 0 => body.push(bytes)?,
            _ => body.finish()?,
        };
        for event in body.take_events() {
            *found.entry(event.rule).or_default() += 1;
        }
        match output.write_all(&masked).and_then(|()| output.flush()) {
            Ok(()) if read > 0 => {}
            Ok(()) => break,
            // Whoever reads has seen enough, as `head` does; everything else means that output is missing.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error).context("standard output cannot be written"),
        }
    }
    let total: u64 = found.values().sum();
    if total == 0 {
        print::note("masked: nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    let words: Vec<String> = found.iter().map(|(rule, count)| format!("{rule} x{count}")).collect();
    print::note(&format!("masked: {total} ({})", words.join(", ")));
    Ok(ExitCode::from(FOUND))
}

fn kind(args: &MaskArgs) -> BodyKind {
    match (args.json, args.sse, args.ndjson) {
        (true, ..) => BodyKind::Json,
        (_, true, _) => BodyKind::Events,
        (.., true) => BodyKind::Lines,
        _ => BodyKind::Text,
    }
}

fn masker(args: &MaskArgs) -> anyhow::Result<Masker> {
    let tiers: &[Tier] = match args.tier {
        TierChoice::Default => &[Tier::Default],
        TierChoice::All => &[Tier::Default, Tier::Assignments],
    };
    let builder = Masker::builder().rules(rules(&args.rules)?).tiers(tiers.iter().copied());
    #[cfg(feature = "vectorscan")]
    let builder = builder.engine(gatewayd_masker::Engine::Vectorscan);
    Ok(builder.build()?)
}

/// The built-in rules, as these files change them.
pub(super) fn rules(files: &[PathBuf]) -> anyhow::Result<Vec<Rule>> {
    let mut rules = rule::builtin();
    for file in files {
        rules = read_tuning(file)?.apply(rules).with_context(|| file.display().to_string())?;
    }
    Ok(rules)
}

/// A file of rules and changes; its rules are checked, and their examples run.
pub(super) fn read_tuning(file: &Path) -> anyhow::Result<Tuning> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Tuning::parse(&text).with_context(|| file.display().to_string())
}
