//! When the disk takes no more: nothing passes unrecorded, and it goes on by itself once there is room.
//!
//! A child process runs under a limit on the size of files, which the parent lifts later.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{Body, RequestId, SystemClock, Trail};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{Config, Reader, Recorder};
use http::Request;
use rig::{echo_len, request, send, stack, with};

#[test]
#[ignore = "started by the test below, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var("RECORDER_TEST_DIR") else { return };
    let config = Config { reserve_bytes: 4096, ..Config::new(dir) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stack = stack(&recorder, |request: Request<Body>| async move {
        say("forwarded", request.extensions().get::<Trail>().unwrap().id(), request.headers().len());
        echo_len(request).await
    });
    runtime.block_on(async {
        for n in 0.. {
            let mut request = request("alice", "x".repeat(500));
            if n % 2 == 0 {
                request = with(request, "x-action", "train");
            }
            let (id, status, _) = send(&stack, request).await;
            say("answered", id, usize::from(status));
            if status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

fn say(what: &str, id: RequestId, number: usize) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id} {number}").unwrap();
    out.flush().unwrap();
}

#[test]
fn a_full_disk_lets_nothing_pass_unrecorded() {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let limited = "trap '' XFSZ; ulimit -S -f 400; exec \"$0\" child --exact --ignored --nocapture";
    let mut child = Command::new("bash")
        .args(["-c", limited])
        .arg(program)
        .env("RECORDER_TEST_DIR", dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut forwarded, mut answered, mut trained) = (Vec::new(), Vec::new(), Vec::new());
    let (mut refused, mut again) = (0, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        let mut words = line.split(' ');
        let (what, id, number) =
            (words.next(), words.next().and_then(|id| id.parse::<RequestId>().ok()), words.next());
        let (Some(what), Some(id), Some(number)) = (what, id, number) else { continue };
        match (what, number) {
            ("forwarded", headers) => {
                forwarded.push(id);
                // Only those with side effects carry a second header.
                if headers == "2" {
                    trained.push(id);
                }
            }
            ("answered", "200") => {
                answered.push(id);
                again += i32::from(refused > 0);
            }
            _ => refused += 1,
        }
        if refused == 20 && again == 0 {
            let pid = child.id().to_string();
            let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
            assert!(lifted.unwrap().success());
        }
        if again == 20 || refused > 2000 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answered.len() > 20 && refused >= 20, "{} answered, {refused} refused", answered.len());
    assert!(again >= 20, "it went on by itself once there was room");

    let recorder = rig::open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    for id in &answered {
        reader.show(*id).unwrap_or_else(|e| panic!("{id} was answered: {e}"));
    }
    for id in &trained {
        reader.show(*id).unwrap_or_else(|e| panic!("{id} was forwarded with side effects: {e}"));
    }
    let known: HashSet<_> = answered.iter().collect();
    let unanswered = forwarded.iter().filter(|id| !known.contains(id)).count();
    assert!(
        unanswered <= 3,
        "{unanswered} were forwarded although it was known that nothing can be recorded"
    );
    recorder.close();
    let report = verify(dir.path(), &Options::default()).unwrap();
    assert!(report.is_intact(), "{report}");
    assert!(report.unproven.iter().any(|what| what.contains("declared gaps")), "{report}");
}
