//! The entries: are they all there, are they those that were signed, do the rules of sessions hold?

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::Connection;

use super::column::number;
use super::report::{Damage, Report};
use crate::codec::Digest;
use crate::error::Error;
use crate::leaf::{Bodies, GapReason, Hold, Key, KeyRole, Kind, Leaf, Outcome, Scope, Stored};
use crate::note::{Checkpoint, PublicKey};
use crate::segment::Way;
use crate::tree::{FullTile, TILE, Tree, leaf_hash};

/// Checkpoints beside those in the database.
pub(super) struct Notes<'a> {
    pub(super) published: Option<String>,
    pub(super) pinned: Option<&'a str>,
}

/// Where a checkpoint came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Database,
    File,
    Pin,
}

/// A body that an entry commits to.
pub(super) struct Expected {
    pub(super) entry: u64,
    pub(super) stored: Stored,
}

/// What the entries say, for the checks that follow.
#[derive(Default)]
pub(super) struct Log {
    /// What each entry is, for those that have a row elsewhere.
    pub(super) rows: Vec<RowOf>,
    pub(super) bodies: HashMap<([u8; 16], Way), Expected>,
    /// Requests that ended without a body in that direction, and nothing was lost.
    pub(super) bodiless: HashSet<([u8; 16], Way)>,
    /// Erasures of sessions: how many and the digest of their numbers.
    pub(super) erasures: HashMap<u64, (u64, Digest)>,
    pub(super) dropped: HashSet<u64>,
    /// Outcome of each closed session, by the index of its intent.
    pub(super) outcome_of: HashMap<u64, u64>,
    /// Digest of the mask counts, by the index of the outcome that has one.
    pub(super) masks: HashMap<u64, Digest>,
    /// Who made each claim: the index of the intent, and its request.
    pub(super) claims: HashMap<[u8; 16], (u64, [u8; 16])>,
    /// The legal holds that were set, by the digest of each.
    pub(super) holds: HashMap<Digest, Held>,
}

/// A legal hold.
pub(super) struct Held {
    /// The entry that set it.
    pub(super) set: u64,
    /// The entry that released it.
    pub(super) released: Option<u64>,
}

/// Which row belongs to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOf {
    None,
    Session,
    Event,
}

/// The state of the pass over the entries.
struct Pass<'a> {
    key: &'a PublicKey,
    log: Log,
    tree: Tree,
    /// Requests that have an intent and no outcome yet.
    open: HashMap<u64, [u8; 16]>,
    gaps: u64,
}

pub(super) fn check(
    conn: &Connection,
    key: &PublicKey,
    notes: &Notes<'_>,
    report: &mut Report,
) -> Result<Log, Error> {
    let heads = heads(conn, key, notes, report)?;
    let mut pass = Pass { key, log: Log::default(), tree: Tree::default(), open: HashMap::new(), gaps: 0 };
    compare(&heads, &pass.tree, report);
    let mut query = conn.prepare("SELECT idx, data FROM leaves ORDER BY idx")?;
    let mut rows = query.query([])?;
    let mut full = Vec::new();
    while let Some(row) = rows.next()? {
        let at = pass.tree.size();
        if number(row, 0) != Some(at) {
            report.find(Damage::EntryMissing, at, format!("entry {at} is missing"));
            // Nothing after a hole can be compared with a signature.
            break;
        }
        let Ok(bytes) = row.get_ref(1)?.as_blob() else {
            report.find(Damage::EntryMalformed, at, format!("entry {at} is no entry"));
            break;
        };
        pass.tree.push(leaf_hash(bytes), &mut full);
        pass.entry(at, bytes, report);
        for tile in full.drain(..) {
            compare_tile(conn, &tile, report)?;
        }
        compare(&heads, &pass.tree, report);
    }
    pass.finish(conn, &heads, report)
}

