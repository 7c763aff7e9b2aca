//! The configuration file as it is written: every table and key, nothing interpreted yet.
//!
//! Unknown keys are refused. What a key means, its default and its bounds stand in `docs/configuration.md`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use gatewayd_policy::RuleSpec;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::length_of_time;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    pub listen: RawListen,
    #[serde(default)]
    pub admin: RawAdmin,
    #[serde(default)]
    pub log: RawLog,
    #[serde(default)]
    pub limits: RawLimits,
    #[serde(default)]
    pub authn: RawAuthn,
    #[serde(default)]
    pub issuer: Vec<Spanned<RawIssuer>>,
    #[serde(default)]
    pub upstream: Vec<Spanned<RawUpstream>>,
    #[serde(default)]
    pub credential: Vec<Spanned<RawCredential>>,
    #[serde(default)]
    pub policy: RawPolicy,
    #[serde(default)]
    pub approval: BTreeMap<String, Spanned<RawApproval>>,
    #[serde(default)]
    pub recorder: RawRecorder,
    #[serde(default)]
    pub masker: RawMasker,
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("data")
}

/// Where callers connect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListen {
    pub address: SocketAddr,
    pub tls: Option<RawTls>,
    pub workers: Option<Spanned<usize>>,
}

/// Certificate and key of a listener, PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The admin listener.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAdmin {
    pub address: Spanned<SocketAddr>,
    pub groups: Vec<String>,
    pub public_url: Option<String>,
    pub tls: Option<RawTls>,
}

impl Default for RawAdmin {
    fn default() -> Self {
        Self {
            address: Spanned::new(0..0, SocketAddr::from(([127, 0, 0, 1], 8081))),
            groups: Vec::new(),
            public_url: None,
            tls: None,
        }
    }
}

/// What is written to standard error, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLog {
    pub format: LogFormat,
    pub level: Spanned<String>,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: Spanned::new(0..0, "info".to_owned()) }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Sizes and times that bound a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    pub body: ByteSize,
    pub upload: ByteSize,
    pub body_memory: Option<Spanned<ByteSize>>,
    pub upload_disk: Option<Spanned<ByteSize>>,
    pub headers: Spanned<ByteSize>,
    pub head_timeout: Span,
    pub body_timeout: Span,
    pub connections: usize,
    pub held_requests: usize,
    pub drain: Span,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            body: ByteSize::mib(8),
            upload: ByteSize::gib(1),
            body_memory: None,
            upload_disk: None,
            headers: Spanned::new(0..0, ByteSize::kib(64)),
            head_timeout: Span(Duration::from_secs(10)),
            body_timeout: Span(Duration::from_secs(60)),
            connections: 10_000,
            held_requests: 1_000,
            drain: Span(Duration::from_secs(60)),
        }
    }
}

/// How tokens are judged, whoever issued them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawAuthn {
    pub leeway: Option<Span>,
    pub remembered_tokens: Option<usize>,
    pub ca: Option<PathBuf>,
    pub dangerous_allow_http: bool,
}

/// An OpenID Connect provider whose tokens are accepted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIssuer {
    pub url: String,
    pub audiences: Vec<String>,
    pub groups_claim: Option<Spanned<ClaimKeys>>,
    #[serde(default)]
    pub group_prefix: String,
    pub algorithms: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub clients: Vec<String>,
    pub jwks_url: Option<String>,
    pub max_token_age: Option<Span>,
    pub refresh: Option<Span>,
    pub max_staleness: Option<Span>,
}

/// Where a claim is: a name or dotted path, or a list of keys taken as they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum ClaimKeys {
    Path(String),
    Keys(Vec<String>),
}

/// A model server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUpstream {
    pub name: Spanned<String>,
    pub url: Spanned<String>,
    #[serde(default)]
    pub models: Vec<String>,
    pub path_prefix: Option<String>,
    #[serde(default)]
    pub keep_prefix: bool,
    #[serde(default)]
    pub default: bool,
    pub credential: Option<Spanned<String>>,
    pub ca: Option<PathBuf>,
    pub client_certificate: Option<RawTls>,
    #[serde(default)]
    pub http2: bool,
    pub connect_timeout: Option<Span>,
    pub head_timeout: Option<Span>,
    pub idle_timeout: Option<Span>,
    pub pool_idle: Option<Span>,
}

/// A secret that the gateway holds for an upstream. Only where it is, never what it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawCredential {
    pub name: Spanned<String>,
    pub file: Option<PathBuf>,
    pub env: Option<String>,
    #[serde(default = "default_header")]
    pub header: Spanned<String>,
    #[serde(default)]
    pub prefix: Option<String>,
    /// Caught to be refused with a reason; the value itself is dropped unread.
    #[serde(default)]
    pub value: Option<Spanned<serde::de::IgnoredAny>>,
}

fn default_header() -> Spanned<String> {
    Spanned::new(0..0, "authorization".to_owned())
}

/// Who may do what.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPolicy {
    pub rule: Vec<Spanned<RuleSpec>>,
    pub cedar: Vec<Spanned<PathBuf>>,
}

/// How many people of which groups must agree, and how long they have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApproval {
    #[serde(default)]
    pub approvers: Vec<RawApprovers>,
    #[serde(default)]
    pub any_of: Vec<Vec<RawApprovers>>,
    pub hold: Option<Span>,
    pub expires: Option<Span>,
    #[serde(default = "yes")]
    pub one_denial_denies: bool,
    #[serde(default)]
    pub programs_may_vote: bool,
    #[serde(rename = "for")]
    pub grant: Option<Span>,
}

fn yes() -> bool {
    true
}

/// So many distinct people of a group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawApprovers {
    pub group: String,
    #[serde(default = "one")]
    pub count: u32,
}

fn one() -> u32 {
    1
}

/// The evidence.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawRecorder {
    pub durability: Durability,
    pub body_limit: ByteSize,
    pub keep: Option<Span>,
    pub keep_size: Option<ByteSize>,
}

impl Default for RawRecorder {
    fn default() -> Self {
        Self { durability: Durability::Disk, body_limit: ByteSize::mib(64), keep: None, keep_size: None }
    }
}

/// What an acknowledged entry survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    Disk,
    Process,
}

/// What is masked in answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawMasker {
    pub tiers: Vec<Spanned<String>>,
    pub rules: Vec<Spanned<PathBuf>>,
    pub disable: Vec<String>,
}

impl Default for RawMasker {
    fn default() -> Self {
        Self { tiers: vec![Spanned::new(0..0, "default".to_owned())], rules: Vec::new(), disable: Vec::new() }
    }
}

/// A length of time, written `60s`, `5m`, `24h`, `30d` or ISO 8601.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        length_of_time::read(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(
                "not a length of time; write it like \"30s\", \"5m\", \"24h\" or \"30d\"",
            )
        })
    }
}
