//! Measures the rules: recall and false alarms on labelled samples, alarms and delay on ordinary text.
//!
//! ```text
//! measure labelled [--tier default|all] [--rules FILE.toml] [--misses] FILE.jsonl...
//! measure ordinary [--tier default|all] [--rules FILE.toml] [--misses] [--only ENDING,...] [--skip NAME,...] FILE-OR-FOLDER...
//! measure size [--tier default|all] [--rules FILE.toml] [--misses]
//! ```
//!
//! `size --misses` shows each rule by itself. `ordinary` takes files whose names end as `--only` says, all without it, and
//! leaves out folders of the names in `--skip`.
//!
//! `--rules` changes the rules as the gateway's configuration does, so that rules of one's own are measured too.
//!
//! A labelled file holds one JSON object a line: `label` (`positive` or `negative`), `text`, sometimes `secret`
//! (the exact value that must be hidden) and `rule` (whose sample it is).

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use gatewayd_masker::rule::{self, Rule, Tier, Tuning};
use gatewayd_masker::{Finding, Masker};

/// Alarms shown in full without `--misses`; the rest is counted.
const SHOWN: usize = 60;

type Fallible<T = ()> = Result<T, Box<dyn Error>>;

struct Options {
    tiers: Vec<Tier>,
    misses: bool,
    rules: Vec<Rule>,
    paths: Vec<PathBuf>,
    only: Vec<String>,
    skip: Vec<String>,
}

fn main() -> Fallible {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let mut options = Options {
        tiers: vec![Tier::Default],
        misses: false,
        rules: rule::builtin(),
        paths: Vec::new(),
        only: Vec::new(),
        skip: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--tier" => match arguments.next().as_deref() {
                Some("all") => options.tiers.push(Tier::Assignments),
                Some("default") => {}
                _ => return Err("--tier takes `default` or `all`".into()),
            },
            "--rules" => {
                let file = arguments.next().ok_or("--rules takes a file of rules")?;
                let tuning = Tuning::parse(&std::fs::read_to_string(file)?)?;
                options.rules = tuning.apply(options.rules)?;
            }
            "--misses" => options.misses = true,
            "--only" => {
                options.only = list(&arguments.next().ok_or("--only takes endings, such as `py,json`")?);
            }
            "--skip" => {
                options.skip = list(&arguments.next().ok_or("--skip takes names of folders")?);
            }
            path => options.paths.push(path.into()),
        }
    }
    let begin = std::time::Instant::now();
    let masker = Masker::builder().rules(options.rules.clone()).tiers(options.tiers.clone()).build()?;
    let built = begin.elapsed();
    let mut out = std::io::stdout().lock();
    match command.as_str() {
        "labelled" => labelled(&masker, &options, &mut out),
        "ordinary" => ordinary(&masker, &options, &mut out),
        "size" => {
            if options.misses {
                each_alone(&options, &mut out)?;
            }
            let (rules, bytes) = (masker.rules().count(), masker.memory());
            Ok(writeln!(out, "{rules} rules, {bytes} bytes, made ready in {built:?}")?)
        }
        _ => Err("say `labelled` or `ordinary` and then files, or `size`".into()),
    }
}

fn list(commas: &str) -> Vec<String> {
    commas.split(',').map(str::to_owned).collect()
}

