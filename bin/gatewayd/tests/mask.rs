//! `gatewayd mask` as a script meets it: what comes out, when, and with which exit status.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test, what must not fail may panic")]

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

const KEY: &str = concat!("AKIA", "ZQ3DRSTUVWXY2345");

fn start(arguments: &[&str], output: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayd"));
    command.arg("mask").args(arguments).stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
    command.spawn().expect("the program was built for this test")
}

/// Standard output, standard error, and the exit status.
fn mask(arguments: &[&str], input: &str) -> (String, String, i32) {
    let mut child = start(arguments, Stdio::piped());
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(done.stdout), text(done.stderr), done.status.code().unwrap())
}

#[test]
fn the_exit_status_says_whether_something_was_found() {
    assert_eq!(mask(&[], "nothing here\n"), ("nothing here\n".into(), "masked: nothing found\n".into(), 0));
    let (out, said, status) = mask(&[], &format!("{KEY} and {KEY}\n"));
    assert_eq!(out, "[REDACTED:aws-access-key-id] and [REDACTED:aws-access-key-id]\n");
    assert_eq!((said.as_str(), status), ("masked: 2 (aws-access-key-id x2)\n", 1));
}

#[test]
fn each_format_is_read_as_what_it_is() {
    let (first, second) = KEY.split_at(8);
    let escaped = format!(r#"{{"a":"{first}\u00{:02x}{}"}}"#, second.as_bytes()[0], &second[1..]);
    assert_eq!(mask(&["--json"], &escaped).0, r#"{"a":"[REDACTED:aws-access-key-id]"}"#);

    let delta = |text: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#);
    let events =
        format!("data: {}\n\ndata: {}\n\ndata: [DONE]\n\n", delta(first), delta(&format!("{second} ok")));
    let out = mask(&["--sse"], &events).0;
    assert!(out.contains("[REDACTED:aws-access-key-id]") && !out.contains(first) && !out.contains(second));
    assert_eq!(out.matches("data: ").count(), 3);

    let lines = format!("{{\"response\":\"{first}\"}}\n{{\"response\":\"{second}\"}}\n");
    let out = mask(&["--ndjson"], &lines).0;
    assert!(out.contains("[REDACTED:aws-access-key-id]") && !out.contains(second));
}

#[test]
fn the_second_tier_is_asked_for() {
    let text = "password = \"correct-horse-battery\"\n";
    assert_eq!(mask(&[], text).2, 0);
    assert_eq!(mask(&["--tier", "all"], text).0, "password = \"[REDACTED:password-assignment]\"\n");
}

#[test]
fn what_is_certain_leaves_while_the_input_goes_on() {
    let mut child = start(&[], Stdio::piped());
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("{KEY} is out. ").as_bytes()).unwrap();
    let mut seen = [0; 37];
    child.stdout.as_mut().unwrap().read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"[REDACTED:aws-access-key-id] is out. ");
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = start(&[], full.into());
    child.stdin.take().unwrap().write_all(b"text\n").unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&done.stderr).contains("standard output cannot be written"));

    let mut child = start(&[], Stdio::piped());
    drop(child.stdout.take());
    // The program may have ended before all of it is taken.
    drop(child.stdin.take().unwrap().write_all(b"text\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn rules_of_ones_own_are_checked_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    let write = |text: &str| File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let arguments = ["--rules", path.to_str().unwrap()];

    write("[[change]]\nid = \"aws-access-key-id\"\nenabled = false\n");
    assert_eq!(mask(&arguments, KEY), (KEY.into(), "masked: nothing found\n".into(), 0));
    write("[[change]]\nid = \"no-such-rule\"\nenabled = false\n");
    let mut child = start(&arguments, Stdio::piped());
    drop(child.stdin.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(2), 0));
    assert!(String::from_utf8_lossy(&done.stderr).contains("no-such-rule"));
}
