//! What can be set.

use std::path::PathBuf;
use std::time::Duration;

/// When an entry counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once the disk says so. Survives the loss of power.
    #[default]
    Disk,
    /// Once the operating system has it. Survives the death of the process, not the loss of power.
    Process,
}

/// How a [`Recorder`](crate::Recorder) works. [`Config::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that holds everything: database, segments, keys, checkpoint.
    pub dir: PathBuf,
    /// When an entry counts as written.
    pub durability: Durability,
    /// Name of the log in checkpoints (C2SP: no spaces, no `+`). `None`: a random one, made at first start.
    pub origin: Option<String>,
    /// The key that signs checkpoints, as `PRIVATE+KEY+..`. `None`: `log.key` in `dir`, made at first start.
    pub log_key: Option<PathBuf>,
    /// The key that wraps the keys of bodies, 64 hex digits. `None`: `root.key` in `dir`, made at first start.
    pub root_key: Option<PathBuf>,
    /// How many entries may wait to be written. More: 503.
    pub max_queue: usize,
    /// How many bytes of bodies may wait to be sealed. More: streams wait, new requests get 503.
    pub max_queue_bytes: usize,
    /// How much of one body is stored. The rest passes, and the record says that it is cut.
    pub max_body: u64,
    /// How long a request waits for its intent before it gets 503.
    pub commit_timeout: Duration,
    /// A segment is closed at this size.
    pub segment_bytes: u64,
    /// A segment is closed at this age.
    pub segment_age: Duration,
    /// How often a checkpoint is signed under load.
    pub checkpoint_every: Duration,
    /// How often the checkpoint file is written again when nothing happens.
    pub checkpoint_idle: Duration,
    /// Bodies older than this are dropped, whole segments at a time. `None`: never.
    pub keep: Option<Duration>,
    /// The oldest segments are dropped while all together are larger than this. `None`: never.
    pub keep_bytes: Option<u64>,
    /// Bytes set aside on the disk, so that open requests can still be closed when it is full.
    pub reserve_bytes: u64,
    /// Level of zstd, 1 to 19.
    pub compression: i32,
}

impl Config {
    /// The defaults, for a directory that is made if it is missing.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Disk,
            origin: None,
            log_key: None,
            root_key: None,
            max_queue: 16_384,
            max_queue_bytes: 64 << 20,
            max_body: 64 << 20,
            commit_timeout: Duration::from_secs(10),
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 3600),
            checkpoint_every: Duration::from_secs(1),
            checkpoint_idle: Duration::from_secs(60),
            keep: None,
            keep_bytes: None,
            reserve_bytes: 4 << 20,
            compression: 1,
        }
    }
}
