//! Measures the rules: recall and false alarms on labelled samples, alarms and delay on ordinary text.
//!
//! ```text
//! measure labelled [--tier default|all] [--misses] FILE.jsonl...
//! measure ordinary [--tier default|all] FILE-OR-FOLDER...
//! measure size [--tier default|all]
//! ```
//!
//! A labelled file holds one JSON object a line: `label` (`positive` or `negative`), `text`, sometimes `secret`
//! (the exact value that must be hidden) and `rule` (whose sample it is).

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gatewayd_masker::rule::{self, Rule, Tier};
use gatewayd_masker::{Finding, Masker};

/// Alarms shown in full; the rest is counted.
const SHOWN: usize = 60;

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

struct Options {
    tiers: Vec<Tier>,
    misses: bool,
    paths: Vec<PathBuf>,
}

fn main() -> Fallible {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let mut options = Options { tiers: vec![Tier::Default], misses: false, paths: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--tier" => match arguments.next().as_deref() {
                Some("all") => options.tiers.push(Tier::Assignments),
                Some("default") => {}
                _ => return Err("--tier takes `default` or `all`".into()),
            },
            "--misses" => options.misses = true,
            path => options.paths.push(path.into()),
        }
    }
    let begin = std::time::Instant::now();
    let masker = Masker::builder().tiers(options.tiers.clone()).build()?;
    let built = begin.elapsed();
    let mut out = std::io::stdout().lock();
    match command.as_str() {
        "labelled" => labelled(&masker, &options, &mut out),
        "ordinary" => ordinary(&masker, &options, &mut out),
        "size" => {
            let (rules, bytes) = (masker.rules().count(), masker.memory());
            Ok(writeln!(out, "{rules} rules, {bytes} bytes, made ready in {built:?}")?)
        }
        _ => Err("say `labelled` or `ordinary` and then files, or `size`".into()),
    }
}

#[derive(serde::Deserialize)]
struct Sample {
    label: String,
    text: String,
    secret: Option<String>,
    #[serde(default)]
    rule: String,
}

#[derive(Default)]
struct Tally {
    found: usize,
    all: usize,
}

impl Tally {
    fn add(&mut self, found: bool) {
        self.all += 1;
        self.found += usize::from(found);
    }

    fn cell(&self) -> String {
        format!("{:.1} % ({} of {})", self.percent(), self.found, self.all)
    }

    fn percent(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count of samples")]
        let share =
            |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
        share(self.found, self.all)
    }
}

fn labelled(masker: &Masker, options: &Options, out: &mut impl std::io::Write) -> Fallible {
    let rules = rule::builtin();
    let vocabulary = vocabulary(&rules);
    writeln!(
        out,
        "| samples | recall, our issuers | recall, all | alarms, same issuer | alarms, any rule |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    let mut shown = Vec::new();
    for path in &options.paths {
        let mut tallies: [Tally; 4] = Default::default();
        let [own, all, same, any] = &mut tallies;
        for line in std::fs::read_to_string(path)?.lines() {
            let sample: Sample = serde_json::from_str(line)?;
            let findings = masker.find(sample.text.as_bytes());
            let positive = sample.label == "positive";
            let ours = vocabulary.contains(issuer(&sample.rule)) && !(positive && is_companion(&sample.text));
            let hidden = if positive { hides(&sample, &findings) } else { !findings.is_empty() };
            if positive {
                all.add(hidden);
                if ours {
                    own.add(hidden);
                }
            } else {
                any.add(hidden);
                same.add(findings.iter().any(|finding| is_of(&rules, finding, issuer(&sample.rule))));
            }
            if options.misses && positive != hidden {
                shown.push((ours, sample, findings));
            }
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cells: Vec<String> = tallies.iter().map(Tally::cell).collect();
        writeln!(out, "| {name} | {} |", cells.join(" | "))?;
    }
    for (ours, sample, findings) in shown {
        let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_ref()).collect();
        let mark = if ours { "own" } else { "other" };
        writeln!(out, "{} {mark} {} {rules:?} {:?}", sample.label, sample.rule, sample.text)?;
    }
    Ok(())
}

/// Whether what is to be hidden is: the secret where the sample names it, else anything.
fn hides(sample: &Sample, findings: &[Finding]) -> bool {
    match &sample.secret {
        None => !findings.is_empty(),
        Some(secret) => match sample.text.find(secret.as_str()) {
            None => !findings.is_empty(),
            Some(start) => findings
                .iter()
                .any(|found| found.range.start < start + secret.len() && start < found.range.end),
        },
    }
}

/// The words of all rules: what they are called, what they say, what they look for.
fn vocabulary(rules: &[Rule]) -> String {
    let mut words = String::new();
    for rule in rules {
        for text in [&rule.id, &rule.description].into_iter().chain(&rule.anchors) {
            words.push_str(&text.to_ascii_lowercase());
            words.push(' ');
        }
    }
    words
}

/// Whom a scanner's rule is named after.
fn issuer(scanner_rule: &str) -> &str {
    let name = scanner_rule.trim_start_matches("kingfisher.");
    name.split(['.', '-']).find(|word| !word.is_empty()).unwrap_or("unnamed")
}

/// Whether the rule that found something names this issuer.
fn is_of(rules: &[Rule], finding: &Finding, issuer: &str) -> bool {
    let rule = rules.iter().find(|rule| rule.id == *finding.rule);
    rule.is_some_and(|rule| vocabulary(std::slice::from_ref(rule)).contains(issuer))
}

/// Whether a sample shows what scanners look for beside a secret and that is none: a host, the name of a user or
/// an account, the id of a client, the name of a file.
fn is_companion(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["key", "token", "secret", "passw", "private", "auth:", "bearer", "pat =", "curl"]) {
        return false;
    }
    let named = [
        "_id",
        "-id",
        "clientid",
        "client.id",
        "client id",
        "_user",
        "_account",
        "cloud",
        "host",
        "url",
        "domain",
        "_name",
        "public",
    ];
    let address =
        |end: &str| lower.trim_end_matches('/').ends_with(end) && !lower.contains(char::is_whitespace);
    has(&named)
        || [".com", ".io", ".net", ".yaml", ".yml", ".config", ".hcl", ".p12", ".php"]
            .iter()
            .any(|end| address(end))
}

