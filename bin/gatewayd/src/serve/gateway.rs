//! The running gateway: the controls in force, and how others replace them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use gatewayd_core::{Event, EventKind, Identity, Journal as _, Peer, Redact as _};
use gatewayd_masker::KnownSecrets;
use gatewayd_recorder::Recorder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::connection::OnUnreadable;
use super::controls::Controls;
use super::lasting::Lasting;
use super::strangers;
use super::worker::{CurrentStack, Stack};
use crate::config::Config;
use crate::stack;

/// How often retention is looked after.
const RETENTION_EACH: std::time::Duration = std::time::Duration::from_secs(3600);

/// The running gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Inner>);

struct Inner {
    file: PathBuf,
    lasting: Lasting,
    controls: Arc<ArcSwap<Controls>>,
    stacks: Vec<CurrentStack>,
    cut: CancellationToken,
    stopping: CancellationToken,
    /// What keeps the controls in force fresh; ended when they are replaced.
    maintenance: Mutex<Vec<JoinHandle<()>>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl Gateway {
    /// Opens the stores and builds the controls. Nothing is served yet.
    pub(crate) fn open(file: &Path, config: Config, known: KnownSecrets) -> anyhow::Result<Self> {
        let lasting = Lasting::open(&config, known)?;
        let controls = Controls::build(config, &lasting, None)?;
        let cut = CancellationToken::new();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = controls.config.listen.workers.unwrap_or(cores);
        let controls = Arc::new(ArcSwap::from_pointee(controls));
        let stacks = assemble(&controls.load(), &controls, &lasting, workers, &cut)?;
        Ok(Self(Arc::new(Inner {
            file: file.to_owned(),
            lasting,
            controls,
            stacks: stacks.into_iter().map(|stack| Arc::new(ArcSwap::from_pointee(stack))).collect(),
            cut,
            stopping: CancellationToken::new(),
            maintenance: Mutex::new(Vec::new()),
            reloading: tokio::sync::Mutex::new(()),
        })))
    }

    /// The controls in force.
    pub(crate) fn controls(&self) -> Arc<Controls> {
        self.0.controls.load_full()
    }

    /// What outlives reloads.
    pub(crate) fn lasting(&self) -> &Lasting {
        &self.0.lasting
    }

    /// The stack of each worker.
    pub(crate) fn stacks(&self) -> &[CurrentStack] {
        &self.0.stacks
    }

    /// Cuts what still streams when it is cancelled.
    pub(crate) fn cut(&self) -> CancellationToken {
        self.0.cut.clone()
    }

    /// Puts into the evidence that somebody sent what was no request. hyper answered 400 or 431 already.
    pub(crate) fn on_unreadable(&self) -> OnUnreadable {
        let (recorder, strangers) = (self.lasting().recorder.clone(), self.lasting().strangers.clone());
        Arc::new(move |peer: Peer, why| {
            if !strangers.is_recorded(Some(peer)) {
                return;
            }
            let event = Event {
                kind: EventKind::HeadRefused,
                actor: None,
                object: peer.address.to_string().into(),
                outcome: why.into(),
                request: None,
            };
            let recorder = recorder.clone();
            tokio::spawn(async move {
                if let Err(error) = recorder.record(event).await {
                    tracing::warn!(%error, "a head that was no request is not in the evidence");
                }
            });
        })
    }

    /// True until the gateway is told to stop, if every control can do its work.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        if self.0.stopping.is_cancelled() {
            return Err("stopping");
        }
        if self.0.lasting.recorder.failure().is_some() {
            return Err("the recorder cannot write");
        }
        match self.controls().obstacle() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }

    /// Starts what keeps the controls fresh, and settles what the last run left open.
    pub(crate) async fn start_maintenance(&self) {
        let approvals = self.lasting().approvals.clone();
        if let Err(error) = approvals.recover().await {
            tracing::error!(%error, "approvals of the last run could not be settled");
        }
        tokio::spawn(async move { approvals.maintain().await });
        tokio::spawn(retention(self.lasting().recorder.clone()));
        let gateway = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(strangers::EACH).await;
                gateway.tell_of_strangers().await;
            }
        });
        self.maintain_controls(&self.controls());
        self.note_configuration(None).await;
    }

    fn maintain_controls(&self, controls: &Controls) {
        let authn = controls.authn.clone();
        let first_keys = async move {
            if let Err(error) = authn.load().await {
                tracing::warn!(%error, "requests with its tokens get 503 until the keys can be had");
            }
        };
        let fresh = vec![
            tokio::spawn(first_keys),
            tokio::spawn(controls.authn.refresh()),
            tokio::spawn(controls.credentials.watch()),
        ];
        let mut maintenance = self.0.maintenance.lock().unwrap_or_else(PoisonError::into_inner);
        for old in std::mem::replace(&mut *maintenance, fresh) {
            old.abort();
        }
    }

    /// Reads the configuration again and puts it in force: whole, or not at all.
    pub(crate) async fn reload(&self, by: Option<Identity>) -> anyhow::Result<()> {
        let _one_at_a_time = self.0.reloading.lock().await;
        let outcome = self.try_reload(by.clone()).await;
        self.lasting().metrics.reloaded(outcome.is_ok());
        if let Err(error) = &outcome {
            let why = self.redacted(&format!("{error:#}"));
            let file = self.0.file.file_name().unwrap_or_default().to_string_lossy();
            self.note(EventKind::ConfigurationRefused, file.into(), why, by).await;
        }
        outcome
    }

    async fn try_reload(&self, by: Option<Identity>) -> anyhow::Result<()> {
        let file = self.0.file.clone();
        let before = self.controls();
        let lasting = self.lasting().clone();
        let (workers, cut) = (self.0.stacks.len(), self.cut());
        let in_force = Arc::clone(&self.0.controls);
        // Compiling policies and rules takes milliseconds: not on a thread that serves.
        let built = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let config = Config::load_with(&file, &lasting.known_secrets)?;
            warn_of_restart(&before.config, &config);
            let controls = Controls::build(config, &lasting, Some(&before))?;
            let stacks = assemble(&controls, &in_force, &lasting, workers, &cut)?;
            Ok((controls, stacks))
        });
        let (controls, stacks) = built.await.context("the reload was given up")??;
        // The last thing that can fail; from here on nothing can.
        self.lasting().approvals.set_requirements(controls.config.approvals.requirements.clone())?;
        self.lasting().redact.replace(controls.config.masker.clone());
        let memory = controls.config.limits.body_memory;
        self.lasting().room.resize(memory.in_all, memory.per_caller);
        let controls = Arc::new(controls);
        self.0.controls.store(Arc::clone(&controls));
        for (current, stack) in self.0.stacks.iter().zip(stacks) {
            current.store(Arc::new(stack));
        }
        self.maintain_controls(&controls);
        self.note_configuration(by).await;
        tracing::info!(
            policy = &**controls.config.policy.load().version(),
            "the new configuration is in force"
        );
        Ok(())
    }

    /// Puts into the evidence which configuration and which policy are in force from now on.
    async fn note_configuration(&self, by: Option<Identity>) {
        let controls = self.controls();
        let policy = Arc::clone(controls.config.policy.load().version());
        let in_force =
            [(EventKind::ConfigurationChanged, controls.config.digest()), (EventKind::PolicyChanged, policy)];
        for (kind, object) in in_force {
            self.note(kind, object, "in-force".into(), by.clone()).await;
        }
    }

    /// Puts into the evidence how many strangers were left out of it.
    async fn tell_of_strangers(&self) {
        for event in self.lasting().strangers.tell() {
            if let Err(error) = self.lasting().recorder.record(event).await {
                tracing::error!(%error, "the number of refused strangers is not in the evidence");
            }
        }
    }

    async fn note(&self, kind: EventKind, object: Arc<str>, outcome: Arc<str>, actor: Option<Identity>) {
        let event = Event { kind, actor, object, outcome, request: None };
        if let Err(error) = self.lasting().recorder.record(event).await {
            tracing::error!(%error, kind = kind.as_str(), "the change of configuration is not in the evidence");
        }
    }

    /// The first line of an error, masked, without the folder: what is wrong with a file may quote a secret that stands
    /// in it, and an event keeps few bytes.
    fn redacted(&self, text: &str) -> Arc<str> {
        let folder = self.0.file.parent().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default().replace(&folder, "");
        let mut stream = self.lasting().redact.start(Some("text/plain"));
        let masked = stream.push(line.as_bytes()).and_then(|head| Ok([head, stream.finish()?].concat()));
        match masked {
            Ok(masked) => String::from_utf8_lossy(&masked).into(),
            Err(_) => "not usable".into(),
        }
    }

    /// From now on `readyz` says no, and held requests are let go with a clear answer.
    pub(crate) fn begin_shutdown(&self) {
        self.0.stopping.cancel();
        self.lasting().approvals.shutdown();
    }

    /// Writes what is to be written. To be called when no request is open.
    pub(crate) async fn close(&self) {
        for task in self.0.maintenance.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.tell_of_strangers().await;
        let lasting = self.lasting().clone();
        let closed = tokio::task::spawn_blocking(move || {
            if let Err(error) = lasting.tokens.keep_last_used() {
                tracing::warn!(%error, "the last use of tokens could not be written");
            }
            lasting.recorder.close();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the evidence could not be closed in good order");
        }
    }
}

