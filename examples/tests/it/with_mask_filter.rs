#[path = "../../src/bin/mask_filter.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use std::io::{self, Read, Write as _};

/// Gives its text in pieces of three bytes, as a pipe may.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(3);
        self.0.read(&mut buffer[..most])
    }
}

const LOG: &str = "start\nuser=ada key=AKIAZQ3DRSTUVWXY2345\nopened with hunter2-hunter2\nend\n";
const MASKED: &str =
    "start\nuser=ada key=[REDACTED:aws-access-key-id]\nopened with [REDACTED:known-secret]\nend\n";

#[test]
fn a_log_is_masked_however_it_arrives() {
    let masker = program::masker(["hunter2-hunter2"].into_iter()).expect("the secret is long enough");
    let mut out = Vec::new();
    let events = program::filter(&masker, Drip(LOG.as_bytes()), &mut out).expect("it can be masked");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), MASKED);
    let rules: Vec<&str> = events.iter().map(|event| &*event.rule).collect();
    assert_eq!(rules, ["aws-access-key-id", "known-secret"]);
    assert!(!format!("{events:?}").contains("hunter2"), "an event says where, never what");
}

#[test]
fn a_log_is_masked_however_it_is_written() {
    let masker = program::masker(["hunter2-hunter2"].into_iter()).expect("the secret is long enough");
    let mut log = program::log_to(&masker, Vec::new());
    for piece in LOG.as_bytes().chunks(3) {
        log.write_all(piece).expect("it can be masked");
    }
    let (written, events) = log.finish().expect("it ends");
    assert_eq!(String::from_utf8(written).expect("UTF-8"), MASKED);
    assert_eq!(events.len(), 2, "also what was masked at the very end is reported");
}

#[test]
fn a_secret_that_would_mask_ordinary_words_is_refused() {
    let error = program::masker(["cat"].into_iter()).expect_err("too short").to_string();
    assert!(error.contains("too short") && !error.contains("cat"), "{error}");
}
