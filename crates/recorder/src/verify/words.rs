//! The words in the database: are they those that the entries commit to, and none besides?

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Row};

use super::column::{blob, is_null, number, or_null, text};
use super::log::{Log, RowOf};
use super::report::{Damage, Report};
use crate::codec::{Digest, sha256};
use crate::error::Error;
use crate::facts::{self, Masks, Salt, What, Who, Words, claim_digest};
use crate::leaf::{CREDENTIAL, Kind, Leaf, POLICY, RULE};
use crate::retention::{hold_words, list_digest};
use crate::segment::Way;

/// Which rows were seen, and what they say together.
struct Pass<'a> {
    log: &'a Log,
    seen: Vec<bool>,
    /// Sessions that name an erasure, by its entry.
    erased: HashMap<u64, Vec<u64>>,
}

pub(super) fn check(conn: &Connection, log: &Log, report: &mut Report) -> Result<(), Error> {
    let mut pass = Pass { log, seen: vec![false; log.rows.len()], erased: HashMap::new() };
    let labels = labels(conn, report)?;
    keys(conn, log, report)?;
    pass.sessions(conn, &labels, report)?;
    pass.events(conn, report)?;
    pass.holds(conn, report)?;
    pass.claims(conn, report)?;
    pass.finish(report);
    Ok(())
}

/// The digest of each label. A label is read once, however many sessions have it and however long somebody made it.
type Labels = HashMap<i64, Digest>;

fn labels(conn: &Connection, report: &mut Report) -> Result<Labels, Error> {
    let mut query = conn.prepare("SELECT id, text FROM labels")?;
    let mut rows = query.query([])?;
    let mut labels = Labels::new();
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)?;
        match text(row, 1) {
            Some(text) => drop(labels.insert(id, sha256(&[text.as_bytes()]))),
            None => report.find(Damage::WordsAltered, None, format!("label {id} is no text")),
        }
    }
    Ok(labels)
}

/// Keys prove nothing, but without one a body is lost, and only an erasure may do that.
fn keys(conn: &Connection, log: &Log, report: &mut Report) -> Result<(), Error> {
    let mut query = conn.prepare(
        "SELECT s.id FROM sessions s WHERE s.erased IS NULL AND s.outcome IS NOT NULL AND NOT EXISTS
           (SELECT 1 FROM session_keys k JOIN subject_keys above ON above.subject = k.subject WHERE k.number = s.number)",
    )?;
    let mut rows = query.query([])?;
    let mut locked = 0_u64;
    while let Some(row) = rows.next()? {
        let Some(id) = blob(row, 0).and_then(|id| id.try_into().ok()) else { continue };
        let stored = [Way::Request, Way::Response].iter().any(|way| log.bodies.contains_key(&(id, *way)));
        locked += u64::from(stored);
    }
    if locked > 0 {
        report.unproven(format!(
            "the bodies of {locked} requests cannot be opened by anybody: their keys are missing, and no entry declares that"
        ));
    }
    Ok(())
}

