//! When the disk takes no more: nothing passes unrecorded, and it goes on by itself once there is room.
//!
//! A child process runs under a limit on the size of files, which the parent lifts later; a small file
//! system gets really full. What happens when single calls fail is in `tests/faults`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod rig;

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatewayd_core::{Body, RequestId, SystemClock, Trail};
use gatewayd_recorder::verify::{Options, Report, verify};
use gatewayd_recorder::{Config, Reader, Recorder};
use http::Request;
use http_body_util::BodyExt as _;
use rig::{channel, echo_len, request, send, stack, with};
use tower::ServiceExt as _;

#[test]
#[ignore = "started by the tests below, in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var("RECORDER_TEST_DIR") else { return };
    let config = Config { reserve_bytes: 4096, ..Config::new(dir) };
    let Ok(recorder) = Recorder::open(config, Arc::new(SystemClock)) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stack = stack(&recorder, |request: Request<Body>| async move {
        let trained = request.headers().contains_key("x-action");
        say(
            if trained { "trained" } else { "forwarded" },
            request.extensions().get::<Trail>().unwrap().id(),
            0,
        );
        echo_len(request).await
    });
    runtime.block_on(async {
        for n in 0.. {
            let mut request = request("alice", "x".repeat(500));
            if n % 2 == 0 {
                request = with(request, "x-action", "train");
            }
            let response = stack.clone().oneshot(request).await.unwrap();
            let (id, status) = (rig::id_of(&response), response.status().as_u16());
            // A body that cannot be recorded breaks off: then the answer was not seen.
            let whole = response.into_body().collect().await.is_ok();
            say("answered", id, if whole { status } else { 0 });
            if status != 200 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

fn say(what: &str, id: RequestId, number: u16) {
    let line = format!("{what} {id} {number}\n");
    // The injected errors strike here, too.
    while std::io::stderr().write_all(line.as_bytes()).is_err() {}
}

/// What a child said.
#[derive(Default)]
struct Said {
    forwarded: Vec<RequestId>,
    trained: Vec<RequestId>,
    answered: Vec<RequestId>,
    refused: usize,
    again: usize,
}

impl Said {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (what, id, number) = (words.next(), words.next().and_then(|id| id.parse().ok()), words.next());
        let (Some(what), Some(id), Some(number)) = (what, id, number) else { return };
        match (what, number) {
            ("trained", _) => {
                self.forwarded.push(id);
                self.trained.push(id);
            }
            ("forwarded", _) => self.forwarded.push(id),
            ("answered", "200") => {
                self.answered.push(id);
                self.again += usize::from(self.refused > 0);
            }
            _ => self.refused += 1,
        }
    }

    /// Opens the log as it was left, and looks whether all that must be there is.
    fn check(&self, dir: &Path, what: &str) -> Report {
        let recorder = rig::open(dir);
        let reader = Reader::open(dir).unwrap();
        for id in &self.answered {
            reader.show(*id).unwrap_or_else(|e| panic!("{what}: {id} was answered: {e}"));
        }
        for id in &self.trained {
            reader.show(*id).unwrap_or_else(|e| panic!("{what}: {id} was forwarded with side effects: {e}"));
        }
        recorder.close();
        let report = verify(dir, &Options::default()).unwrap();
        assert!(report.is_intact(), "{what}: {report}");
        assert_eq!(report.entries, report.signed);
        report
    }
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
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Said::default();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        said.line(&line);
        if said.refused == 20 && said.again == 0 {
            let pid = child.id().to_string();
            let lifted = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
            assert!(lifted.unwrap().success());
        }
        if said.again == 20 || said.refused > 2000 {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        said.answered.len() > 20 && said.refused >= 20,
        "{} answered, {} refused",
        said.answered.len(),
        said.refused
    );
    assert!(said.again >= 20, "it went on by itself once there was room");
    let known: HashSet<_> = said.answered.iter().collect();
    let unanswered = said.forwarded.iter().filter(|id| !known.contains(id)).count();
    assert!(
        unanswered <= 3,
        "{unanswered} were forwarded although it was known that nothing can be recorded"
    );
    let report = said.check(dir.path(), "full disk");
    assert!(report.unproven.iter().any(|what| what.contains("declared gaps")), "{report}");
}

/// A file system of its own in memory, which really gets full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` without the right to mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "gatewayd-test"]).arg(dir.path());
        let mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then(|| Self(dir))
    }

    fn free(&self) -> u64 {
        let df = Command::new("df").args(["--output=avail", "-B1"]).arg(self.0.path()).output().unwrap();
        String::from_utf8(df.stdout).unwrap().lines().nth(1).unwrap().trim().parse().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached at once, gone when the last file is closed.
        let _left_for_the_system_if_it_fails = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_really_full_disk_lets_nothing_pass_and_open_requests_are_closed() {
    let Some(disk) = SmallDisk::mount("4m") else {
        eprintln!("SKIPPED: filling a real disk needs the right to mount a tmpfs (root)");
        return;
    };
    let (dir, ballast) = (disk.0.path().join("evidence"), disk.0.path().join("ballast"));
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let config = Config { reserve_bytes: 512 << 10, ..Config::new(&dir) };
    let recorder = Recorder::open(config, Arc::new(SystemClock)).unwrap();
    let forwarded = Arc::new(Mutex::new(Vec::new()));
    let (streams, stream) = tokio::sync::mpsc::unbounded_channel();
    let noted = Arc::clone(&forwarded);
    let stack = stack(&recorder, move |request: Request<Body>| {
        let (noted, streams) = (Arc::clone(&noted), streams.clone());
        async move {
            noted.lock().unwrap().push(request.extensions().get::<Trail>().unwrap().id());
            if request.headers().contains_key("x-stream") {
                let (sender, body) = channel();
                streams.send(sender).unwrap();
                return http::Response::new(body);
            }
            echo_len(request).await
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let refused = runtime.block_on(fill_and_free(&disk, &ballast, &dir, &stack, &forwarded, stream));
    recorder.close();
    let report = verify(&dir, &Options::default()).unwrap();
    assert!(report.is_intact(), "{report}");
    assert_eq!(report.entries, report.signed);
    assert_eq!(refused.len(), REFUSED);
    let reader = Reader::open(&dir).unwrap();
    let recorded = refused.iter().filter(|id| reader.show(**id).is_ok()).count() as u64;
    assert!(recorded + report.missing >= REFUSED as u64, "{recorded} of {REFUSED} are on record; {report}");
}

/// So many refusals show that the disk is full.
const REFUSED: usize = 20;

type Streams =
    tokio::sync::mpsc::UnboundedReceiver<tokio::sync::mpsc::UnboundedSender<Result<bytes::Bytes, String>>>;

async fn fill_and_free(
    disk: &SmallDisk,
    ballast: &Path,
    dir: &Path,
    stack: &rig::Stack,
    forwarded: &Mutex<Vec<RequestId>>,
    mut streams: Streams,
) -> Vec<RequestId> {
    // A stream that is open while the disk fills.
    let response = stack.clone().oneshot(with(request("bob", "go"), "x-stream", "1")).await.unwrap();
    let open = rig::id_of(&response);
    let sender = streams.recv().await.unwrap();
    sender.send(Ok("data: 1\n\n".into())).unwrap();
    let train = |n: usize| with(request("alice", format!("{n} ").repeat(500)), "x-action", "train");
    let mut refused = Vec::new();
    for n in 0.. {
        let answer = stack.clone().oneshot(train(n)).await.unwrap();
        let (id, status) = (rig::id_of(&answer), answer.status());
        let passed = forwarded.lock().unwrap().contains(&id);
        let _broken_off_if_it_cannot_be_recorded = answer.into_body().collect().await;
        if status == 503 {
            assert!(!passed, "a request with side effects was forwarded and answered with 503");
            refused.push(id);
        }
        if refused.len() == REFUSED {
            break;
        }
    }
    // Until the caller of the stream leaves, its outcome can only be written into the reserve.
    drop((sender, response));
    let reader = Reader::open(dir).unwrap();
    let ending = |id| reader.show(id).map(|bundle| bundle.summary.ending);
    rig::until("the stream is closed", || ending(open).unwrap() != "open").await;
    assert!(disk.free() < 512 << 10, "{} bytes are free", disk.free());
    for id in std::mem::take(&mut *forwarded.lock().unwrap()) {
        let ending = ending(id).unwrap_or_else(|e| panic!("{id} was forwarded: {e}"));
        assert_ne!(ending, "open", "{id}");
    }
    assert_eq!(send(stack, train(0)).await.1, 503, "still full");
    assert!(forwarded.lock().unwrap().is_empty());
    std::fs::remove_file(ballast).unwrap();
    let began = std::time::Instant::now();
    while send(stack, train(0)).await.1 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on once there is room");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    refused
}
