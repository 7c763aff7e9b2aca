//! What recording costs on this machine: `cargo bench -p gatewayd-recorder`. Each figure is printed with
//! the time of one sync of the disk beside it, which is what durable figures depend on.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewayd_core::{Body, Event, EventKind, Journal as _, SystemClock};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{Config, Durability, Filter, Pace, Reader, Recorder, Replay};
use http::Response;
use rig::{Plain, channel, request, send, stack_with};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let place = std::env::var("BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into);
    let dir = || tempfile::Builder::new().prefix("recorder-bench").tempdir_in(&place).unwrap();
    let sync = sync_time(dir().path());
    println!("one sync of {}: {:.2} ms (median)", place.display(), sync.as_secs_f64() * 1e3);
    for durability in [Durability::Disk, Durability::Process] {
        for clients in [1, 64, 256] {
            let rate = runtime.block_on(appends(dir().path(), durability, clients));
            println!("{durability:?}: entries a second from {clients} clients: {rate:.0}");
        }
        for clients in [1, 64, 256] {
            let before = busy();
            let (rate, p50, p99) = runtime.block_on(sessions(dir().path(), durability, clients));
            let each = (busy() - before).as_secs_f64() * 1e6 / (rate * 2.0);
            println!(
                "{durability:?}: 8 KB sessions a second from {clients} clients: {rate:.0}; p50 {p50:.0} us, p99 {p99:.0} us; {each:.0} us of processor each"
            );
        }
    }
    println!(
        "one request through the recorder and an empty stack, process: {:.1} us (p50), nothing subtracted",
        runtime.block_on(one_request(dir().path()))
    );
    wakeups(&runtime, dir().path());
    runtime.block_on(stream(dir().path()));
    memory(&runtime, dir().path());
    verification(&runtime, dir().path());
}

/// The median time of a small write and its sync.
fn sync_time(dir: &Path) -> Duration {
    let mut file = fs::File::create(dir.join("sync")).unwrap();
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[0; 4096]).unwrap();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[25]
}

/// Processor time of this process so far.
fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn open(dir: &Path, durability: Durability) -> Recorder {
    Recorder::open(Config { durability, ..Config::new(dir) }, Arc::new(SystemClock)).unwrap()
}

