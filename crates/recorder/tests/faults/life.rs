//! One life of a log, in a process of its own: requests of all kinds, erasure, holds, retention, another root key.
//! What does not work is tried again, as the fault passes. Each step that was acknowledged is said.

use std::cell::Cell;
use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewayd_core::{Body, Event, EventKind, Journal as _, RequestId, SystemClock, Timestamp, Trail};
use gatewayd_recorder::{Config, Error, Recorder, Target};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::rig::{self, Stack, channel, echo_len, identity, request, stack, with};

/// How long a step is tried. The recorder tries to write again each quarter of a second, on a machine that is not busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn config(dir: &Path) -> Config {
    Config {
        reserve_bytes: 4096,
        segment_bytes: 20_000,
        keep_bytes: Some(60_000),
        checkpoint_every: Duration::from_millis(20),
        ..Config::new(dir)
    }
}

pub fn live(dir: &Path) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let recorder = opened(dir);
    say("opened", "", "");
    let stack = stack(&recorder, answer);
    let first = ask(&runtime, &stack, || request("alice", "x".repeat(500)));
    ask(&runtime, &stack, || with(request("alice", "train"), "x-action", "train"));
    // What was forwarded has used its approval up, also where the answer broke off: each try has its own.
    let tries = Cell::new(0);
    ask(&runtime, &stack, || {
        tries.set(tries.get() + 1);
        let train = with(request("bob", "y"), "x-action", "train");
        with(train, "x-claim", &format!("approval-{}", tries.get()))
    });
    let refused = runtime.block_on(rig::send(&stack, with(request("mallory", "no"), "x-refuse", "1")));
    say("answered", refused.0, refused.1);
    let kept = ask(&runtime, &stack, || with(request("carol", "z"), "x-stream", "1"));
    tried("event", || {
        let (kind, actor, outcome) = (EventKind::ApprovalVote, Some(identity("lead")), "approve".into());
        let vote = Event { kind, actor, object: "approval-1".into(), outcome, request: Some(first) };
        runtime.block_on(recorder.record(vote))
    });
    say("event", "", "");
    let held = tried("hold", || recorder.hold(&Target::Session(kept), None, "case 7"));
    tried("release", || match recorder.release(held, Some(&identity("lead")), "settled") {
        // It was written although its sync failed.
        Err(Error::NoSession(_)) => Ok(()),
        other => other,
    });
    tried("erase", || match recorder.erase(&Target::Session(first), Some(&identity("dpo")), "asked for") {
        Err(Error::Erased(_)) => Ok(1),
        other => other,
    });
    say("erased", first, "");
    for _ in 0..3 {
        ask(&runtime, &stack, || with(request("carol", "z"), "x-stream", "1"));
    }
    tried("sweep", || recorder.sweep());
    // A stream that is open when the recorder stops.
    let endless = rig::stack(&recorder, |_| async {
        let (sender, body) = channel();
        std::mem::forget(sender);
        Response::new(body)
    });
    let left_open = runtime.block_on(endless.oneshot(request("dave", "go"))).unwrap();
    recorder.close();
    drop((recorder, stack, left_open));
    tried("rotate", || gatewayd_recorder::rotate_root(&config(dir), Timestamp(1)));
    let recorder = opened(dir);
    let stack = rig::stack(&recorder, answer);
    ask(&runtime, &stack, || request("alice", "after all"));
    recorder.close();
    say("finished", "", "");
    std::process::exit(0);
}

pub fn say(what: &str, id: impl Display, number: impl Display) {
    std::io::stderr().write_all(format!("{what} {id} {number}\n").as_bytes()).unwrap();
}

fn opened(dir: &Path) -> Recorder {
    tried("open", || Recorder::open(config(dir), Arc::new(SystemClock)))
}

/// Tries something until it works.
fn tried<T, E: Display>(what: &str, mut step: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match step() {
            Ok(done) => return done,
            Err(error) if began.elapsed() > PATIENCE => {
                say("stuck", what, error);
                std::process::exit(3);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Asks until the whole answer is there.
fn ask(runtime: &Runtime, stack: &Stack, make: impl Fn() -> Request<Body>) -> RequestId {
    tried("ask", || {
        runtime.block_on(async {
            let response = stack.clone().oneshot(make()).await.unwrap();
            let (id, status) = (rig::id_of(&response), response.status().as_u16());
            let whole = response.into_body().collect().await.is_ok();
            match (status, whole) {
                (200, true) => say("answered", id, status),
                (200, false) | (503, _) => say("refused", id, status),
                _ => say("odd", id, status),
            }
            if status == 200 && whole { Ok(id) } else { Err(format!("{id}: {status}")) }
        })
    })
}

/// What is behind the gateway.
async fn answer(request: Request<Body>) -> Response<Body> {
    let id = request.extensions().get::<Trail>().unwrap().id();
    say(if request.headers().contains_key("x-action") { "trained" } else { "forwarded" }, id, 0);
    if !request.headers().contains_key("x-stream") {
        return echo_len(request).await;
    }
    let (sender, body) = channel();
    // Bytes that do not get smaller: each answer fills a segment.
    let mut state = 1_u64;
    for _ in 0..3 {
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()
        });
        let frame: Vec<u8> = noise.take(1000).flatten().collect();
        sender.send(Ok(frame.into())).unwrap();
    }
    Response::new(body)
}