/// How long each rule by itself takes to be made ready, and how large it is; the slowest first.
fn each_alone(options: &Options, out: &mut impl std::io::Write) -> Fallible {
    let mut each = Vec::new();
    for rule in options.rules.iter().filter(|rule| options.tiers.contains(&rule.tier)) {
        let begin = std::time::Instant::now();
        let alone = Masker::builder().rules([rule.clone()]).tiers(options.tiers.clone()).build()?;
        each.push((begin.elapsed(), alone.memory(), &rule.id));
    }
    each.sort_unstable_by(|one, other| other.cmp(one));
    for (time, bytes, rule) in each {
        writeln!(out, "{time:>12.1?} {bytes:>9} bytes {rule}")?;
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct Sample {
    label: String,
    text: String,
    secret: Option<String>,
    #[serde(default)]
    rule: String,
}

impl Sample {
    fn is_positive(&self) -> bool {
        self.label == "positive"
    }
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

    fn extend(&mut self, more: &Self) {
        self.found += more.found;
        self.all += more.all;
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

/// Why something is found in a sample in which its scanner wants nothing to be found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The rule for this very kind of secret finds what the scanner calls none.
    SameKind,
    /// The sample ends inside of what may be a secret, and its beginning is masked. With a line end behind it the rule
    /// does not find it.
    CutShort,
    /// The form of another kind of secret, which is one whatever stands around it.
    OtherKind,
    /// A random value behind a name that says it is secret.
    Named,
}

impl Alarm {
    const ALL: [Self; 4] = [Self::SameKind, Self::CutShort, Self::OtherKind, Self::Named];

    fn name(self) -> &'static str {
        match self {
            Self::SameKind => "same kind",
            Self::CutShort => "cut short",
            Self::OtherKind => "another kind",
            Self::Named => "value behind a name",
        }
    }
}

/// What tells one kind of alarm from another.
struct Judge<'a> {
    masker: &'a Masker,
    rules: &'a [Rule],
    /// Which rules find positive samples of a scanner's rule. Of a rule without any, all of its issuer count.
    finders: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Judge<'a> {
    fn new(masker: &'a Masker, rules: &'a [Rule], samples: &[Vec<Sample>]) -> Self {
        let mut finders = BTreeMap::<String, BTreeSet<String>>::new();
        for sample in samples.iter().flatten().filter(|sample| sample.is_positive()) {
            let found = masker.find(sample.text.as_bytes());
            finders
                .entry(sample.rule.clone())
                .or_default()
                .extend(found.iter().map(|finding| finding.rule.to_string()));
        }
        Self { masker, rules, finders }
    }

    /// The worst of what is found in a negative sample, and by which rule.
    fn alarm<'f>(&self, sample: &Sample, findings: &'f [Finding]) -> Option<(Alarm, &'f str)> {
        let whole = self.masker.find(&[sample.text.as_bytes(), b"\n"].concat());
        let kind = |finding: &Finding| {
            if whole.iter().any(|other| other.rule == finding.rule) {
                self.kind(sample, finding)
            } else {
                Alarm::CutShort
            }
        };
        findings.iter().map(|finding| (kind(finding), finding.rule.as_ref())).min()
    }

    fn kind(&self, sample: &Sample, finding: &Finding) -> Alarm {
        let rule = self.rules.iter().find(|rule| rule.id == *finding.rule);
        let same_issuer =
            rule.is_some_and(|rule| vocabulary(std::slice::from_ref(rule)).contains(issuer(&sample.rule)));
        let finds_the_like =
            self.finders.get(&sample.rule).is_none_or(|rules| rules.contains(finding.rule.as_ref()));
        if same_issuer && finds_the_like {
            Alarm::SameKind
        } else if rule.is_some_and(|rule| rule.context.is_some()) {
            Alarm::Named
        } else {
            Alarm::OtherKind
        }
    }
}

/// What the samples of one file came to.
#[derive(Default)]
struct Labelled {
    own: Tally,
    all: Tally,
    /// One tally for each kind of alarm, and one for any.
    alarms: [Tally; 5],
}

impl Labelled {
    fn row(&self, name: &str) -> String {
        let tallies = [&self.own, &self.all].into_iter().chain(&self.alarms);
        let cells: Vec<String> = tallies.map(Tally::cell).collect();
        format!("| {name} | {} |", cells.join(" | "))
    }

    fn add(&mut self, more: &Self) {
        self.own.extend(&more.own);
        self.all.extend(&more.all);
        for (mine, theirs) in self.alarms.iter_mut().zip(&more.alarms) {
            mine.extend(theirs);
        }
    }
}

