//! The dearest input: what a hostile upstream can make a byte cost.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "a test that fails may panic"
)]

use std::time::{Duration, Instant};

use gatewayd_masker::{KnownSecrets, Masker, Tier, rule};

/// How long a text is measured.
const LENGTH: usize = 1 << 15;

/// Time of this thread on the processor, so that a busy machine measures the same as an idle one.
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// How a text arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// In one piece.
    Whole,
    /// As a model's answer does, four bytes at a time.
    Deltas,
}

/// Nanoseconds a byte, the least of some runs.
fn cost(masker: &Masker, text: &[u8], cut: Cut, runs: usize) -> f64 {
    let most = if cut == Cut::Whole { text.len() } else { 4 };
    let mut stream = masker.stream();
    let mut out = Vec::with_capacity(text.len() * 2);
    (0..runs)
        .map(|_| {
            out.clear();
            let begin = now();
            for piece in text.chunks(most) {
                stream.push_into(piece, &mut out);
            }
            out.extend(stream.finish());
            (now() - begin).as_nanos() as f64 / text.len() as f64
        })
        .fold(f64::MAX, f64::min)
}

fn repeated(unit: &[u8]) -> Vec<u8> {
    unit.iter().copied().cycle().take(LENGTH).collect()
}

/// The dearest units found so far.
const DEAREST: [&str; 15] = [
    "pa--",
    "eyJ-",
    "psexecAPI_KEY: ion_psexecpsexec",
    "pa-phc_phc_ATBBelasticemailessu_SCW_SECRET_KEY=80c6phs_nvapi-",
    "pa-elasticemailATBBphs_CODECLIMATE_REPO_TOKEN=nvapi-essu_pa-ATCTT3phs_6Qelasticemail",
    "api-key: BECFPAT-sharedaccesskey=ACME_API_KEY=fb9aAZURE_OPENAI_API_KEY=",
    "APP_KEY=baseAZURE_OPENAI_API_KEY=7oXVsourcegraphSCW_SECRET_KEY=dbnameAPP_KEY=baseAZURE_OPENAI_",
    "clearbitACME_API_KEY=fb9asAZURE_OPENAI_API_KEY=MAZURE_OPENAI_API_KEY=7oXVsourcegraphACME_API_KEY=fb9a",
    "MjQAZURE_OPENAI_API_KEY=7oXVsourcegraphSECRET_KEY",
    "AKLTphx_",
    "api-key:",
    "AAAAAAAAAAAADD_API_KEY=dbtu_5TDD_API_KEpbkdf2_sh",
    "dt0c01.ACME_API_KEY=fb9ardmeNACME_API_KEY=fb9aapi-key: BEIj",
    "api-key: BAapi-key:api-key: BEIjCAPI_KEY: 77ffapi-key:api-key: BEIjC",
    "api-key: Bapi-key: BEIjAPI_KEY: 77fapi-key: api-key: api-key: api-key: BEIjAPI_KEY: 77fapi-key:",
];

/// A source of choices, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &'a [Box<T>]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What rules are provoked by: their anchors, whole and in part, pieces of their examples, the known secrets and the
/// signs between them.
fn fragments(known: &[String]) -> Vec<Box<[u8]>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for rule in rule::builtin() {
        for anchor in &rule.anchors {
            all.push(anchor.clone().into_bytes());
            all.push(anchor.as_bytes()[..anchor.len() - 1].to_vec());
        }
        for example in rule.positives(0).unwrap() {
            for secret in example.secrets {
                let before = &example.text[secret.start.saturating_sub(24)..secret.start];
                let head = &example.text[secret.start..secret.end.min(secret.start + 24)];
                all.push([before, &head[..head.len().min(4)]].concat());
                all.push(before.to_vec());
                all.push(head.to_vec());
                all.push(example.text[secret].to_vec());
            }
        }
    }
    for value in known.iter().take(40) {
        all.extend([6, 7, 12, value.len() - 1].map(|length| value.as_bytes()[..length].to_vec()));
    }
    let signs = [
        "pa--",
        "fo1__",
        "Bearer ",
        "-----BEGIN ",
        "AccountKey=",
        "'",
        "\"",
        "`",
        "=",
        ":",
        ": ",
        " ",
        ".",
        "-",
        "_",
        "://",
        "@",
        "\n",
        "\\n",
        "%3D",
        "\\\"",
        "a",
        "0",
        "A",
        "Zm9v",
        "MIIE",
        "eyJ",
        "key",
        "token",
        "secret",
        "password",
        "\0",
        "\r\n",
        "\u{FEFF}",
        "=>",
        ";",
        ",",
        "/",
        "+",
    ];
    all.extend(signs.map(|sign| sign.as_bytes().to_vec()));
    all.retain(|piece| !piece.is_empty());
    all.sort();
    all.dedup();
    all.into_iter().map(Vec::into_boxed_slice).collect()
}

