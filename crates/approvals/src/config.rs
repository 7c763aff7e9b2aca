//! What must be agreed to, and within which limits.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gatewayd_core::Identity;

use crate::error::Error;
use crate::person;

/// People that an alternative may ask for in all. More is surely a mistake.
const MAX_SEATS: u32 = 32;
const MAX_ALTERNATIVES: usize = 16;

/// Settings of [`Approvals`](crate::Approvals).
#[derive(Debug, Clone)]
pub struct Config {
    /// Requirements by the name that policy rules use.
    pub requirements: BTreeMap<String, Requirement>,
    /// Where people decide; an approval's address is `{public_url}/approvals/{id}`.
    pub public_url: String,
    /// Requests held at once, over all requirements; the next is refused with `429`.
    pub max_held: usize,
    /// Requests of one caller held at once.
    pub max_held_per_caller: usize,
    /// Undecided approvals of one caller; the next is refused with `429`.
    pub max_pending_per_caller: u32,
    /// Undecided approvals in all; the next is refused with `429`.
    pub max_pending: u32,
    /// The longest body that can be put before people, in bytes; a longer one is refused with `413`.
    pub body_limit: u64,
    /// Bodies longer than this wait on disk instead of in memory, in bytes.
    pub memory_limit: usize,
    /// Bytes of all bodies that wait on disk at once; a request with more is refused with `429`.
    pub disk_limit: u64,
    /// Of these, bytes of one caller's bodies.
    pub disk_limit_per_caller: u64,
    /// The longest a body may take to arrive.
    pub body_timeout: Duration,
    /// Where bodies wait: files without a name, gone with the process. `None` is the system's folder.
    pub spool_dir: Option<PathBuf>,
    /// Masked text of the body that is kept to be shown, in bytes.
    pub preview_limit: usize,
    /// How often a held request looks whether another process decided.
    pub poll: Duration,
    /// How long the same request keeps getting a no after a no, before it can be asked again.
    pub denied_for: Duration,
    /// How long decided approvals are kept.
    pub keep: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requirements: BTreeMap::new(),
            public_url: "http://127.0.0.1:8081".to_owned(),
            max_held: 256,
            max_held_per_caller: 32,
            max_pending_per_caller: 32,
            max_pending: 1000,
            body_limit: 64 << 20,
            memory_limit: 256 << 10,
            disk_limit: 8 << 30,
            disk_limit_per_caller: 2 << 30,
            body_timeout: Duration::from_secs(120),
            spool_dir: None,
            preview_limit: 32 << 10,
            poll: Duration::from_secs(1),
            denied_for: Duration::from_secs(300),
            keep: Duration::from_secs(90 * 24 * 3600),
        }
    }
}

/// How many people of which groups must agree, and how long they have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Requirement {
    /// One of these must be met in full (OR of ANDs). A person fills one seat, whatever their groups.
    pub alternatives: Vec<Vec<Seats>>,
    /// How long the caller's connection is held before the answer is `approval_pending`.
    pub hold: Duration,
    /// How long after the request the approval ends, decided or not, if it was not used.
    pub expires: Duration,
    /// True if one denial ends it; otherwise a denial is only noted, and counts for nothing.
    pub one_denial_denies: bool,
    /// If set, the approval lets exactly this request pass any number of times for so long after the
    /// decision, instead of once.
    pub grant: Option<Duration>,
    /// True if tokens issued to programs may vote. By default only people may.
    pub programs_may_vote: bool,
}

/// So many distinct people of a group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Seats {
    /// The group; exact.
    pub group: String,
    /// How many.
    pub count: u32,
}

impl Seats {
    /// So many distinct people of a group.
    #[must_use]
    pub fn new(group: impl Into<String>, count: u32) -> Self {
        Self { group: group.into(), count }
    }
}

impl Requirement {
    /// All of these seats must be filled; held for 60 seconds, ends after 24 hours, one denial denies.
    #[must_use]
    pub fn all_of(seats: Vec<Seats>) -> Self {
        Self::any_of(vec![seats])
    }