/// All checkpoints whose signature holds, by size.
fn heads(
    conn: &Connection,
    key: &PublicKey,
    notes: &Notes<'_>,
    report: &mut Report,
) -> Result<BTreeMap<u64, Vec<(Source, Digest)>>, Error> {
    let mut heads: BTreeMap<u64, Vec<(Source, Digest)>> = BTreeMap::new();
    let mut add = |source, opened: Checkpoint| {
        heads.entry(opened.size).or_default().push((source, opened.root));
    };
    if let Some(pinned) = notes.pinned {
        // A pin that does not hold is not damage of the log but a wrong pin.
        add(Source::Pin, key.open(pinned)?);
    } else {
        report.unproven(
            "without a pinned checkpoint: that no older valid state was put back, and that the key's holder did not write the log anew"
                .into(),
        );
    }
    match &notes.published {
        None => report.find(Damage::BadCheckpoint, None, "the file `checkpoint` is missing"),
        Some(note) => match key.open(note) {
            Ok(opened) => add(Source::File, opened),
            Err(error) => report.find(Damage::BadCheckpoint, None, format!("the file `checkpoint`: {error}")),
        },
    }
    let mut query =
        conn.prepare("SELECT size, note, typeof(time) = 'integer' FROM checkpoints ORDER BY size")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let Some(size) = number(row, 0) else {
            report.find(Damage::BadCheckpoint, None, "there is a checkpoint of a size below 0");
            continue;
        };
        if number(row, 2) != Some(1) {
            let detail = format!("the time of the checkpoint of size {size} is no number");
            report.find(Damage::BadCheckpoint, size, detail);
        }
        let opened = row.get_ref(1)?.as_str().ok().map(|note| key.open(note));
        match opened {
            Some(Ok(opened)) if opened.size == size => add(Source::Database, opened),
            Some(Err(error)) => {
                report.find(Damage::BadCheckpoint, size, format!("the checkpoint of size {size}: {error}"));
            }
            _ => report.find(
                Damage::BadCheckpoint,
                size,
                format!("the checkpoint of size {size} is of another size"),
            ),
        }
    }
    Ok(heads)
}

/// Compares the tree with the checkpoints of its size.
fn compare(heads: &BTreeMap<u64, Vec<(Source, Digest)>>, tree: &Tree, report: &mut Report) {
    let Some(of_size) = heads.get(&tree.size()) else { return };
    let (size, root) = (tree.size(), tree.root());
    for (source, expected) in of_size {
        if *expected == root {
            report.checkpoints += 1;
            report.signed = report.signed.max(size);
        } else if *source == Source::Pin {
            let detail = format!("the first {size} entries are not those of the pinned checkpoint");
            report.find(Damage::Forked, report.signed, detail);
        } else {
            let good = report.signed;
            let detail =
                format!("the entries {good} to {} are not those that were signed", size.saturating_sub(1));
            report.find(Damage::TreeMismatch, good, detail);
        }
    }
}

/// Compares a full tile with the stored one: that tells which entry is damaged, not only that one is.
fn compare_tile(conn: &Connection, tile: &FullTile, report: &mut Report) -> Result<(), Error> {
    let mut query = conn.prepare_cached("SELECT data FROM tiles WHERE level = ?1 AND n = ?2")?;
    let mut rows = query.query((tile.level, crate::store::row_id(tile.index)))?;
    let stored = match rows.next()? {
        Some(row) => row.get_ref(0)?.as_blob().map(<[u8]>::to_vec).unwrap_or_default(),
        None => Vec::new(),
    };
    if stored != tile.hashes {
        // Of a tile of another length no hash is known to stand in its place.
        let (theirs, ours) = (stored.chunks(32), tile.hashes.chunks(32));
        let same = if stored.len() == tile.hashes.len() {
            theirs.zip(ours).take_while(|(a, b)| a == b).count()
        } else {
            0
        };
        let first = (tile.index * TILE as u64 + same as u64) << (8 * u32::from(tile.level));
        let detail =
            format!("entry {first}, or tile {}/{} that holds its hash, was changed", tile.level, tile.index);
        report.find(Damage::TileMismatch, first, detail);
    }
    Ok(())
}

