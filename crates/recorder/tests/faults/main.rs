//! Each call that changes a file fails, writes a part, or is the last one: nothing acknowledged is lost, nothing
//! with side effects is forwarded that the log does not have, and the log that is left verifies. What else was asked is
//! on record, or is among the number that the log declares as missing. Only where the process is killed (`kill -9`) may
//! that number lack what could not be written yet: there nothing is asserted of it.
//!
//! A child process plays one life of a log (`life`), with `shim.c` preloaded, which strikes one call. The
//! strike is tried at a few places of each kind in `make test`, at every place in `make torture`.
#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

#[path = "../rig/mod.rs"]
mod rig;

mod life;
mod run;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use run::{Shim, Strike};

/// The calls that `shim.c` knows, and what can become of each.
const CALLS: [(&str, &[&str]); 7] = [
    ("write", &["EIO", "ENOSPC", "short", "torn", "kill", "tornkill"]),
    ("pwrite", &["EIO", "ENOSPC", "short", "torn", "kill", "tornkill"]),
    ("sync", &["EIO", "ENOSPC", "kill"]),
    ("rename", &["EIO", "ENOSPC", "kill"]),
    ("truncate", &["EIO", "ENOSPC", "kill"]),
    ("create", &["EIO", "ENOSPC", "kill"]),
    ("unlink", &["EIO", "ENOSPC", "kill"]),
];

#[test]
#[ignore = "started by the tests below, in a process of its own"]
fn child() {
    if let Ok(dir) = std::env::var("RECORDER_TEST_DIR") {
        life::live(std::path::Path::new(&dir));
    }
}

#[test]
fn a_failing_disk_loses_nothing_acknowledged() {
    let Some(shim) = Shim::build() else { return };
    // A place of each kind, another one in each run; `RECORDER_SEED` repeats a run.
    let clock = || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_micros());
    let seed = std::env::var("RECORDER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(clock);
    eprintln!("RECORDER_SEED={seed}");
    strike_all(&shim, |counts| {
        CALLS
            .iter()
            .flat_map(|(call, kinds)| kinds.iter().map(move |kind| (*call, *kind)))
            .enumerate()
            .map(|(n, (call, kind))| {
                let first = 1 + seed.wrapping_mul(n as u64 * 2 + 1) % counts[call];
                Strike { call, kind, first, times: 1 + first % 3 }
            })
            .collect()
    });
}

#[test]
#[ignore = "torture: every call of a life fails in every way, many minutes"]
fn torture_every_call_fails_in_every_way() {
    let Some(shim) = Shim::build() else { return };
    strike_all(&shim, |counts| {
        let mut strikes = Vec::new();
        for (call, kinds) in CALLS {
            for first in 1..=counts[call] {
                strikes.extend(kinds.iter().map(|kind| Strike { call, kind, first, times: 1 + first % 3 }));
            }
        }
        strikes
    });
}

/// Runs the lives on all processors; each with its own directory.
fn strike_all(shim: &Shim, choose: impl Fn(&BTreeMap<String, u64>) -> Vec<Strike>) {
    let began = std::time::Instant::now();
    let strikes = choose(&shim.count());
    let (next, struck, declared) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(strike) = strikes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match shim.try_life(strike) {
                        Ok(outcome) => {
                            struck.fetch_add(usize::from(outcome.struck), Ordering::Relaxed);
                            declared.fetch_add(outcome.declared, Ordering::Relaxed);
                        }
                        Err(why) => failed.lock().unwrap().push(format!("{strike:?}: {why}")),
                    }
                }
            });
        }
    });
    let (struck, failed) = (struck.into_inner(), failed.into_inner().unwrap());
    eprintln!(
        "{} lives, {struck} struck, {} refused requests that the log does not name, in {:.1} s",
        strikes.len(),
        declared.into_inner(),
        began.elapsed().as_secs_f64()
    );
    assert!(failed.is_empty(), "{} of {} lives:\n{}", failed.len(), strikes.len(), failed.join("\n"));
    // The last calls of a life are not always made: how many checkpoints there are is a matter of time.
    assert!(struck * 10 >= strikes.len() * 8, "only {struck} of {} faults struck", strikes.len());
}