async fn appends(dir: &Path, durability: Durability, clients: usize) -> f64 {
    let recorder = open(dir, durability);
    let (done, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let tasks = (0..clients).map(|_| {
        let (recorder, done) = (recorder.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while began.elapsed() < Duration::from_secs(2) {
                let (kind, object, outcome) =
                    (EventKind::ApprovalVote, "an approval".into(), "approve".into());
                recorder.record(Event { kind, actor: None, object, outcome, request: None }).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// A body of 8 KB that does not compress to nothing.
fn text() -> Bytes {
    let mut seed = 1_u64;
    let mut out = Vec::new();
    while out.len() < 8192 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.extend_from_slice(format!("word{} and ", seed >> 52).as_bytes());
    }
    out.truncate(8192);
    out.into()
}

async fn sessions(dir: &Path, durability: Durability, clients: usize) -> (f64, f64, f64) {
    let recorder = open(dir, durability);
    let answer = text();
    let stack = stack_with(&recorder, Arc::new(Plain), move |_| {
        let answer = answer.clone();
        async { Response::new(Body::full(answer)) }
    });
    let (began, times) = (Instant::now(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let tasks = (0..clients).map(|_| {
        let (stack, times) = (stack.clone(), Arc::clone(&times));
        tokio::spawn(async move {
            let mut mine = Vec::new();
            while began.elapsed() < Duration::from_secs(2) {
                let start = Instant::now();
                let (_, status, _) = send(&stack, request("alice", "a short question")).await;
                assert!(status == 200 || status == 503);
                if status == 200 {
                    mine.push(start.elapsed());
                }
            }
            times.lock().unwrap().extend(mine);
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    recorder.close();
    let seconds = began.elapsed().as_secs_f64();
    let mut times = std::mem::take(&mut *times.lock().unwrap());
    times.sort_unstable();
    let at = |q: f64| times[(times.len() as f64 * q) as usize].as_secs_f64() * 1e6;
    (times.len() as f64 / seconds, at(0.5), at(0.99))
}

/// Median of a request through the recorder to a service that answers at once. What the test stack takes by
/// itself is part of it.
async fn one_request(dir: &Path) -> f64 {
    let recorder = open(dir, Durability::Process);
    let answer = Bytes::from_static(&[b'x'; 1024]);
    let leaf = move |_| {
        let answer = answer.clone();
        async { Response::new(Body::full(answer)) }
    };
    let with = stack_with(&recorder, Arc::new(Plain), leaf.clone());
    let mut times = Vec::new();
    for _ in 0..20_000 {
        let start = Instant::now();
        send(&with, request("alice", "a short question")).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// How often the recorder's threads are woken and what they compute for a request, at a rate that leaves them time to
/// sleep in between.
fn wakeups(runtime: &tokio::runtime::Runtime, dir: &Path) {
    const REQUESTS: u32 = 800;
    let recorder = open(dir, Durability::Process);
    let stack = stack_with(&recorder, Arc::new(Plain), |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Response::new(Body::full(&[b'x'; 1024][..]))
    });
    let before = threads();
    runtime.block_on(async {
        let callers = (0..8).map(|_| {
            let stack = stack.clone();
            tokio::spawn(async move {
                for _ in 0..REQUESTS / 8 {
                    send(&stack, request("alice", "a short question")).await;
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
    for (name, switches, busy) in threads() {
        let Some((_, old, was_busy)) = before.iter().find(|(other, ..)| *other == name) else { continue };
        println!(
            "8 callers, 20 ms upstream: {name} sleeps {:.2} times and computes {:.1} us a request",
            (switches - old) as f64 / f64::from(REQUESTS),
            (busy - was_busy) as f64 / 1e3 / f64::from(REQUESTS),
        );
    }
}

/// Name, voluntary context switches and nanoseconds of processor time of each thread of the recorder.
fn threads() -> Vec<(String, u64, u64)> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let mut found = Vec::new();
    for task in tasks {
        let name = fs::read_to_string(task.join("comm")).unwrap().trim().to_owned();
        if name.starts_with("recorder-") {
            let status = fs::read_to_string(task.join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap();
            let switches = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            let times = fs::read_to_string(task.join("schedstat")).unwrap();
            found.push((name, switches, times.split_whitespace().next().unwrap().parse().unwrap()));
        }
    }
    found
}

fn event(n: usize) -> String {
    let words = [
        "the", " model", " of", " a", " gateway", " is", " to", " stream", " tokens", " slowly", ",", " and",
        " .",
    ];
    let word = words[(n * 7 + n / 3) % words.len()];
    format!(
        "data: {{\"id\":\"chatcmpl-8f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e\",\"object\":\"chat.completion.chunk\",\"created\":1764000000,\
         \"model\":\"SmolLM2-135M-Instruct-Q8_0.gguf\",\"system_fingerprint\":\"b1-abcdef0\",\"choices\":[{{\"index\":0,\"delta\":\
         {{\"content\":\"{word}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
    )
}

/// What a stream of 500 tokens takes on the disk.
async fn stream(dir: &Path) {
    let recorder = open(dir, Durability::Process);
    let stack = stack_with(&recorder, Arc::new(Plain), |_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for n in 0..500 {
                let jitter = (n as u64 * 2_654_435_761) % 700;
                tokio::time::sleep(Duration::from_micros(1500 + jitter)).await;
                sender.send(Ok(event(n).into())).unwrap();
            }
        });
        Response::new(body)
    });
    let before = recorder.stats();
    let (id, _, body) = send(&stack, request("alice", "a short question")).await;
    recorder.close();
    let reader = Reader::open(dir).unwrap();
    let bundle = reader.show(id).unwrap();
    println!(
        "a stream of 500 tokens, {} bytes: {} bytes sealed in {} blocks",
        body.len(),
        recorder.stats().sealed_bytes - before.sealed_bytes,
        bundle.stored_response.blocks,
    );
    pacing(&reader.replay(id).unwrap());
}

/// How late the frames of a replay come, as `gatewayd sessions replay` plays them.
fn pacing(replay: &Replay) {
    let (mut pace, mut late) = (Pace::start(), Vec::new());
    for frame in &replay.response {
        pace.wait(Duration::from_micros(frame.delta_us));
        late.push(pace.late());
    }
    late.sort_unstable();
    let at = |q: f64| late[((late.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3;
    println!(
        "replay at the recorded speed, {} frames: late by {:.2} ms (p50), {:.2} ms (p99)",
        late.len(),
        at(0.5),
        at(0.99)
    );
}

/// Resident memory that an open stream takes.
fn memory(runtime: &tokio::runtime::Runtime, dir: &Path) {
    let recorder = open(dir, Durability::Process);
    let count = 2000_u64;
    let (senders, mut opened) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack_with(&recorder, Arc::new(Plain), move |_| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        async { Response::new(body) }
    });
    runtime.block_on(async {
        let before = resident();
        for n in 0..count {
            let stack = stack.clone();
            tokio::spawn(async move {
                use tower::ServiceExt as _;
                let mut body = stack.oneshot(request(&format!("caller-{n}"), "x")).await.unwrap().into_body();
                while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
                    drop(frame);
                }
            });
        }
        let mut all = Vec::new();
        while (all.len() as u64) < count {
            all.push(opened.recv().await.unwrap());
        }
        for n in 0..100 {
            for sender in &all {
                sender.send(Ok(event(n).into())).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("resident memory of an open stream in the middle: {} bytes", (resident() - before) / count);
        drop(all);
    });
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes of an entry, and how fast a log is verified.
fn verification(runtime: &tokio::runtime::Runtime, dir: &Path) {
    runtime.block_on(sessions(dir, Durability::Process, 64));
    runtime.block_on(appends(dir, Durability::Process, 64));
    let key = {
        let recorder = open(dir, Durability::Process);
        recorder.public_key().clone()
    };
    let reader = Reader::open(dir).unwrap();
    assert!(!reader.list(&Filter::default()).unwrap().is_empty());
    let size = fs::metadata(dir.join("evidence.db")).unwrap().len();
    let timed = |words, bodies| {
        let options = Options { key: Some(key.clone()), words, bodies, ..Options::default() };
        let (began, before) = (Instant::now(), busy());
        let report = verify(dir, &options).unwrap();
        assert!(report.is_intact(), "{report}");
        let processor = (busy() - before).as_secs_f64().max(0.01);
        (report, processor, began.elapsed().as_secs_f64())
    };
    // The first run reads from the disk what the others find in memory.
    let _warm = timed(true, true);
    let (report, entries, wall) = timed(false, false);
    println!(
        "verify entries: {:.0} a second of processor time, {:.0} of clock time ({} entries, database {} bytes an entry)",
        report.entries as f64 / entries,
        report.entries as f64 / wall,
        report.entries,
        size / report.entries,
    );
    let (report, with_words, _) = timed(true, false);
    println!(
        "verify entries and words: {:.0} entries a second of processor time",
        report.entries as f64 / with_words
    );
    let (report, with_bodies, _) = timed(false, true);
    println!(
        "verify bodies: {:.0} MB/s of processor time, that of the entries subtracted ({} bodies in {} bytes)",
        report.body_bytes as f64 / 1e6 / (with_bodies - entries).max(0.01),
        report.bodies,
        report.body_bytes,
    );
}
