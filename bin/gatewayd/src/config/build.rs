//! From the file as written to what each crate is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use gatewayd_dialects as dialects;
use gatewayd_masker::{KnownSecrets, Masker};
use gatewayd_policy::PolicyHandle;
use gatewayd_proxy::Upstreams;
use gatewayd_recorder as recorder;
use toml::Spanned;
use tracing_subscriber::EnvFilter;

use super::error::{ConfigError, Source};
use super::paths::Folder;
use super::raw::{Durability, LogFormat, RawConfig, RawRecorder, RawTls};
use super::{decisions, identity, masking, people, routing, secrets, servers};

/// A configuration that holds: everything in it has been checked.
#[derive(Clone)]
pub struct Config {
    /// The file itself and those that it names for policy and masking: a change of any is a new configuration.
    pub files: Vec<PathBuf>,
    /// Where the gateway keeps its state.
    pub data_dir: PathBuf,
    /// Where callers connect.
    pub listen: Listen,
    /// The admin listener.
    pub admin: Admin,
    /// Logging.
    pub log: Log,
    /// Bounds on connections and requests.
    pub limits: Limits,
    /// Who is believed.
    pub authn: gatewayd_authn::Config,
    /// PEM file of the authorities to trust for identity providers.
    pub authn_ca: Option<PathBuf>,
    /// Which requests go where.
    pub dialects: dialects::Config,
    /// Who may do what.
    pub policy: PolicyHandle,
    /// Who must agree.
    pub approvals: gatewayd_approvals::Config,
    /// Where the upstreams' secrets are.
    pub credentials: gatewayd_credentials::Config,
    /// The upstreams' clients.
    pub upstreams: Upstreams,
    /// What is masked.
    pub masker: Masker,
    /// How evidence is kept.
    pub recorder: recorder::Config,
}

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Worker threads; `None` is one a core.
    pub workers: Option<usize>,
}

/// Certificate and key, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The admin listener, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, if it speaks TLS.
    pub tls: Option<Tls>,
    /// Groups whose members administrate.
    pub groups: Vec<String>,
    /// How people reach it.
    pub public_url: String,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub(crate) format: LogFormat,
    /// A level, or a filter.
    pub filter: String,
}

/// Bounds on connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head, in bytes.
    pub headers: usize,
    /// Time for a request head to arrive.
    pub head_timeout: Duration,
    /// Request bodies kept in memory at once.
    pub body_memory: Share,
    /// Bodies that wait for approval on the disk.
    pub upload_disk: Share,
    /// Connections at once.
    pub connections: usize,
    /// How long open requests may go on after the gateway was told to stop.
    pub drain: Duration,
}

/// So many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of all callers.
    pub in_all: u64,
    /// Of one caller: a quarter, and at least one body.
    pub per_caller: u64,
}

pub(super) fn build(
    raw: &RawConfig,
    source: &Source<'_>,
    known: &KnownSecrets,
) -> Result<Config, ConfigError> {
    let folder = Folder::of(source.file);
    let admin = admin(raw, source, &folder)?;
    let authn = identity::build(raw, source)?;
    authn.validate().map_err(|error| identity::locate(raw, source, &error))?;
    let limits = limits(raw, source)?;
    let data_dir = folder.resolve(&raw.data_dir);
    let named = raw.policy.cedar.iter().chain(&raw.masker.rules).map(|path| folder.resolve(path.get_ref()));
    Ok(Config {
        files: std::iter::once(source.file.to_owned()).chain(named).collect(),
        listen: listen(raw, source, &folder)?,
        log: log(raw, source)?,
        limits,
        authn,
        authn_ca: raw.authn.ca.as_deref().map(|path| folder.resolve(path)),
        dialects: routing::build(raw, source)?,
        policy: PolicyHandle::new(decisions::build(raw, source, &folder)?),
        approvals: gatewayd_approvals::Config {
            // Beside the evidence: the system's folder for such files is often in memory.
            spool_dir: Some(data_dir.clone()),
            ..people::build(raw, source, admin.public_url.clone(), limits.upload_disk)?
        },
        credentials: secrets::build(raw, source, &folder)?,
        upstreams: servers::build(raw, source, &folder)?,
        masker: masking::build(raw, source, &folder, known)?,
        recorder: evidence(&raw.recorder, data_dir.join("evidence")),
        admin,
        data_dir,
    })
}

