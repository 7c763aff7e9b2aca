//! After the death of the process: nothing acknowledged is gone, and what was cut off says so.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod rig;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewayd_core::{Body, RequestId, SystemClock};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{Config, Filter, Reader, Recorder};
use http::Response;
use rig::{channel, echo_len, open, request, send, stack};
use tower::ServiceExt as _;

/// The child: under load, prints the name of each request that was answered, until it is killed.
#[test]
#[ignore = "started by the test below, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var("RECORDER_TEST_DIR") else { return };
    let config = Config { reserve_bytes: 4096, segment_bytes: 200_000, ..Config::new(dir) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let answers = stack(&recorder, echo_len);
    let streams = stack(&recorder, |_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for n in 0.. {
                if sender.send(Ok(format!("data: {n} {}\n\n", "token ".repeat(40)).into())).is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Response::new(body)
    });
    runtime.block_on(async {
        for n in 0..4 {
            let streams = streams.clone();
            tokio::spawn(async move {
                let response = streams.oneshot(request(&format!("stream-{n}"), "go")).await.unwrap();
                say("stream", rig::id_of(&response));
                http_body_util::BodyExt::collect(response.into_body()).await.map(drop).unwrap();
            });
        }
        for n in 0..8 {
            let answers = answers.clone();
            tokio::spawn(async move {
                loop {
                    let (id, ..) = send(&answers, request(&format!("caller-{n}"), "x".repeat(3000))).await;
                    say("answer", id);
                }
            });
        }
        std::future::pending::<()>().await;
    });
}

fn say(what: &str, id: RequestId) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id}").unwrap();
    out.flush().unwrap();
}

/// Runs the child until it is at work and something has happened, kills it without warning, and returns what it
/// acknowledged.
fn kill_under_load(dir: &Path, happens: impl FnOnce()) -> Vec<(String, RequestId)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("RECORDER_TEST_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let (at_work, works) = std::sync::mpsc::sync_channel(1);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in lines.lines().map_while(Result::ok) {
            let Some((what, id)) = line.split_once(' ') else { continue };
            let Ok(id) = id.parse() else { continue };
            said.push((what.to_owned(), id));
            if said.len() == 10 {
                at_work.send(()).unwrap();
            }
        }
        said
    });
    works.recv_timeout(Duration::from_secs(60)).expect("the child answers requests");
    happens();
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// A load, `kill -9` at a random moment, restart, verify; the same log for 20 times, then another.
fn crash(loops: usize) {
    let mut dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut interrupted) = (0, 0);
    for round in 0..loops {
        if round % 20 == 0 {
            dir = tempfile::tempdir().unwrap();
        }
        let after =
            Duration::from_millis((std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros() % 400).into());
        let said = kill_under_load(dir.path(), || std::thread::sleep(after));
        acknowledged += said.len();
        interrupted += restart_and_verify(dir.path(), &said, round);
    }
    assert!(interrupted > 0, "some requests were open when the process died");
    eprintln!("{loops} crashes, {acknowledged} acknowledged, {interrupted} closed as interrupted");
}

/// Returns how many of what was acknowledged were closed as interrupted.
fn restart_and_verify(dir: &Path, said: &[(String, RequestId)], round: usize) -> usize {
    let recorder = open(dir);
    let reader = Reader::open(dir).unwrap();
    let mut interrupted = 0;
    for (n, (what, id)) in said.iter().enumerate() {
        let bundle = reader.show(*id).unwrap_or_else(|e| panic!("{what} {id} was acknowledged: {e}"));
        let ending = bundle.summary.ending;
        interrupted += usize::from(ending == "interrupted");
        match what.as_str() {
            "stream" => assert_eq!(ending, "interrupted"),
            // The answer was out; the outcome may or may not have been written.
            _ => assert!(["complete", "interrupted"].contains(&ending), "{ending}"),
        }
        if what == "stream" || n % 50 == 0 {
            let replay = reader.replay(*id).unwrap();
            let text: Vec<u8> = replay.response.iter().flat_map(|f| f.bytes.clone()).collect();
            // Blocks go out as they fill up; what was written is there, in order, from the start.
            let start: &[u8] = if what == "stream" { b"data: 0 token" } else { b"{" };
            assert!(text.is_empty() || text.starts_with(start), "{what} {id} has another start");
        }
    }
    let open = reader.list(&Filter { limit: 100_000, ..Filter::default() }).unwrap();
    assert!(open.iter().all(|s| s.ending != "open"));
    recorder.close();
    let report = verify(dir, &Options::default()).unwrap();
    assert!(report.is_intact(), "round {round}: {report}");
    assert_eq!(report.signed, report.entries);
    interrupted
}