/// Changes a unit a little.
fn mutate(unit: &[Box<[u8]>], others: &[Box<[u8]>], pieces: &[Box<[u8]>], dice: &mut Dice) -> Vec<Box<[u8]>> {
    let mut unit = unit.to_vec();
    for _ in 0..=dice.below(2) {
        let at = dice.below(unit.len());
        match dice.below(6) {
            0 if unit.len() > 1 => drop(unit.remove(at)),
            1 if unit.len() < 12 => unit.insert(at, dice.pick(pieces).into()),
            2 => unit[at] = dice.pick(pieces).into(),
            3 if unit.len() < 8 => unit.extend(others.iter().take(4).cloned()),
            4 => {
                let length = unit[at].len();
                unit[at] = unit[at][..1 + dice.below(length)].into();
            }
            _ => {
                let other = dice.below(unit.len());
                unit.swap(at, other);
            }
        }
    }
    unit
}

/// Looks for the dearest unit by climbing from the dearest fragments.
fn search(name: &str, masker: &Masker, cut: Cut, pieces: &[Box<[u8]>], time: Duration) -> f64 {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let cost = |unit: &[Box<[u8]>], runs| cost(masker, &repeated(&unit.concat()), cut, runs);
    let measure = |unit: &[Box<[u8]>]| cost(unit, 2);
    let known = DEAREST.iter().map(|unit| Box::from(unit.as_bytes()));
    let mut best: Vec<(f64, Vec<Box<[u8]>>)> = known
        .chain(pieces.iter().cloned())
        .map(|piece| {
            let unit = vec![piece];
            (measure(&unit), unit)
        })
        .collect();
    let order = |best: &mut Vec<(f64, Vec<Box<[u8]>>)>| {
        best.sort_by(|left, right| right.0.total_cmp(&left.0));
        best.dedup_by(|left, right| left.1 == right.1);
        best.truncate(24);
    };
    order(&mut best);
    let begin = Instant::now();
    while begin.elapsed() < time {
        let from = dice.below(best.len());
        let other = dice.below(best.len());
        let unit = mutate(&best[from].1, &best[other].1, pieces, &mut dice);
        let cost = measure(&unit);
        if cost > best[best.len() - 1].0 && !best.iter().any(|(_, known)| *known == unit) {
            best.push((cost, unit));
            order(&mut best);
        }
    }
    for (_, unit) in best.iter().take(10) {
        println!("{name}, {cut:?}: {:6.1} ns a byte: {}", cost(unit, 5), unit.concat().escape_ascii());
    }
    cost(&best[0].1, 5)
}