impl Pass<'_> {
    /// The entry that a row is of; `None`, which is told, if the log has no such entry.
    fn entry_of(&mut self, row: &Row<'_>, kind: RowOf, report: &mut Report) -> Option<u64> {
        let Some(entry) = number(row, 0) else {
            report.find(Damage::WordsInvented, None, "there is a row for an entry before the first");
            return None;
        };
        self.mark(entry, kind, report).then_some(entry)
    }

    /// Marks the row of an entry; false if the entry has none.
    fn mark(&mut self, entry: u64, kind: RowOf, report: &mut Report) -> bool {
        let at = usize::try_from(entry).unwrap_or(usize::MAX);
        let fits = self.log.rows.get(at) == Some(&kind);
        match self.seen.get_mut(at) {
            Some(seen) if fits => *seen = true,
            _ => report.find(
                Damage::WordsInvented,
                entry,
                format!("there is a row for entry {entry}, which has none"),
            ),
        }
        fits
    }

    fn sessions(&mut self, conn: &Connection, labels: &Labels, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT s.number, s.id, s.outcome, s.salt, s.who, s.what, s.masks, s.erased, s.subject, first.data
             FROM sessions s LEFT JOIN leaves first ON first.idx = s.number ORDER BY s.number",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Some(entry) = self.entry_of(row, RowOf::Session, report) else { continue };
            let first = leaf(row, 9);
            if let Err(what) = self.session(entry, row, first.as_ref(), labels) {
                report.find(Damage::WordsAltered, entry, format!("the words of entry {entry}: {what}"));
            }
            let expected = self.log.outcome_of.get(&entry).copied();
            let refusal = matches!(first.map(|l| l.kind), Some(Kind::Refusal(_)));
            if or_null(row, 2, number) != Some(if refusal { Some(entry) } else { expected }) {
                let detail = format!("the row of entry {entry} names another outcome than the log");
                report.find(Damage::WordsAltered, entry, detail);
            }
        }
        Ok(())
    }

    fn session(
        &mut self,
        entry: u64,
        row: &Row<'_>,
        first: Option<&Leaf>,
        labels: &Labels,
    ) -> Result<(), &'static str> {
        let first = first.ok_or("their entry cannot be read")?;
        let (id, who_digest, what_digest) = match &first.kind {
            Kind::Intent(intent) => (&intent.id, &intent.who, &intent.what),
            Kind::Refusal(refused) => (&refused.id, &refused.who, &refused.what),
            _ => return Err("their entry is no request"),
        };
        if blob(row, 1) != Some(id) {
            return Err("they are of another request");
        }
        if let Some(erasure) = or_null(row, 7, number).ok_or("the erasure they name is no number")? {
            self.erased.entry(erasure).or_default().push(entry);
            let rest = [3, 4, 5, 6, 8].iter().any(|column| !is_null(row, *column));
            return if rest { Err("they are erased, but something is left") } else { Ok(()) };
        }
        let salt: Salt = blob(row, 3).and_then(|salt| salt.try_into().ok()).ok_or("their salt is missing")?;
        let (who, what) =
            (blob(row, 4).ok_or("who asked is missing")?, blob(row, 5).ok_or("what was asked is missing")?);
        if facts::digest(Words::Who, &salt, who) != *who_digest {
            return Err("who asked was changed");
        }
        if facts::digest(Words::What, &salt, what) != *what_digest {
            return Err("what was asked was changed");
        }
        // The last byte is a flag.
        let flag = who.last().is_some_and(|flag| *flag <= 1);
        let who = Who::decode(who).ok().filter(|_| flag).ok_or("who asked cannot be read")?;
        let label = row.get::<_, i64>(8).ok().and_then(|subject| labels.get(&subject));
        if label != Some(&sha256(&[who.subject_key().as_bytes()])) {
            return Err("the index by subject was changed");
        }
        self.reasons(first, what)?;
        let outcome = self.log.outcome_of.get(&entry);
        masks(row, &salt, outcome.and_then(|outcome| self.log.masks.get(outcome)).copied())
    }

    /// The words that stand in both places must be the same.
    fn reasons(&self, first: &Leaf, what: &[u8]) -> Result<(), &'static str> {
        let what = What::decode(what).map_err(|_| "what was asked cannot be read")?;
        let (rule, policy) = match &first.kind {
            Kind::Intent(intent) => {
                let same = intent.credential.gives(what.credential.as_deref(), CREDENTIAL)
                    && intent.version.gives(what.version.as_deref(), CREDENTIAL);
                if !same {
                    return Err("the credential is not that of the entry");
                }
                let claims: Vec<_> = what.claims.iter().map(|(kind, id)| claim_digest(kind, id)).collect();
                if claims != intent.claims {
                    return Err("the approvals are not those of the entry");
                }
                (&intent.rule, &intent.policy)
            }
            Kind::Refusal(refused) => (&refused.rule, &refused.policy),
            _ => return Err("their entry is no request"),
        };
        let same = rule.gives(what.rule.as_deref(), RULE) && policy.gives(what.policy.as_deref(), POLICY);
        if same { Ok(()) } else { Err("the rule is not that of the entry") }
    }

    fn events(&mut self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT e.idx, e.salt, e.who, e.words, l.data, e.request FROM events e LEFT JOIN leaves l ON l.idx = e.idx ORDER BY e.idx",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Some(entry) = self.entry_of(row, RowOf::Event, report) else { continue };
            if let Err(what) = event(row) {
                report.find(Damage::WordsAltered, entry, format!("the words of entry {entry}: {what}"));
            }
        }
        Ok(())
    }

    fn holds(&mut self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT h.idx, h.session, h.subject, h.reason, h.salt, h.released, l.data FROM holds h
             LEFT JOIN leaves l ON l.idx = h.idx",
        )?;
        let mut rows = query.query([])?;
        let mut missing: BTreeSet<u64> = self.log.holds.values().map(|held| held.set).collect();
        while let Some(row) = rows.next()? {
            let entry = number(row, 0);
            if !entry.is_some_and(|entry| missing.remove(&entry)) {
                report.find(Damage::WordsInvented, entry, "there is a legal hold that no entry sets");
            } else if self.hold(row).is_none() {
                let detail = format!("the legal hold of entry {} was changed", entry.unwrap_or_default());
                report.find(Damage::WordsAltered, entry, detail);
            }
        }
        for entry in missing {
            let detail = format!("the legal hold that entry {entry} sets is missing");
            report.find(Damage::WordsMissing, entry, detail);
        }
        Ok(())
    }

    /// Something if the row is what its entry commits to, and released by the entry that the log says.
    fn hold(&self, row: &Row<'_>) -> Option<()> {
        let Some(Leaf { kind: Kind::Hold(hold), .. }) = leaf(row, 6) else { return None };
        let salt: Salt = blob(row, 4)?.try_into().ok()?;
        let words = hold_words(or_null(row, 1, blob)?, or_null(row, 2, text)?, text(row, 3)?);
        let set = !hold.released && facts::digest(Words::Hold, &salt, &words) == hold.target;
        let released = or_null(row, 5, number)?;
        let told = self.log.holds.get(&hold.target).is_some_and(|held| held.released == released);
        (set && told).then_some(())
    }

    fn claims(&self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare("SELECT kind, id, session, request FROM claims")?;
        let mut rows = query.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (Some(kind), Some(id)) = (text(row, 0), text(row, 1)) else {
                report.find(Damage::WordsInvented, None, "an approval that is marked as used is no text");
                continue;
            };
            let made = self.log.claims.get(&claim_digest(kind, id)).copied();
            count += 1;
            let same = made.is_some_and(|(session, request)| {
                number(row, 2) == Some(session) && blob(row, 3) == Some(request.as_slice())
            });
            if !same {
                report.find(
                    Damage::WordsInvented,
                    made.map(|(session, _)| session),
                    format!("the log does not hold the use of {} {}", quoted(kind), quoted(id)),
                );
            }
        }
        if count != self.log.claims.len() {
            let detail = format!("{} approvals were used, {count} are marked as used", self.log.claims.len());
            report.find(Damage::WordsMissing, None, detail);
        }
        Ok(())
    }

    fn finish(self, report: &mut Report) {
        let rows = self.log.rows.iter().zip(&self.seen).zip(0_u64..);
        for ((row, seen), entry) in rows {
            if *row != RowOf::None && !seen {
                report.find(Damage::WordsMissing, entry, format!("the words of entry {entry} are missing"));
            }
        }
        let mut erased = self.erased;
        for (entry, (count, list)) in &self.log.erasures {
            let mut numbers = erased.remove(entry).unwrap_or_default();
            numbers.sort_unstable();
            if (numbers.len() as u64, list_digest(&numbers)) != (*count, *list) {
                let detail = format!("entry {entry} declares other erasures than those that are there");
                report.find(Damage::ErasureUndeclared, *entry, detail);
            }
        }
        for (entry, numbers) in erased {
            let detail =
                format!("{} requests are erased by entry {entry}, which is no erasure", numbers.len());
            report.find(Damage::ErasureUndeclared, numbers.first().copied(), detail);
        }
    }
}

