//! What masking costs: a delta in a stream, a whole body, many known secrets, the worst input.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Throughput, criterion_group, criterion_main};
use gatewayd_masker::format::BodyKind;
use gatewayd_masker::{Engine, KnownSecrets, Masker};

type Criterion = criterion::Criterion<CpuTime>;

/// Time of this thread on the processor, so that a busy machine measures nearly what an idle one does.
struct CpuTime(WallTime);

impl CpuTime {
    fn now() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, begun: Duration) -> Duration {
        Self::now() - begun
    }

    fn add(&self, left: &Self::Value, right: &Self::Value) -> Self::Value {
        self.0.add(left, right)
    }

    fn zero(&self) -> Self::Value {
        self.0.zero()
    }

    fn to_f64(&self, value: &Self::Value) -> f64 {
        self.0.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

/// Source code and prose of this crate: clean text of the kind that models write.
const CODE: &str = include_str!("../src/scan/mod.rs");
const MORE_CODE: &str = include_str!("../src/masker.rs");
/// It speaks of secrets, which makes it dearer than other prose.
const PROSE: &str = include_str!("../README.md");

fn clean(length: usize) -> Vec<u8> {
    CODE.bytes().chain(MORE_CODE.bytes()).cycle().take(length).collect()
}

fn prose(length: usize) -> Vec<u8> {
    PROSE.bytes().cycle().take(length).collect()
}

/// JSON as a plain text: objects with names, numbers and short strings.
fn records(length: usize) -> Vec<u8> {
    let record = |(number, line): (usize, &str)| {
        serde_json::json!({"id": number, "type": "line", "score": 0.25, "text": line.trim(), "author": {"user": "anna", "email": null}})
            .to_string()
    };
    let all: Vec<String> = CODE.lines().enumerate().map(record).collect();
    all.join(",\n").bytes().cycle().take(length).collect()
}

/// The reference, the default, and what else was compiled in.
fn engines() -> Vec<Engine> {
    vec![
        Engine::Plain,
        Engine::Interleaved,
        #[cfg(feature = "vectorscan")]
        Engine::Vectorscan,
    ]
}

fn masker() -> Masker {
    Masker::builder().build().expect("the built-in rules compile")
}

fn with_known(count: u64) -> Masker {
    known_by(count, Engine::default())
}

fn known_by(count: u64, engine: Engine) -> Masker {
    let known = KnownSecrets::new();
    let values: Vec<String> = (0..count)
        .map(|i| {
            format!(
                "{:016x}{:016X}",
                i.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                !i.wrapping_mul(0xD6E8_FEB8_6659_FD93)
            )
        })
        .collect();
    known.extend(values.iter().map(String::as_bytes)).expect("long enough");
    Masker::builder().known(known).engine(engine).build().expect("the built-in rules compile")
}

fn deltas(c: &mut Criterion) {
    let text = clean(1 << 16);
    let mut group = c.benchmark_group("delta of 4 bytes");
    group.throughput(Throughput::Elements(text.len() as u64 / 4));
    let mut run = |name: &str, masker: &Masker, text: &[u8]| {
        group.bench_function(name, |b| {
            let mut out = Vec::with_capacity(1 << 19);
            b.iter(|| {
                let mut stream = masker.stream();
                out.clear();
                for delta in text.chunks(4) {
                    stream.push_into(black_box(delta), &mut out);
                }
                out.len()
            });
        });
    };
    let masker = masker();
    run("scanner, rules only", &masker, &text);
    run("scanner, 10 known", &with_known(10), &text);
    run("scanner, 10000 known", &with_known(10_000), &text);
    run("rich in secrets", &masker, &rich(text.len()));
    for (name, text) in worst(text.len()) {
        run(&format!("worst: {name}"), &masker, &text);
    }
    let events: Vec<String> = String::from_utf8_lossy(&text)
        .as_bytes()
        .chunks(4)
        .map(|delta| {
            let delta = serde_json::Value::from(String::from_utf8_lossy(delta));
            format!(
                "data: {{\"id\":\"chatcmpl-8f2b1c\",\"object\":\"chat.completion.chunk\",\"created\":1735689600,\"model\":\"qwen2.5-0.5b\",\
                 \"system_fingerprint\":\"b4321\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{delta}}},\"finish_reason\":null}}]}}\n\n"
            )
        })
        .collect();
    group.bench_function("SSE + JSON", |b| {
        let mut out = Vec::with_capacity(1 << 23);
        b.iter(|| {
            let mut body = masker.body(BodyKind::Events);
            out.clear();
            for event in &events {
                body.push_into(black_box(event.as_bytes()), &mut out).expect("events");
            }
            out.len()
        });
    });
    group.finish();
}

fn bodies(c: &mut Criterion) {
    let masker = masker();
    let text = clean(4 << 20);
    let json = serde_json::json!({"choices": [{"message": {"content": String::from_utf8_lossy(&text)}}]})
        .to_string();
    let mut group = c.benchmark_group("whole body");
    group.sample_size(20);
    let mut run = |name: &str, masker: &Masker, text: &[u8]| {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| masker.find(black_box(text)).len()));
    };
    run("clean", &masker, &text);
    run("clean, 10 known", &with_known(10), &text);
    run("clean, 10000 known", &with_known(10_000), &text);
    run("rich in secrets", &masker, &rich(4 << 20));
    for (name, text) in worst(1 << 20) {
        run(&format!("worst: {name}"), &masker, &text);
    }
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("JSON", |b| {
        b.iter(|| {
            let mut body = masker.body(BodyKind::Json);
            let mut out = body.push(black_box(json.as_bytes())).expect("JSON");
            out.extend(body.finish().expect("JSON"));
            out.len()
        });
    });
    group.finish();
}