impl Pass<'_> {
    fn entry(&mut self, at: u64, bytes: &[u8], report: &mut Report) {
        let leaf = match Leaf::decode(bytes) {
            Ok(leaf) => leaf,
            Err(error) => {
                self.log.rows.push(RowOf::None);
                return report.find(
                    Damage::EntryMalformed,
                    at,
                    format!("entry {at} cannot be read: {error}"),
                );
            }
        };
        if at == 0 && !matches!(&leaf.kind, Kind::Key(key) if key.role == KeyRole::Log) {
            report.find(Damage::OtherKey, at, "entry 0 does not name the key of the log");
        }
        let mut row = RowOf::None;
        match leaf.kind {
            Kind::Intent(intent) => {
                row = RowOf::Session;
                report.sessions += 1;
                self.open.insert(at, intent.id);
                for claim in &intent.claims {
                    if let Some((first, _)) = self.log.claims.insert(*claim, (at, intent.id)) {
                        let detail = format!("entries {first} and {at} use the same approval");
                        report.find(Damage::ClaimReused, at, detail);
                    }
                }
            }
            Kind::Outcome(outcome) | Kind::Interruption(outcome) => self.outcome(at, &outcome, report),
            Kind::Refusal(refused) => {
                row = RowOf::Session;
                report.sessions += 1;
                self.expect(at, refused.id, &refused.bodies, report);
            }
            Kind::Event(_) => row = RowOf::Event,
            Kind::Hold(hold) => {
                row = RowOf::Event;
                self.hold(at, &hold, report);
            }
            Kind::Gap(gap) => {
                self.gaps += 1;
                // The sum is told, not relied on; nobody can have lost this many.
                report.missing = report.missing.saturating_add(gap.count);
                if gap.reason == GapReason::RolledBack {
                    let detail =
                        format!("entry {at} says that {} entries were lost with the power", gap.count);
                    report.unproven(detail);
                }
            }
            Kind::Erasure(erasure) => {
                self.log.erasures.insert(at, (erasure.sessions, erasure.list));
                if erasure.scope == Scope::Segment {
                    self.log.dropped.insert(erasure.segment);
                } else {
                    row = RowOf::Event;
                }
            }
            Kind::Key(key) => self.key(at, &key, report),
            Kind::Start(_) => self.all_closed(at, "the start", report),
            Kind::Stop => self.all_closed(at, "the end", report),
        }
        self.log.rows.push(row);
    }

    fn key(&self, at: u64, key: &Key, report: &mut Report) {
        if key.role != KeyRole::Log {
            return;
        }
        if key.key != *self.key.bytes() {
            let detail = format!("entry {at} names another key than the one you verify with");
            report.find(Damage::OtherKey, at, detail);
        } else if at != 0 {
            let detail = format!("entry {at} names the key of the log again, which only entry 0 does");
            report.find(Damage::OtherKey, at, detail);
        }
    }

    /// A hold's digest is salted, so that it names one hold.
    fn hold(&mut self, at: u64, hold: &Hold, report: &mut Report) {
        let broken = match (hold.released, self.log.holds.entry(hold.target)) {
            (false, Entry::Vacant(vacant)) => {
                vacant.insert(Held { set: at, released: None });
                return;
            }
            (true, Entry::Occupied(mut held)) if held.get().released.is_none() => {
                held.get_mut().released = Some(at);
                return;
            }
            (false, _) => "sets a legal hold that was set before",
            (true, _) => "releases a legal hold that was not in force",
        };
        report.find(Damage::WordsAltered, at, format!("entry {at} {broken}"));
    }

    fn outcome(&mut self, at: u64, outcome: &Outcome, report: &mut Report) {
        match self.open.remove(&outcome.intent) {
            Some(id) if id == outcome.id => {}
            Some(_) => {
                let detail =
                    format!("entry {at} closes entry {}, which is of another request", outcome.intent);
                report.find(Damage::OutcomeWithoutIntent, at, detail);
            }
            None if self.log.outcome_of.contains_key(&outcome.intent) => {
                let detail =
                    format!("entry {at} closes the request of entry {} a second time", outcome.intent);
                report.find(Damage::OutcomeTwice, at, detail);
            }
            None => {
                let detail = format!("entry {at} closes entry {}, which is no open request", outcome.intent);
                report.find(Damage::OutcomeWithoutIntent, at, detail);
            }
        }
        self.log.outcome_of.entry(outcome.intent).or_insert(at);
        self.log.masks.extend(outcome.mask_digest.map(|digest| (at, digest)));
        self.expect(at, outcome.id, &outcome.bodies, report);
    }

    fn expect(&mut self, entry: u64, id: [u8; 16], bodies: &Bodies, report: &mut Report) {
        let ways = [(Way::Request, &bodies.request), (Way::Response, &bodies.response)];
        for (way, stored) in ways {
            let Some(stored) = stored else {
                if !bodies.lost {
                    self.log.bodiless.insert((id, way));
                }
                continue;
            };
            let expected = Expected { entry, stored: stored.clone() };
            if let Some(other) = self.log.bodies.insert((id, way), expected)
                && other.stored != *stored
            {
                let detail =
                    format!("entries {} and {entry} say different things of the same body", other.entry);
                report.find(Damage::BodyAltered, entry, detail);
            }
        }
    }

    fn all_closed(&mut self, at: u64, what: &str, report: &mut Report) {
        let mut open: Vec<u64> = self.open.drain().map(|(entry, _)| entry).collect();
        open.sort_unstable();
        for entry in open {
            let detail = format!(
                "the request of entry {entry} has no outcome, although {what} (entry {at}) came after it"
            );
            report.find(Damage::OutcomeMissing, entry, detail);
        }
    }

    fn finish(
        self,
        conn: &Connection,
        heads: &BTreeMap<u64, Vec<(Source, Digest)>>,
        report: &mut Report,
    ) -> Result<Log, Error> {
        let size = self.tree.size();
        report.entries = size;
        for (beyond, sources) in heads.range(size + 1..) {
            for (source, _) in sources {
                let (damage, whose) = match source {
                    Source::Pin => (Damage::RolledBack, "pinned"),
                    _ => (Damage::Truncated, "signed"),
                };
                report.find(
                    damage,
                    size,
                    format!("there are {size} entries, but the {whose} checkpoint covers {beyond}"),
                );
            }
        }
        let tiles = conn.query_row("SELECT count(*) FROM tiles", [], |row| Ok(number(row, 0)))?;
        if tiles > Some(full_tiles(size)) {
            report.find(Damage::Truncated, size, "there are tiles of entries that are not there");
        }
        if report.signed < size {
            report.unproven(format!(
                "entries {} to {}: no checkpoint covers them yet",
                report.signed,
                size - 1
            ));
        }
        if let Some(pinned) = pinned(heads).filter(|pinned| *pinned < size) {
            report.unproven(format!(
                "entries {pinned} to {} came after the pinned checkpoint: that no later state was put aside for this one, and that the key's holder did not write them anew",
                size - 1
            ));
        }
        if !self.open.is_empty() {
            report.unproven(format!("{} requests had not ended when the log was copied", self.open.len()));
        }
        if self.gaps > 0 {
            report.unproven(format!(
                "{} declared gaps: {} things were refused or lost unrecorded",
                self.gaps, report.missing
            ));
        }
        Ok(self.log)
    }
}

/// How many entries the pinned checkpoint covers.
fn pinned(heads: &BTreeMap<u64, Vec<(Source, Digest)>>) -> Option<u64> {
    let is_pin = |(source, _): &(Source, Digest)| *source == Source::Pin;
    heads.iter().find(|(_, of_size)| of_size.iter().any(is_pin)).map(|(size, _)| *size)
}

/// How many full tiles a tree has, on all levels. Each was looked for, so that more than these are too many.
fn full_tiles(size: u64) -> u64 {
    std::iter::successors(Some(size / TILE as u64), |n| Some(n / TILE as u64)).take_while(|n| *n > 0).sum()
}
