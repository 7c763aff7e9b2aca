//! `stack-bench`: what the gateway adds, measured in one run on one machine. The tour is in `lib.rs`.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use gatewayd_benches::machine::{self, Machine};
use gatewayd_benches::plan::{self, Effort, Phase};
use gatewayd_benches::report::Report;
use gatewayd_benches::target::{Kind, Targets};
use gatewayd_benches::upstream;
use tokio::signal::unix::{SignalKind, signal};

/// The gateway's own allocator, so that its proxy alone is measured with the same.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what gatewayd adds to requests, streams and memory, against the same load sent straight to the upstream.
#[derive(Debug, Parser)]
#[command(name = "stack-bench", version)]
struct Cli {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Args)]
struct Run {
    /// Shorter rounds: under one minute instead of under eight.
    #[arg(long)]
    quick: bool,
    /// Also write the figures of every round to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The gateway's binary; by default the one beside this program.
    #[arg(long)]
    gatewayd: Option<PathBuf>,
    /// Where evidence and logs are written: a folder on a real disk; by default beside this program.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Measure only these beside direct, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Nginx, Kind::Bare, Kind::Process, Kind::Disk])]
    targets: Vec<Kind>,
    /// Only these kinds of load, separated by commas; with a profiler, say.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Phase::ALL)]
    loads: Vec<Phase>,
    /// Leave out the open streams.
    #[arg(long)]
    no_open: bool,
}

/// The parts that a run starts as processes of their own.
#[derive(Debug, Subcommand)]
enum Part {
    /// The zero-delay upstream.
    #[command(hide = true)]
    Upstream {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        key: String,
    },
    /// The gateway's proxy alone.
    #[command(hide = true)]
    Bare {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        upstream: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match cli.part {
        Some(Part::Upstream { listen, key }) => runtime.block_on(async {
            upstream::serve(tokio::net::TcpListener::bind(listen).await?, &key).await;
            Ok(())
        }),
        Some(Part::Bare { listen, upstream }) => gatewayd_benches::bare::serve(listen, upstream),
        None => runtime.block_on(async {
            tokio::select! {
                outcome = run(cli.run) => outcome,
                stopped = told_to_stop() => stopped.and_then(|()| anyhow::bail!("stopped before the end")),
            }
        }),
    }
}

/// Waits for SIGTERM or SIGINT; what was started ends with the run that is dropped then.
async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn run(run: Run) -> anyhow::Result<()> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("this program has no folder")?;
    let gatewayd = run.gatewayd.unwrap_or_else(|| beside.join("gatewayd"));
    let folder = run.folder.as_deref().unwrap_or(beside).join("stack-bench-data");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let effort = if run.quick { Effort::QUICK } else { Effort::FULL };
    let limit = machine::raise_file_limit();
    let machine = Machine::look(&folder)?;
    let mut targets = Targets::start(&folder, &gatewayd, &run.targets).await?;
    let rounds = plan::rounds(&targets.targets, &run.loads, effort).await?;
    let most = plan::OPEN.iter().max().copied().unwrap_or_default() as u64;
    let opens = if run.no_open {
        plan::Opens::new()
    } else if limit < 2 * most + 200 {
        targets.notes.push(format!(
            "only {limit} open files are allowed, too few for {most} streams: they were left out"
        ));
        plan::Opens::new()
    } else {
        plan::open_streams(&mut targets.targets, effort).await?
    };
    let report = Report { machine, effort, notes: std::mem::take(&mut targets.notes), rounds, opens };
    drop(targets);
    if let Some(path) = run.json {
        std::fs::write(&path, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    std::io::stdout().write_all(report.markdown().as_bytes())?;
    std::fs::remove_dir_all(&folder)?;
    let (failures, why) = report.failures();
    anyhow::ensure!(failures == 0, "{failures} answers were wrong or missing: {}", why.unwrap_or_default());
    Ok(())
}
