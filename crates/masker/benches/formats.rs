//! What the formats cost beyond the scanner: bodies of realistic shapes, whole and as events.
//!
//! Prints a table. Each figure is the least of many runs, in time on the processor, so that a busy machine measures
//! nearly what an idle one does. A part of a name as argument measures those bodies alone.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::hint::black_box;
use std::time::Duration;

use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;
use serde_json::{Value, json};

const CODE: &str = include_str!("../src/scan/mod.rs");
const PROSE: &str = include_str!("../../../docs/architecture.md");

fn main() {
    let masker = Masker::builder().build().expect("the built-in rules compile");
    println!("{:<44} {:>10} {:>12} {:>10}", "body", "bytes", "ns a byte", "GB/s");
    let prose: Vec<u8> = PROSE.bytes().cycle().take(4 << 20).collect();
    row("prose, the scanner alone", prose.len(), || masker.find(black_box(&prose)).len());
    row("prose, as text", prose.len(), || whole(&masker, BodyKind::Text, &prose));
    for (name, body) in bodies() {
        let body = body.into_bytes();
        row(name, body.len(), || whole(&masker, BodyKind::Json, &body));
    }
    println!("\n{:<44} {:>10} {:>12}", "stream", "events", "ns an event");
    for (name, kind, events) in streams() {
        if !is_wanted(name) {
            continue;
        }
        let nanos = least(|| {
            let mut body = masker.body(kind);
            let mut out = Vec::with_capacity(1 << 10);
            let mut length = 0;
            for event in &events {
                out.clear();
                body.push_into(black_box(event.as_bytes()), &mut out).expect("a body that can be read");
                length += out.len();
            }
            length
        });
        println!("{name:<44} {:>10} {:>12.0}", events.len(), nanos / count(events.len()));
    }
}

/// Whether a body was asked for.
fn is_wanted(name: &str) -> bool {
    std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"))
        .is_none_or(|part| name.contains(&part))
}

fn row(name: &str, length: usize, work: impl FnMut() -> usize) {
    if !is_wanted(name) {
        return;
    }
    let nanos = least(work) / count(length);
    println!("{name:<44} {length:>10} {nanos:>12.2} {:>10.2}", 1.0 / nanos);
}

/// The least time of a run on the processor, in nanoseconds.
fn least(mut work: impl FnMut() -> usize) -> f64 {
    let begun = std::time::Instant::now();
    let mut least = Duration::MAX;
    while begun.elapsed().as_millis() < 700 {
        // Short bodies are repeated, because the clock is not read for free.
        let mut times = 0;
        let before = now();
        loop {
            for _ in 0..8 {
                black_box(work());
            }
            times += 8;
            if now() - before >= Duration::from_micros(200) {
                break;
            }
        }
        least = least.min((now() - before) / times);
    }
    least.as_secs_f64() * 1e9
}

fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("bodies are small"))
}

/// Time of this thread on the processor.
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

fn whole(masker: &Masker, kind: BodyKind, bytes: &[u8]) -> usize {
    let mut body = masker.body(kind);
    let mut out = Vec::with_capacity(bytes.len() + 64);
    body.push_into(black_box(bytes), &mut out).expect("a body that can be read");
    out.len() + body.finish().expect("a body that can be read").len()
}

fn completion(content: &str) -> Value {
    json!({"id": "chatcmpl-8f2b1c0d9e", "object": "chat.completion", "created": 1_735_689_600, "model": "qwen2.5-0.5b",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content, "refusal": null},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 31, "completion_tokens": 190, "total_tokens": 221,
            "prompt_tokens_details": {"cached_tokens": 0}}, "system_fingerprint": "b4321"})
}

fn bodies() -> Vec<(&'static str, String)> {
    let records: Vec<Value> = (0..4000)
        .map(|n| {
            json!({"id": n, "name": format!("model-{n}"), "family": "qwen", "quantization": "Q4_K_M", "owner": "platform",
                "tags": ["chat", "small", "en"], "size": n * 77_317, "ready": n % 3 == 0, "score": 0.25,
                "note": "serves the internal assistant, see the runbook"})
        })
        .collect();
    let vectors: Vec<Value> = (0..200)
        .map(|n| json!({"object": "embedding", "index": n, "embedding": (0..384).map(|k| f64::from(k * 7 - n) / 1024.0).collect::<Vec<_>>()}))
        .collect();
    vec![
        ("JSON: a completion of 1 KB", completion(&PROSE[..700]).to_string()),
        ("JSON: a completion of 8 KB", completion(&PROSE.repeat(2)[..7700]).to_string()),
        ("JSON: one string with escapes (code)", completion(&CODE.repeat(64)).to_string()),
        (
            "JSON: one string with few escapes (prose)",
            completion(&PROSE.repeat(192).replace(['\n', '"'], " ")).to_string(),
        ),
        ("JSON: many short strings", json!({"data": records}).to_string()),
        ("JSON: many short strings, a list", Value::from(records).to_string()),
        ("JSON: numbers (embeddings)", json!({"data": vectors}).to_string()),
    ]
}

fn streams() -> Vec<(&'static str, BodyKind, Vec<String>)> {
    let deltas: Vec<String> = CODE
        .as_bytes()
        .chunks(4)
        .take(4000)
        .map(|delta| String::from_utf8_lossy(delta).into_owned())
        .collect();
    let chat = |delta: &String| {
        json!({"id": "chatcmpl-8f2b1c", "object": "chat.completion.chunk", "created": 1_735_689_600, "model": "qwen2.5-0.5b",
            "system_fingerprint": "b4321", "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": null}]})
    };
    let anthropic = |delta: &String| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": delta}});
    let ollama = |delta: &String| {
        json!({"model": "qwen2.5:0.5b", "created_at": "2026-11-24T08:00:00.000000Z",
            "message": {"role": "assistant", "content": delta}, "done": false})
    };
    vec![
        (
            "SSE: chat completion chunks",
            BodyKind::Events,
            deltas.iter().map(|d| format!("data: {}\n\n", chat(d))).collect(),
        ),
        (
            "SSE: Anthropic deltas",
            BodyKind::Events,
            deltas
                .iter()
                .map(|d| format!("event: content_block_delta\ndata: {}\n\n", anthropic(d)))
                .collect(),
        ),
        ("NDJSON: Ollama", BodyKind::Lines, deltas.iter().map(|d| format!("{}\n", ollama(d))).collect()),
    ]
}