/// The same texts with each engine, in one run.
fn engines_compared(c: &mut Criterion) {
    let length = 4 << 20;
    let maskers: Vec<(Engine, Vec<(u64, Masker)>)> = engines()
        .into_iter()
        .map(|engine| (engine, [0, 10, 10_000].map(|known| (known, known_by(known, engine))).into()))
        .collect();
    let texts = [
        ("code", clean(length)),
        ("prose", prose(length)),
        ("records", records(length)),
        ("rich", rich(length)),
    ];
    let mut group = c.benchmark_group("engines");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(length as u64));
    for (name, text) in &texts {
        for (engine, maskers) in &maskers {
            for (known, masker) in maskers.iter().filter(|(known, _)| *known == 0 || *name == "code") {
                let id = format!("{name}, {known} known, {engine:?}");
                group.bench_function(id, |b| b.iter(|| masker.find(black_box(text)).len()));
            }
        }
    }
    group.finish();
}

fn rich(length: usize) -> Vec<u8> {
    let mut unit = clean(200);
    unit.extend(b" AKIAZQ3DRSTUVWXY2345 postgres://app:s3cretpassw0rd@db/x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ ");
    unit.iter().copied().cycle().take(length).collect()
}

/// Inputs made to keep many candidates alive.
fn worst(length: usize) -> Vec<(&'static str, Vec<u8>)> {
    [
        "eyJ-",
        "eyJhbGciOi.",
        "sk-",
        "sk-ant-",
        "AKIA",
        "AKI",
        "ghp_a",
        "://a:",
        "-----BEGIN ",
        "xoxb-1-",
        "password=a",
        "npm_glpat-ghp_sk-eyJ",
        "SG.AIza-ya29.sk_live_",
        "a",
        "\\u0041",
        "%41",
        "token: \"",
        "secret_key=",
        "api-key:",
        "api-key: BAapi-key:api-key: BEIjCAPI_KEY: 77ffapi-key:api-key: BEIjC",
    ]
    .into_iter()
    .map(|unit| (unit, unit.bytes().cycle().take(length).collect()))
    .collect()
}

fn startup(c: &mut Criterion) {
    let mut group = c.benchmark_group("startup");
    group.sample_size(10);
    group.bench_function("compile the built-in rules", |b| b.iter(|| masker().memory()));
    group.bench_function("register 10000 known secrets", |b| b.iter(|| with_known(10_000).known().memory()));
    group.finish();
}

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().with_measurement(CpuTime(WallTime));
    targets = deltas, bodies, engines_compared, startup
}
criterion_main!(benches);