fn assemble(
    controls: &Controls,
    in_force: &Arc<ArcSwap<Controls>>,
    lasting: &Lasting,
    workers: usize,
    cut: &CancellationToken,
) -> anyhow::Result<Vec<Stack>> {
    let one =
        |_| Ok(stack::assemble(controls, in_force, lasting, controls.config.upstreams.fresh()?, cut.clone()));
    (0..workers).map(one).collect()
}

/// Drops bodies that are past their time, once an hour.
async fn retention(recorder: Recorder) {
    loop {
        tokio::time::sleep(RETENTION_EACH).await;
        let recorder = recorder.clone();
        match tokio::task::spawn_blocking(move || recorder.sweep()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(dropped)) => tracing::info!(segments = dropped, "bodies past their time were dropped"),
            Ok(Err(error)) => tracing::error!(%error, "bodies past their time could not be dropped"),
            Err(error) => tracing::error!(%error, "retention was given up"),
        }
    }
}

/// Says which changes wait for a restart.
fn warn_of_restart(before: &Config, after: &Config) {
    let waits = [
        ("data_dir", before.data_dir != after.data_dir),
        ("listen", before.listen != after.listen),
        (
            "admin.address or admin.tls",
            (before.admin.address, &before.admin.tls) != (after.admin.address, &after.admin.tls),
        ),
        ("log", before.log != after.log),
        ("recorder.durability", before.recorder.durability != after.recorder.durability),
    ];
    for (key, _) in waits.into_iter().filter(|(_, changed)| *changed) {
        tracing::warn!(key, "this change takes effect at the next start");
    }
}