    /// All seats of one of these alternatives must be filled; otherwise as [`all_of`](Self::all_of).
    #[must_use]
    pub fn any_of(alternatives: Vec<Vec<Seats>>) -> Self {
        Self {
            alternatives,
            hold: Duration::from_secs(60),
            expires: Duration::from_secs(24 * 3600),
            one_denial_denies: true,
            grant: None,
            programs_may_vote: false,
        }
    }

    /// True if a member of this group can fill a seat.
    #[must_use]
    pub fn names_group(&self, group: &str) -> bool {
        self.alternatives.iter().flatten().any(|seats| seats.group == group)
    }

    /// True if callers of that kind decide at all: people do, programs only where the requirement says so.
    pub(crate) fn may_decide(&self, caller: &Identity) -> bool {
        self.programs_may_vote || person::is_person(caller)
    }
}

impl Config {
    /// Whether the settings hold, without opening anything.
    ///
    /// # Errors
    /// The first setting that does not, and what to write instead.
    pub fn check(&self) -> Result<(), Error> {
        check_requirements(&self.requirements)?;
        let fail = |key, problem: &str, remedy: &str| {
            Err(Error::Config { key, problem: problem.to_owned(), remedy: remedy.to_owned() })
        };
        if self.max_held == 0 || self.max_held_per_caller == 0 {
            return fail("max_held", "is 0, so no request could ever wait", "write at least 1");
        }
        if self.poll.is_zero() {
            return fail("poll", "is zero, so held requests would keep the machine busy", "write such as 1s");
        }
        if self.body_timeout.is_zero() {
            return fail("body_timeout", "is zero, so no body could arrive", "write such as 120s");
        }
        Ok(())
    }
}

/// Checks requirements, also for a change while requests run.
pub(crate) fn check_requirements(requirements: &BTreeMap<String, Requirement>) -> Result<(), Error> {
    for (name, requirement) in requirements {
        requirement.check().map_err(|(key, problem, remedy)| Error::Requirement {
            name: name.clone(),
            key,
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        })?;
    }
    Ok(())
}

impl Requirement {
    fn check(&self) -> Result<(), (&'static str, &'static str, &'static str)> {
        const EXAMPLE: &str = "write such as `approvers = [{ group = \"security\", count = 1 }]`";
        if self.alternatives.is_empty() || self.alternatives.iter().any(Vec::is_empty) {
            return Err(("approvers", "asks for nobody, so nobody would be asked", EXAMPLE));
        }
        if self.alternatives.len() > MAX_ALTERNATIVES {
            return Err(("any_of", "has more than 16 alternatives", "merge some"));
        }
        for seats in self.alternatives.iter().flatten() {
            if seats.group.is_empty() || seats.group == "*" {
                let remedy = "name a group: without one, anybody with a token could agree";
                return Err(("approvers", "has a seat for no group in particular", remedy));
            }
            if seats.count == 0 {
                return Err((
                    "approvers",
                    "asks for 0 people of a group",
                    "write at least 1, or leave it out",
                ));
            }
        }
        let seats_of = |alternative: &Vec<Seats>| {
            alternative.iter().fold(0u32, |sum, seats| sum.saturating_add(seats.count))
        };
        if self.alternatives.iter().any(|alternative| seats_of(alternative) > MAX_SEATS) {
            return Err(("approvers", "asks for more than 32 people", "ask for fewer"));
        }
        if self.expires.is_zero() {
            return Err(("expires", "is zero, so it would end at once", "write such as \"24h\""));
        }
        if self.hold > self.expires {
            return Err(("hold", "is longer than `expires`", "make it shorter"));
        }
        if self.grant.is_some_and(|grant| grant.is_zero()) {
            return Err(("for", "is zero, so nothing would pass", "write such as \"30m\", or leave it out"));
        }
        Ok(())
    }
}