fn listen(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Listen, ConfigError> {
    if let Some(workers) = &raw.listen.workers
        && !(1..=256).contains(workers.get_ref())
    {
        return Err(source.error(
            workers.span(),
            "listen.workers",
            "there must be 1 to 256 workers",
            "leave the key out for one worker a core",
        ));
    }
    Ok(Listen {
        address: raw.listen.address,
        tls: raw.listen.tls.as_ref().map(|pair| tls(pair, folder)),
        workers: raw.listen.workers.as_ref().map(|workers| *workers.get_ref()),
    })
}

fn admin(raw: &RawConfig, source: &Source<'_>, folder: &Folder) -> Result<Admin, ConfigError> {
    let address = *raw.admin.address.get_ref();
    if is_one_place(address, raw.listen.address) {
        return Err(source.error(
            raw.admin.address.span(),
            "admin.address",
            format!("it is taken by listen.address, {}", raw.listen.address),
            "give the two listeners different ports; the admin listener is 127.0.0.1:8081 by default",
        ));
    }
    let scheme = if raw.admin.tls.is_some() { "https" } else { "http" };
    let public_url = raw.admin.public_url.clone().unwrap_or_else(|| format!("{scheme}://{address}"));
    Ok(Admin {
        address,
        tls: raw.admin.tls.as_ref().map(|pair| tls(pair, folder)),
        groups: raw.admin.groups.clone(),
        public_url: public_url.trim_end_matches('/').to_owned(),
    })
}

/// True if two listeners could not both be opened. Port 0 is any that is free.
fn is_one_place(one: SocketAddr, other: SocketAddr) -> bool {
    let overlaps = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && overlaps
}

fn tls(raw: &RawTls, folder: &Folder) -> Tls {
    Tls { certificate: folder.resolve(&raw.certificate), key: folder.resolve(&raw.key) }
}

fn log(raw: &RawConfig, source: &Source<'_>) -> Result<Log, ConfigError> {
    let level: &Spanned<String> = &raw.log.level;
    EnvFilter::try_new(level.get_ref()).map_err(|error| {
        source.error(
            level.span(),
            "log.level",
            format!("this is no level and no filter: {error}"),
            "write \"error\", \"warn\", \"info\", \"debug\", or a filter such as \"info,gatewayd_proxy=debug\"",
        )
    })?;
    Ok(Log { format: raw.log.format, filter: level.get_ref().clone() })
}

fn limits(raw: &RawConfig, source: &Source<'_>) -> Result<Limits, ConfigError> {
    let headers = raw.limits.headers.get_ref().as_u64();
    if !(4096..=16 * 1024 * 1024).contains(&headers) {
        return Err(source.error(
            raw.limits.headers.span(),
            "limits.headers",
            "the limit on a request's head must be between 4KiB and 16MiB",
            "64KiB is the default",
        ));
    }
    let (memory, disk) = (&raw.limits.body_memory, &raw.limits.upload_disk);
    let body_memory =
        share(["limits.body_memory", "limits.body"], memory, 512 << 20, raw.limits.body, source)?;
    let upload_disk =
        share(["limits.upload_disk", "limits.upload"], disk, 8 << 30, raw.limits.upload, source)?;
    Ok(Limits {
        body_memory,
        upload_disk,
        headers: usize::try_from(headers).unwrap_or(usize::MAX),
        head_timeout: raw.limits.head_timeout.0,
        connections: raw.limits.connections.max(1),
        drain: raw.limits.drain.0,
    })
}

/// Room for at least one of the largest bodies.
fn share(
    [key, of]: [&str; 2],
    in_all: &Option<Spanned<ByteSize>>,
    default: u64,
    largest: ByteSize,
    source: &Source<'_>,
) -> Result<Share, ConfigError> {
    let largest = largest.as_u64();
    let Some(in_all) = in_all else {
        let in_all = largest.max(default);
        return Ok(Share { in_all, per_caller: (in_all / 4).max(largest) });
    };
    let (at, in_all) = (in_all.span(), in_all.get_ref().as_u64());
    if in_all < largest {
        return Err(source.error(
            at,
            key,
            format!("it is less than {of}, so that the largest body would never find room"),
            format!("write at least as much as {of}, better eight times as much, or make {of} smaller"),
        ));
    }
    Ok(Share { in_all, per_caller: (in_all / 4).max(largest) })
}

fn evidence(raw: &RawRecorder, dir: PathBuf) -> recorder::Config {
    let mut config = recorder::Config::new(dir);
    config.durability = match raw.durability {
        Durability::Disk => recorder::Durability::Disk,
        Durability::Process => recorder::Durability::Process,
    };
    config.max_body = raw.body_limit.as_u64();
    config.keep = raw.keep.map(|span| span.0);
    config.keep_bytes = raw.keep_size.map(|size| size.as_u64());
    config
}
