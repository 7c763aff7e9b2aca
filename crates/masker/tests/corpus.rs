//! What the fuzzer kept as worth its while is replayed: each input has the properties that the fuzzer checks.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test that fails may panic")]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::path::Path;

fn replay(target: &str, holds: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // Whoever looks into a failure sees which input it was.
        println!("{}", file.display());
        holds(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn plain_texts() {
    replay("stream", properties::text);
}

#[test]
fn documents() {
    replay("json", properties::json);
}

#[test]
fn events() {
    replay("events", properties::sse);
}

#[test]
fn lines() {
    replay("lines", properties::lines);
}

#[test]
fn files_of_rules() {
    replay("rules", properties::rules);
}