fn labelled(masker: &Masker, options: &Options, out: &mut impl std::io::Write) -> Fallible {
    let samples = options.paths.iter().map(|path| read(path)).collect::<Fallible<Vec<_>>>()?;
    let vocabulary = vocabulary(&options.rules);
    let judge = Judge::new(masker, &options.rules, &samples);
    let titles = Alarm::ALL.map(|alarm| format!("alarms, {}", alarm.name())).join(" | ");
    writeln!(out, "| samples | recall, our issuers | recall, all | {titles} | alarms, any |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    let (mut together, mut wrong) = (Labelled::default(), Vec::new());
    for (path, samples) in options.paths.iter().zip(&samples) {
        let mut file = Labelled::default();
        for sample in samples {
            let findings = masker.find(sample.text.as_bytes());
            let why = if sample.is_positive() {
                let ours = vocabulary.contains(issuer(&sample.rule)) && !is_companion(&sample.text);
                positive(&mut file, sample, &findings, ours)
            } else {
                negative(&mut file, judge.alarm(sample, &findings))
            };
            wrong.extend(why.map(|why| (why, sample)));
        }
        writeln!(out, "{}", file.row(&path.file_stem().unwrap_or_default().to_string_lossy()))?;
        together.add(&file);
    }
    writeln!(out, "{}", together.row("together"))?;
    if options.misses {
        wrong.sort_by_key(|(why, sample)| (why.clone(), sample.rule.clone()));
        for (why, sample) in wrong {
            writeln!(out, "{why}: sample of {}: {:?}", sample.rule, sample.text)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Fallible<Vec<Sample>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn positive(file: &mut Labelled, sample: &Sample, findings: &[Finding], ours: bool) -> Option<String> {
    let hidden = hides(sample, findings);
    file.all.add(hidden);
    if ours {
        file.own.add(hidden);
    }
    (!hidden).then(|| format!("missed, {} issuer", if ours { "our" } else { "other" }))
}

fn negative(file: &mut Labelled, worst: Option<(Alarm, &str)>) -> Option<String> {
    let [kinds @ .., any] = &mut file.alarms;
    any.add(worst.is_some());
    for (alarm, tally) in Alarm::ALL.into_iter().zip(kinds) {
        tally.add(worst.is_some_and(|(kind, _)| kind == alarm));
    }
    worst.map(|(kind, rule)| format!("alarm, {}, {rule}", kind.name()))
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
    // `scanner.issuer.1`: a scanner may put its own name first.
    let name = match scanner_rule.split_once('.') {
        Some((_, rest)) if rest.contains('.') => rest,
        _ => scanner_rule,
    };
    name.split(['.', '-']).find(|word| !word.is_empty()).unwrap_or("unnamed")
}

/// Whether a sample shows what scanners look for beside a secret and that is none: a host, the name of a user or
/// an account, the id of a client, the name of a file, a name without its value.
fn is_companion(text: &str) -> bool {
    let lower = text.trim_end().to_ascii_lowercase();
    if lower.ends_with(" =") || lower.ends_with("= \"") || lower.ends_with(": \"") {
        return true;
    }
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
        collect(path, options, &mut files)?;
    }
    files.sort();
    let (mut bytes, mut alarms) = (0, BTreeMap::<String, usize>::new());
    let mut held = Held::default();
    for path in &files {
        let text = std::fs::read(path)?;
        bytes += text.len();
        for finding in masker.find(&text) {
            let total: usize = alarms.values().sum();
            if options.misses || total < SHOWN {
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

fn collect(path: &Path, options: &Options, files: &mut Vec<PathBuf>) -> Fallible {
    let is = |part: Option<&std::ffi::OsStr>, names: &[String]| {
        part.is_some_and(|part| names.iter().any(|name| part == name.as_str()))
    };
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?.path();
            // A link may lead back to a folder above.
            if !entry.is_symlink() && !is(entry.file_name(), &options.skip) {
                collect(&entry, options, files)?;
            }
        }
    } else if path.is_file() && (options.only.is_empty() || is(path.extension(), &options.only)) {
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
