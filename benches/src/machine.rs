//! What is measured on: the processor, how busy it is, how long its disk takes to sync.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit};
use serde::Serialize;

use crate::stats::{Samples, Summary};

/// The machine, as it was when the run began.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many cores the run may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Processes that wanted to run in the minute before; well above 0 means that others disturb the figures.
    pub load_before: f64,
    /// Time to append 4 KiB to a file and sync it, in microseconds, where the evidence is written.
    pub sync: Summary,
}

impl Machine {
    /// Looks, and measures the sync time in this folder.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn look(folder: &Path) -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let name =
            cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|first| first.parse().ok());
        Ok(Self {
            processor: name.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load.unwrap_or_default(),
            sync: sync_time(folder)?,
        })
    }
}

fn sync_time(folder: &Path) -> anyhow::Result<Summary> {
    let path = folder.join("sync-time");
    let mut file = File::create(&path).with_context(|| format!("cannot write to {}", folder.display()))?;
    let mut samples = Samples::default();
    for _ in 0..200 {
        let started = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        samples.add(started.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(samples.summary())
}

/// Lets this process and its children open as many files as the machine allows; gives the limit.
#[must_use]
pub fn raise_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _kept_as_it_is = rustix::process::setrlimit(Resource::Nofile, raised);
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