fn ordinary(masker: &Masker, options: &Options, out: &mut impl std::io::Write) -> Fallible {
    let mut files = Vec::new();
    for path in &options.paths {
        collect(path, &mut files)?;
    }
    files.sort();
    let (mut bytes, mut alarms) = (0, BTreeMap::<String, usize>::new());
    let mut held = Held::default();
    for path in &files {
        let text = std::fs::read(path)?;
        bytes += text.len();
        for finding in masker.find(&text) {
            let total: usize = alarms.values().sum();
            if total < SHOWN {
                let from = finding.range.start.saturating_sub(40);
                let to = (finding.range.end + 20).min(text.len());
                let around = String::from_utf8_lossy(text.get(from..to).unwrap_or_default()).into_owned();
                writeln!(out, "{} {}: {around:?}", finding.rule, path.display())?;
            }
            *alarms.entry(finding.rule.to_string()).or_default() += 1;
        }
        held.measure(masker, &text);
    }
    let total: usize = alarms.values().sum();
    writeln!(out, "{} files, {bytes} bytes, {total} alarms {alarms:?}", files.len())?;
    held.report(out)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Fallible {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.is_file() {
        files.push(path.to_owned());
    }
    Ok(())
}

/// How many bytes were held back, after how many pushes.
#[derive(Default)]
struct Held {
    pushes: BTreeMap<usize, u64>,
}

impl Held {
    /// Cuts a text as a model does, a word or four characters at a time, and looks after each push.
    fn measure(&mut self, masker: &Masker, text: &[u8]) {
        let mut stream = masker.stream();
        let mut out = Vec::new();
        for token in tokens(text) {
            stream.push_into(token, &mut out);
            out.clear();
            *self.pushes.entry(stream.held()).or_default() += 1;
        }
    }

    fn report(&self, out: &mut impl std::io::Write) -> Fallible {
        let pushes: u64 = self.pushes.values().sum();
        let bytes: u64 = self.pushes.iter().map(|(&held, &count)| held as u64 * count).sum();
        let quantile = |share: f64| {
            let mut rest = pushes;
            for (&held, &count) in &self.pushes {
                rest -= count;
                #[expect(clippy::cast_precision_loss, reason = "a count of pushes")]
                if rest as f64 <= pushes as f64 * (1.0 - share) {
                    return held;
                }
            }
            0
        };
        #[expect(clippy::cast_precision_loss, reason = "a count of bytes")]
        let mean = bytes as f64 / pushes.max(1) as f64;
        writeln!(
            out,
            "held back after each of {pushes} pushes: mean {mean:.3} bytes, p99 {}, p99.9 {}, most {}",
            quantile(0.99),
            quantile(0.999),
            self.pushes.keys().next_back().copied().unwrap_or_default()
        )?;
        Ok(())
    }
}

/// Pieces as a model emits them: a blank and the letters after it, digits by three, else up to four bytes.
fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        let run =
            |test: fn(&u8) -> bool, most: usize| behind.iter().take(most).take_while(|b| test(b)).count();
        let length = match first {
            b' ' | b'_' => 1 + run(u8::is_ascii_alphabetic, 12),
            b if b.is_ascii_alphabetic() => 1 + run(u8::is_ascii_lowercase, 7),
            b if b.is_ascii_digit() => 1 + run(u8::is_ascii_digit, 2),
            _ => 1 + run(u8::is_ascii_punctuation, 3),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}
