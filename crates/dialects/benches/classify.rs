//! What it costs to understand a request: the route alone, and with bodies of two sizes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gatewayd_dialects::{Config, Dialects, UpstreamRule};
use http::{Method, Uri};

fn body(length: usize) -> String {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(length / 45 + 1);
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}],\"model\":\"llama-3\",\"stream\":true}}"
    )
}

fn classify(criterion: &mut Criterion) {
    let upstreams = vec![UpstreamRule::new("gpu", &["llama-*"])];
    let dialects = Dialects::new(&Config { upstreams, ..Config::default() }).expect("a sound configuration");
    let mut group = criterion.benchmark_group("classify");
    let models = Uri::from_static("/v1/models");
    group.bench_function("no body", |bencher| {
        bencher.iter(|| dialects.classify(&Method::GET, black_box(&models), None));
    });
    let chat = Uri::from_static("/v1/chat/completions");
    for length in [1_000, 100_000] {
        let body = body(length);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{length} bytes of JSON"), |bencher| {
            bencher.iter(|| dialects.classify(&Method::POST, black_box(&chat), Some(body.as_bytes())));
        });
    }
    group.finish();
}

criterion_group!(benches, classify);
criterion_main!(benches);