/// The beginning of a word that anybody may have written, as it can be shown.
fn quoted(word: &str) -> String {
    word.chars().take(64).flat_map(char::escape_debug).collect()
}

fn leaf(row: &Row<'_>, column: usize) -> Option<Leaf> {
    blob(row, column).and_then(|bytes| Leaf::decode(bytes).ok())
}

fn masks(row: &Row<'_>, salt: &Salt, expected: Option<Digest>) -> Result<(), &'static str> {
    let found = or_null(row, 6, blob).ok_or("the mask counts are no bytes")?;
    if found.map(|words| facts::digest(Words::Masks, salt, words)) != expected {
        return Err("the mask counts were changed");
    }
    let masks = found.map(Masks::decode).transpose().map_err(|_| "the mask counts cannot be read")?;
    let sorted = masks.is_none_or(|masks| masks.counts.is_sorted_by(|a, b| a.rule <= b.rule));
    if sorted { Ok(()) } else { Err("the mask counts are not sorted") }
}

fn event(row: &Row<'_>) -> Result<(), &'static str> {
    let leaf = leaf(row, 4).ok_or("their entry cannot be read")?;
    let salt: Salt = blob(row, 1).and_then(|salt| salt.try_into().ok()).ok_or("their salt is missing")?;
    let who = or_null(row, 2, blob).ok_or("who did it is no bytes")?;
    let words = blob(row, 3).ok_or("what happened is no bytes")?;
    let request = if let Kind::Event(event) = &leaf.kind { event.request } else { None };
    if or_null(row, 5, blob) != Some(request.as_ref().map(<[u8; 16]>::as_slice)) {
        return Err("the request it belongs to was changed");
    }
    if facts::is_event(&leaf.kind, &salt, who, words) {
        Ok(())
    } else {
        Err("who did it, or what happened, was changed")
    }
}