#[test]
fn a_killed_process_loses_nothing_that_it_acknowledged() {
    crash(20);
}

#[test]
#[ignore = "torture: 200 crashes, minutes"]
fn torture_a_killed_process_loses_nothing_that_it_acknowledged() {
    crash(200);
}

#[test]
fn what_was_written_of_a_stream_survives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let kept = |reader: &Reader, id: RequestId| -> Vec<u8> {
        reader.replay(id).unwrap().response.iter().flat_map(|f| f.bytes.clone()).collect()
    };
    let long = || {
        let reader = Reader::open(dir.path()).unwrap();
        let sessions = reader.list(&Filter { limit: 100_000, ..Filter::default() }).unwrap();
        let streams =
            sessions.iter().filter(|s| s.subject.as_deref().is_some_and(|name| name.starts_with("stream")));
        streams.filter(|s| kept(&reader, s.id).len() > 12_000).count()
    };
    let said = kill_under_load(dir.path(), || {
        let deadline = Instant::now() + Duration::from_secs(60);
        while long() < 4 {
            assert!(Instant::now() < deadline, "nothing of a stream is written before it ends");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    open(dir.path()).close();
    let reader = Reader::open(dir.path()).unwrap();
    let streams: Vec<_> = said.iter().filter(|(what, _)| what == "stream").collect();
    assert_eq!(streams.len(), 4);
    for (_, id) in streams {
        let text = kept(&reader, *id);
        assert!(text.starts_with(b"data: 0 token"), "the start of the stream is there");
        assert!(text.len() > 12_000, "only {} bytes of the stream were kept", text.len());
    }
}

#[tokio::test]
async fn a_clean_end_leaves_nothing_to_mend() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    let (id, ..) = send(&stack, request("alice", "x")).await;
    drop((recorder, stack));
    let before = std::fs::read_to_string(dir.path().join("checkpoint")).unwrap();
    let recorder = open(dir.path());
    let after = recorder.checkpoint();
    let size = |note: &str| note.lines().nth(1).unwrap().parse::<u64>().unwrap();
    assert_eq!(size(&after), size(&before) + 1, "one entry: the start");
    assert_eq!(Reader::open(dir.path()).unwrap().replay(id).unwrap().response[0].bytes, b"hello");
}

#[tokio::test]
async fn a_changed_log_is_not_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    send(&stack, request("alice", "x")).await;
    drop((recorder, stack));
    let database = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    database
        .execute(
            "UPDATE leaves SET data = CAST(substr(data, 1, 12) || x'00' || substr(data, 14) AS BLOB) WHERE idx = 3",
            [],
        )
        .unwrap();
    drop(database);
    let again = Recorder::open(rig::config(dir.path()), Arc::new(SystemClock));
    assert!(matches!(again, Err(gatewayd_recorder::Error::Damaged(_))), "{again:?}");
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_not_continued() {
    let dir = tempfile::tempdir().unwrap();
    let durable = || Config { reserve_bytes: 4096, ..Config::new(dir.path()) };
    let recorder = Recorder::open(durable(), Arc::new(SystemClock)).unwrap();
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    drop(recorder.clone());
    send(&stack, request("alice", "x")).await;
    drop((recorder, stack));
    let database = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    database
        .execute_batch("DELETE FROM leaves WHERE idx > 3; DELETE FROM checkpoints; DELETE FROM sessions")
        .unwrap();
    drop(database);
    let again = Recorder::open(durable(), Arc::new(SystemClock));
    assert!(matches!(again, Err(gatewayd_recorder::Error::RolledBack { size: 4, .. })), "{again:?}");
}

/// What a loss of power may do where `durability = "process"` was chosen.
#[tokio::test]
async fn entries_lost_with_the_power_leave_a_declared_gap() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::from("hello")) });
    send(&stack, request("alice", "x")).await;
    recorder.close();
    let published = recorder.checkpoint().to_string();
    drop((recorder, stack));
    let database = rusqlite::Connection::open(dir.path().join("evidence.db")).unwrap();
    database
        .execute_batch("DELETE FROM leaves WHERE idx > 2; DELETE FROM checkpoints; DELETE FROM sessions")
        .unwrap();
    drop(database);
    open(dir.path()).close();
    let check =
        |pinned| verify(dir.path(), &Options { pinned, bodies: false, ..Options::default() }).unwrap();
    let report = check(None);
    assert!(report.is_intact(), "{report}");
    assert!(report.unproven.iter().any(|what| what.contains("lost with the power")), "{report}");
    let report = check(Some(published));
    assert_eq!(report.exit_code(), 11, "the pin shows it as what it is: {report}");
}
