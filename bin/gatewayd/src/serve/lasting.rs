//! What is made once and outlives every reload: the stores, the evidence, the known secrets, the figures.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use gatewayd_approvals::Approvals;
use gatewayd_authn::{LocalAdmin, TokenStore};
use gatewayd_core::{Clock, Journal, Room, Secret, SystemClock};
use gatewayd_masker::KnownSecrets;
use gatewayd_recorder::Recorder;
use zeroize::Zeroizing;

use super::redact::SwappableRedact;
use super::strangers::Strangers;
use crate::config::{Config, admin_key_file};
use crate::metrics::Metrics;

/// Groups that the holder of the local key is in: none that a policy or a quorum could name by accident.
const LOCAL_ADMIN_GROUPS: &[String] = &[];

/// What outlives every reload. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lasting {
    pub clock: Arc<dyn Clock>,
    pub recorder: Recorder,
    pub approvals: Approvals,
    pub tokens: TokenStore,
    pub local_admin: LocalAdmin,
    /// Every upstream credential, present and previous.
    pub known_secrets: KnownSecrets,
    /// The masker in force, for what is stored and shown.
    pub redact: Arc<SwappableRedact>,
    /// Makes version ids of credentials that are the same after a restart.
    pub version_key: Secret,
    pub metrics: Metrics,
    /// For request bodies in memory.
    pub room: Room,
    pub strangers: Strangers,
    /// Held while something is erased or held: an erasure looks for holds first, and none may come before it is done.
    pub keeping: Arc<tokio::sync::Mutex<()>>,
}

impl Lasting {
    /// Opens everything below the data directory, making what is not there.
    pub(crate) fn open(config: &Config, known_secrets: KnownSecrets) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let dir = &config.data_dir;
        make_private_dir(dir)
            .with_context(|| format!("the data directory {} cannot be used", dir.display()))?;
        let local_admin = local_admin(&admin_key_file(dir))?;
        let version_key = version_key(&dir.join("version.key"))?;
        let redact = Arc::new(SwappableRedact::new(config.masker.clone()));
        let recorder = Recorder::open(config.recorder.clone(), Arc::clone(&clock))?;
        let tokens = TokenStore::open(dir.join("tokens.sqlite"), Arc::clone(&clock))?;
        let journal: Arc<dyn Journal> = Arc::new(recorder.clone());
        let approvals = Approvals::open(
            &dir.join("approvals.sqlite"),
            config.approvals.clone(),
            journal,
            Arc::clone(&redact) as _,
            Arc::clone(&clock),
        )?;
        let metrics = Metrics::new();
        let memory = config.limits.body_memory;
        Ok(Self {
            clock,
            recorder,
            approvals,
            tokens,
            local_admin,
            known_secrets,
            redact,
            version_key,
            metrics,
            room: Room::new(memory.in_all, memory.per_caller),
            strangers: Strangers::default(),
            keeping: Arc::default(),
        })
    }

    /// Where events go.
    pub(crate) fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.recorder.clone())
    }
}

/// A directory that nobody else can look into.
fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Reads the local administrator's key, or makes it.
fn local_admin(file: &Path) -> anyhow::Result<LocalAdmin> {
    match std::fs::read(file) {
        Ok(key) => {
            let key = Secret::new(key);
            LocalAdmin::from_key(&key, LOCAL_ADMIN_GROUPS).with_context(|| {
                format!("{} holds no administrator key; remove it to get a new one", file.display())
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let (key, admin) = LocalAdmin::generate(LOCAL_ADMIN_GROUPS)?;
            write_private(file, key.expose())?;
            tracing::info!(file = %file.display(), "made the local administrator's key");
            Ok(admin)
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

/// Reads the key of version ids, or makes it.
fn version_key(file: &Path) -> anyhow::Result<Secret> {
    if let Ok(key) = std::fs::read(file)
        && key.len() == 32
    {
        return Ok(Secret::new(key));
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *key)
        .map_err(|_| anyhow::anyhow!("the operating system gave no random bytes"))?;
    write_private(file, &*key)?;
    Ok(Secret::new(key.to_vec()))
}

/// A file that only its owner can read, whole or not there.
fn write_private(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = file.with_extension("new");
    let _left_by_a_crash = std::fs::remove_file(&draft);
    let mut open = std::fs::OpenOptions::new();
    let written = open.write(true).create_new(true).mode(0o600).open(&draft).and_then(|mut to| {
        to.write_all(bytes)?;
        to.sync_all()
    });
    written
        .and_then(|()| std::fs::rename(&draft, file))
        .with_context(|| format!("{} cannot be written", file.display()))
}
