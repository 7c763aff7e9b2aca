//! What was found, what was proven, and what was not.

use std::fmt;

use serde::Serialize;

/// How many findings of a kind are told in full.
const TOLD: usize = 20;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// The database file itself is broken.
    DatabaseCorrupt,
    /// An entry is missing between others.
    EntryMissing,
    /// An entry cannot be read.
    EntryMalformed,
    /// The entries are not those that were signed.
    TreeMismatch,
    /// There are fewer entries than a signed checkpoint covers.
    Truncated,
    /// A checkpoint is not signed by the key, or is of another log.
    BadCheckpoint,
    /// The log begins with another key.
    OtherKey,
    /// A stored tile is not the one that the entries yield.
    TileMismatch,
    /// The log is shorter than the pinned checkpoint.
    RolledBack,
    /// The log is not a continuation of the pinned checkpoint.
    Forked,
    /// An outcome belongs to no intent.
    OutcomeWithoutIntent,
    /// A request has two outcomes.
    OutcomeTwice,
    /// A request was forwarded and has no outcome although the log went on.
    OutcomeMissing,
    /// Two requests made the same claim.
    ClaimReused,
    /// Words or rows are not those that the entry commits to.
    WordsAltered,
    /// Words or rows are missing.
    WordsMissing,
    /// There are words or rows that no entry speaks of.
    WordsInvented,
    /// Something is erased and no entry says so.
    ErasureUndeclared,
    /// A body is not the one that the entry commits to.
    BodyAltered,
    /// A body is missing, wholly or in part.
    BodyMissing,
    /// A segment is missing or unreadable and no entry says so.
    SegmentMissing,
}

impl Damage {
    /// The exit code that names the kind of damage.
    fn exit_code(self) -> u8 {
        match self {
            Self::RolledBack | Self::Forked => 11,
            Self::OutcomeWithoutIntent | Self::OutcomeTwice | Self::OutcomeMissing | Self::ClaimReused => 12,
            Self::WordsAltered | Self::WordsMissing | Self::WordsInvented | Self::ErasureUndeclared => 13,
            Self::BodyAltered | Self::BodyMissing | Self::SegmentMissing => 14,
            _ => 10,
        }
    }

    /// False if the entry that is named is only the first that may be damaged.
    fn names_one_entry(self) -> bool {
        !matches!(
            self,
            Self::TreeMismatch | Self::Truncated | Self::BadCheckpoint | Self::RolledBack | Self::Forked
        )
    }
}

/// One damage, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub damage: Damage,
    /// The entry that it is about.
    pub entry: Option<u64>,
    /// In words.
    pub detail: String,
}

/// What was found, what was proven, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Entries that were read.
    pub entries: u64,
    /// Entries that a signed checkpoint covers.
    pub signed: u64,
    /// Signed checkpoints that were compared with the entries.
    pub checkpoints: u64,
    /// Requests.
    pub sessions: u64,
    /// Bodies whose digest was compared.
    pub bodies: u64,
    /// Bytes of segments that were read.
    pub body_bytes: u64,
    /// How many things the log itself says are missing from it.
    pub missing: u64,
    /// Damage, the first one first; at most 20 of a kind are told.
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub damages: u64,
    /// What was not proven, in words.
    pub unproven: Vec<String>,
}

impl Report {
    /// True if nothing is damaged.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damages == 0
    }

    /// For a command: 0 intact, 10 entries or checkpoints damaged, 11 not a continuation of the pinned
    /// checkpoint, 12 a rule of sessions is broken, 13 words in the database are not those of the entries,
    /// 14 bodies damaged. With several, the lowest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        self.findings.iter().map(|finding| finding.damage.exit_code()).min().unwrap_or(0)
    }

    pub(super) fn find(&mut self, damage: Damage, entry: impl Into<Option<u64>>, detail: impl Into<String>) {
        self.damages += 1;
        let entry = entry.into();
        // One kind in plenty must not hide another, and what is found late not what is damaged first.
        let mut told = self.findings.iter().enumerate().filter(|(_, finding)| finding.damage == damage);
        if told.clone().count() < TOLD {
            return self.findings.push(Finding { damage, entry, detail: detail.into() });
        }
        let place = |entry: Option<u64>| entry.unwrap_or(u64::MAX);
        let last = told.by_ref().max_by_key(|(_, finding)| place(finding.entry));
        if let Some((at, last)) = last
            && place(entry) < place(last.entry)
        {
            self.findings.remove(at);
            self.findings.push(Finding { damage, entry, detail: detail.into() });
        }
    }

    pub(super) fn unproven(&mut self, what: String) {
        self.unproven.push(what);
    }

    /// Puts the first damage first. A damaged entry also shows in its rows and bodies, so the entries come
    /// before what hangs on them; and the damages that name one entry before those that only say "from here".
    pub(super) fn settle(&mut self) {
        self.findings.sort_by_key(|finding| {
            let damage = finding.damage;
            (damage.exit_code(), !damage.names_one_entry(), finding.entry.unwrap_or(u64::MAX))
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.findings.first() {
            None => writeln!(f, "intact")?,
            Some(first) => {
                write!(f, "DAMAGED: {}", first.detail)?;
                if let Some(entry) = first.entry {
                    write!(f, " (first damage: entry {entry})")?;
                }
                writeln!(f)?;
            }
        }
        for finding in self.findings.iter().skip(1) {
            writeln!(f, "  also: {}", finding.detail)?;
        }
        let untold = self.damages.saturating_sub(self.findings.len() as u64);
        if untold > 0 {
            writeln!(f, "  and {untold} more")?;
        }
        writeln!(
            f,
            "read: {} entries ({} of them under a signature, {} checkpoints), {} requests, {} bodies in {} bytes",
            self.entries, self.signed, self.checkpoints, self.sessions, self.bodies, self.body_bytes
        )?;
        for what in &self.unproven {
            writeln!(f, "not proven: {what}")?;
        }
        Ok(())
    }
}
