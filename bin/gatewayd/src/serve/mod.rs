//! `gatewayd serve`: from a configuration to a running gateway, and back to rest.

mod connection;
pub(crate) mod controls;
pub(crate) mod drain;
pub(crate) mod gateway;
pub(crate) mod head_limit;
pub(crate) mod lasting;
mod listen;
mod redact;
mod reload;
pub(crate) mod strangers;
pub(crate) mod worker;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gatewayd_masker::KnownSecrets;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Tls};
use crate::tls::ReloadingCertificate;
use crate::{admin, telemetry};
use gateway::Gateway;
use worker::ConnectionLimits;

/// How long the admin listener and the last writes may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs the gateway until it is told to stop (SIGTERM, SIGINT).
pub(crate) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let known = KnownSecrets::new();
    let config = Config::load_with(file, &known)?;
    telemetry::init(config.log.format, &config.log.filter)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gatewayd-main")
        .enable_all()
        .build()?;
    runtime.block_on(serve(file, config, known))?;
    runtime.shutdown_timeout(LAST_WORDS);
    Ok(ExitCode::SUCCESS)
}

async fn serve(file: &Path, config: Config, known: KnownSecrets) -> anyhow::Result<()> {
    // Before anybody can see that it runs: a signal that nobody receives ends the process on the spot.
    let hang_up = signal(SignalKind::hangup()).context("receiving SIGHUP")?;
    let stop = Stop::listen().context("receiving SIGTERM and SIGINT")?;
    let gateway = Gateway::open(file, config, known)?;
    let config = Arc::clone(&gateway.controls()).config.clone();
    // Ports first: a second gateway must fail before it touches anything.
    let data_listener = listen::bind(config.listen.address)?;
    let admin_listener = listen::bind(config.admin.address)?;
    let data_tls = load_tls(config.listen.tls.as_ref())?;
    let admin_tls = load_tls(config.admin.tls.as_ref())?;

    let stop_accepting = CancellationToken::new();
    let (senders, workers) = start_workers(&gateway)?;
    let acceptor = data_tls.as_ref().map(ReloadingCertificate::acceptor).transpose()?;
    let accepting = tokio::spawn(listen::accept(
        data_listener,
        acceptor,
        config.limits.connections,
        senders,
        stop_accepting.clone(),
    ));
    let stop_admin = CancellationToken::new();
    let admin_acceptor = admin_tls.as_ref().map(ReloadingCertificate::acceptor).transpose()?;
    let admin =
        tokio::spawn(admin::serve(admin_listener, admin_acceptor, gateway.clone(), stop_admin.clone()));
    for certificate in [data_tls, admin_tls].into_iter().flatten() {
        tokio::spawn(certificate.watch());
    }
    gateway.start_maintenance().await;
    let reloading = tokio::spawn(reload::watch(gateway.clone(), hang_up));
    tracing::info!(
        address = %config.listen.address,
        admin = %config.admin.address,
        workers = workers.len(),
        "ready for requests"
    );

    stop.told().await;
    tracing::info!("stopping: no new connections; open requests are drained");
    gateway.begin_shutdown();
    stop_accepting.cancel();
    let _its_channels_are_closed = accepting.await;
    reloading.abort();
    tokio::task::spawn_blocking(move || {
        for worker in workers {
            let _a_panic_was_logged = worker.join();
        }
    })
    .await
    .context("waiting for the workers")?;
    stop_admin.cancel();
    let _late_readers_are_cut = tokio::time::timeout(LAST_WORDS, admin).await;
    gateway.close().await;
    tracing::info!("stopped");
    Ok(())
}

fn load_tls(tls: Option<&Tls>) -> anyhow::Result<Option<Arc<ReloadingCertificate>>> {
    tls.map(|tls| ReloadingCertificate::load(&tls.certificate, &tls.key)).transpose()
}

type Workers = (Vec<mpsc::UnboundedSender<listen::Accepted>>, Vec<std::thread::JoinHandle<()>>);

fn start_workers(gateway: &Gateway) -> anyhow::Result<Workers> {
    let limits = gateway.controls().config.limits;
    let limits =
        ConnectionLimits { headers: limits.headers, head_timeout: limits.head_timeout, drain: limits.drain };
    let unreadable = gateway.on_unreadable();
    let mut senders = Vec::new();
    let mut threads = Vec::new();
    for (number, stack) in gateway.stacks().iter().enumerate() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (stack, cut, unreadable) = (Arc::clone(stack), gateway.cut(), Arc::clone(&unreadable));
        let thread = std::thread::Builder::new().name(format!("gatewayd-{number}")).spawn(move || {
            if let Err(error) = worker::run(receiver, &stack, limits, &cut, &unreadable) {
                tracing::error!(%error, "a worker could not start");
            }
        })?;
        senders.push(sender);
        threads.push(thread);
    }
    Ok((senders, threads))
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them; one that came since [`Stop::listen`] counts.
    async fn told(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