/// Values of one kind: they share their first six characters by the hundred.
fn alike(count: usize) -> Vec<String> {
    (0..count as u64)
        .map(|i| format!("svc-{:02}-{:016x}", i % 10, i.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect()
}

#[test]
fn a_push_costs_the_same_however_much_is_held_back() {
    let rule = "[[rule]]\nid = \"long\"\nfamily = \"t\"\ndescription = \"d\"\nanchors = [\"key:\"]\npattern = \"key:[a-z]+;\"\nmax = 65536\n";
    let masker =
        Masker::builder().rules(rule::parse(rule).unwrap()).known_secret("a known one").build().unwrap();
    let mut stream = masker.stream();
    let mut out = stream.push(b"key:");
    let mut run = |pushes: usize| {
        let begin = now();
        for _ in 0..pushes {
            stream.push_into(b"x", &mut out);
        }
        (now() - begin).as_nanos()
    };
    run(1_000);
    let (first, _, last) = (run(4_000), run(50_000), run(4_000));
    println!(
        "a push while nothing is held: {} ns, while 60,000 bytes are: {} ns",
        first / 4_000,
        last / 4_000
    );
    assert!(last < 5 * first, "{first} {last}");
}

/// What is masked must not depend on how a text is cut, also where so much is looked at that there is no more judging.
#[test]
fn the_dearest_inputs_are_masked_alike_in_all_pieces() {
    let masker = Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().unwrap();
    let mut dice = Dice(0x1234_5678_9ABC_DEF1);
    let between = ["", " ", "\"", "\n", " the key is ", " AKIA", " \"pa-", " token=abc "];
    for unit in DEAREST {
        for other in DEAREST {
            let times = 4096 / unit.len() * (1 + dice.below(2));
            let text =
                [unit.repeat(times), between[dice.below(between.len())].into(), other.repeat(9)].concat();
            let whole = masker.mask(text.as_bytes());
            for most in [2, 7, 40, 900] {
                let mut stream = masker.stream();
                let mut out = Vec::new();
                let mut rest = text.as_bytes();
                while !rest.is_empty() {
                    let (piece, behind) = rest.split_at(rest.len().min(1 + dice.below(most)));
                    stream.push_into(piece, &mut out);
                    rest = behind;
                }
                out.extend(stream.finish());
                assert!(out == whole, "{unit} {other} in pieces of up to {most}");
            }
        }
    }
}

/// A program, in which nothing is masked.
fn clean() -> Vec<u8> {
    repeated(include_str!("../src/format/sse.rs").as_bytes())
}

/// How dear the dearest are. The bounds are wide, for builds without optimisation.
#[test]
fn the_dearest_inputs() {
    use Tier::{Assignments, Default};
    for (cut, bound) in [(Cut::Whole, 250.0), (Cut::Deltas, 25.0)] {
        for tiers in [vec![Default], vec![Default, Assignments]] {
            let masker = Masker::builder().tiers(tiers.iter().copied()).build().unwrap();
            let clean = cost(&masker, &clean(), cut, 5);
            for unit in DEAREST {
                let cost = cost(&masker, &repeated(unit.as_bytes()), cut, 5);
                println!(
                    "{} tiers, {cut:?}: {cost:6.1} ns a byte, clean text {clean:.1}: {unit}",
                    tiers.len()
                );
                assert!(cost < bound * clean, "{unit}, {cut:?}: {cost} ns a byte, clean text {clean}");
            }
        }
    }
}

#[test]
#[ignore = "torture: looks for the dearest input for minutes"]
fn torture_no_input_is_much_dearer_than_text() {
    let seconds = std::env::var("WORST_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(30);
    let time = Duration::from_secs(seconds);
    let values = alike(10_000);
    let known = KnownSecrets::new();
    known.extend(values.iter().map(String::as_bytes)).unwrap();
    let builder = || Masker::builder().tiers([Tier::Default, Tier::Assignments]);
    let maskers = [
        ("default", Masker::builder().build().unwrap(), &values[..0]),
        ("both tiers, 10,000 known", builder().known(known).build().unwrap(), &values[..]),
    ];
    for (cut, bound) in [(Cut::Deltas, 15.0), (Cut::Whole, 300.0)] {
        for (name, masker, values) in &maskers {
            let clean = cost(masker, &clean(), cut, 20);
            println!("{name}, {cut:?}: {clean:6.1} ns a byte: clean text");
            let worst = search(name, masker, cut, &fragments(values), time);
            println!("{name}, {cut:?}: {:.1} times clean text", worst / clean);
            assert!(worst < bound * clean, "{name}, {cut:?}: {worst} ns a byte, clean text {clean}");
        }
    }
}
