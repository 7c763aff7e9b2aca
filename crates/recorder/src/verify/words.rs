//! The words in the database: are they those that the entries commit to, and none besides?

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::log::{Log, RowOf};
use super::report::{Damage, Report};
use crate::error::Error;
use crate::facts::{self, Salt, What, Who, Words, claim_digest};
use crate::leaf::{Kind, Leaf};
use crate::retention::{hold_words, list_digest};
use crate::store::index;

/// Which rows were seen, and what they say together.
struct Pass<'a> {
    log: &'a Log,
    seen: Vec<bool>,
    /// Sessions that name an erasure, by its entry.
    erased: HashMap<u64, Vec<u64>>,
}

pub(super) fn check(conn: &Connection, log: &Log, report: &mut Report) -> Result<(), Error> {
    let mut pass = Pass { log, seen: vec![false; log.rows.len()], erased: HashMap::new() };
    pass.sessions(conn, report)?;
    pass.events(conn, report)?;
    pass.holds(conn, report)?;
    pass.claims(conn, report)?;
    pass.finish(report);
    Ok(())
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a [u8]> {
    match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes)) => Some(bytes),
        _ => None,
    }
}

fn number(row: &Row<'_>, column: usize) -> Option<u64> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(value)) => Some(index(value)),
        _ => None,
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a str> {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok())
}

impl Pass<'_> {
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

    fn sessions(&mut self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT s.number, s.id, s.outcome, s.salt, s.who, s.what, s.masks, s.erased, subject.text, first.data, last.data
             FROM sessions s LEFT JOIN labels subject ON subject.id = s.subject
             LEFT JOIN leaves first ON first.idx = s.number LEFT JOIN leaves last ON last.idx = s.outcome ORDER BY s.number",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Some(entry) = number(row, 0) else { continue };
            if !self.mark(entry, RowOf::Session, report) {
                continue;
            }
            if let Err(what) = self.session(entry, row) {
                report.find(Damage::WordsAltered, entry, format!("the words of entry {entry}: {what}"));
            }
            let expected = self.log.outcome_of.get(&entry).copied();
            let refusal = matches!(leaf(row, 9).map(|l| l.kind), Some(Kind::Refusal(_)));
            if number(row, 2) != if refusal { Some(entry) } else { expected } {
                let detail = format!("the row of entry {entry} names another outcome than the log");
                report.find(Damage::WordsAltered, entry, detail);
            }
        }
        Ok(())
    }

    fn session(&mut self, entry: u64, row: &Row<'_>) -> Result<(), &'static str> {
        let first = leaf(row, 9).ok_or("their entry cannot be read")?;
        let (id, who_digest, what_digest) = match &first.kind {
            Kind::Intent(intent) => (&intent.id, &intent.who, &intent.what),
            Kind::Refusal(refused) => (&refused.id, &refused.who, &refused.what),
            _ => return Err("their entry is no request"),
        };
        if blob(row, 1) != Some(id) {
            return Err("they are of another request");
        }
        if let Some(erasure) = number(row, 7) {
            self.erased.entry(erasure).or_default().push(entry);
            let rest = [3, 4, 5, 6].iter().any(|column| blob(row, *column).is_some());
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
        let who = Who::decode(who).map_err(|_| "who asked cannot be read")?;
        if text(row, 8) != Some(&who.subject_key()) {
            return Err("the index by subject was changed");
        }
        self.reasons(&first, what)?;
        masks(row, &salt)
    }

    /// The words that stand in both places must be the same.
    fn reasons(&self, first: &Leaf, what: &[u8]) -> Result<(), &'static str> {
        let what = What::decode(what).map_err(|_| "what was asked cannot be read")?;
        let (rule, policy) = match &first.kind {
            Kind::Intent(intent) => {
                let credential = intent.credential.is(what.credential.as_deref());
                if !credential || !intent.version.is(what.version.as_deref()) {
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
        if rule.is(what.rule.as_deref()) && policy.is(what.policy.as_deref()) {
            Ok(())
        } else {
            Err("the rule is not that of the entry")
        }
    }

    fn events(&mut self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT e.idx, e.salt, e.who, e.words, l.data, e.request FROM events e LEFT JOIN leaves l ON l.idx = e.idx ORDER BY e.idx",
        )?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let Some(entry) = number(row, 0) else { continue };
            if self.mark(entry, RowOf::Event, report)
                && let Err(what) = event(row)
            {
                report.find(Damage::WordsAltered, entry, format!("the words of entry {entry}: {what}"));
            }
        }
        Ok(())
    }

    fn holds(&self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare(
            "SELECT h.idx, h.session, h.subject, h.reason, h.salt, h.released, l.data, r.data FROM holds h
             LEFT JOIN leaves l ON l.idx = h.idx LEFT JOIN leaves r ON r.idx = h.released",
        )?;
        let mut rows = query.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let Some(entry) = number(row, 0) else { continue };
            count += 1;
            let salt: Option<Salt> = blob(row, 4).and_then(|salt| salt.try_into().ok());
            let words = hold_words(blob(row, 1), text(row, 2), text(row, 3).unwrap_or_default());
            let set = matches!(leaf(row, 6).map(|l| l.kind), Some(Kind::Hold(hold)) if !hold.released
                && salt.is_some_and(|salt| facts::digest(Words::Hold, &salt, &words) == hold.target));
            let released = number(row, 5).is_none()
                || matches!(leaf(row, 7).map(|l| l.kind), Some(Kind::Hold(hold)) if hold.released);
            if !set || !released {
                report.find(
                    Damage::WordsAltered,
                    entry,
                    format!("the legal hold of entry {entry} was changed"),
                );
            }
        }
        drop(rows);
        let declared = self.holds_declared(conn)?;
        if declared != count {
            report.find(
                Damage::WordsMissing,
                None,
                format!("{declared} legal holds were set, {count} are there"),
            );
        }
        Ok(())
    }

    fn holds_declared(&self, conn: &Connection) -> Result<u64, Error> {
        let mut query = conn.prepare("SELECT data FROM leaves WHERE idx = ?1")?;
        let mut declared = 0;
        let events = self.log.rows.iter().zip(0_i64..).filter(|(row, _)| **row == RowOf::Event);
        for (_, at) in events {
            let mut rows = query.query([at])?;
            if let Some(row) = rows.next()?
                && let Some(Leaf { kind: Kind::Hold(hold), .. }) = leaf(row, 0)
            {
                declared += u64::from(!hold.released);
            }
        }
        Ok(declared)
    }

    fn claims(&self, conn: &Connection, report: &mut Report) -> Result<(), Error> {
        let mut query = conn.prepare("SELECT kind, id, session FROM claims")?;
        let mut rows = query.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (Some(kind), Some(id)) = (text(row, 0), text(row, 1)) else { continue };
            let made = self.log.claims.get(&claim_digest(kind, id)).copied();
            count += 1;
            if made.is_none() || made != number(row, 2) {
                report.find(
                    Damage::WordsInvented,
                    made,
                    format!("the log does not hold the use of {kind} {id}"),
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

fn leaf(row: &Row<'_>, column: usize) -> Option<Leaf> {
    blob(row, column).and_then(|bytes| Leaf::decode(bytes).ok())
}

fn masks(row: &Row<'_>, salt: &Salt) -> Result<(), &'static str> {
    let expected = match leaf(row, 10).map(|leaf| leaf.kind) {
        Some(Kind::Outcome(outcome) | Kind::Interruption(outcome)) => outcome.mask_digest,
        _ => None,
    };
    let found = blob(row, 6).map(|words| facts::digest(Words::Masks, salt, words));
    if found == expected { Ok(()) } else { Err("the mask counts were changed") }
}

fn event(row: &Row<'_>) -> Result<(), &'static str> {
    let leaf = leaf(row, 4).ok_or("their entry cannot be read")?;
    let salt: Salt = blob(row, 1).and_then(|salt| salt.try_into().ok()).ok_or("their salt is missing")?;
    let (object, outcome) = blob(row, 3)
        .and_then(|words| facts::decode_event(words).ok())
        .ok_or("what happened cannot be read")?;
    let (who, fits) = match &leaf.kind {
        Kind::Event(event) => (event.who, event.object.is(Some(&object)) && event.outcome.is(Some(&outcome))),
        Kind::Erasure(erasure) => (erasure.who, erasure.reason.is(Some(&outcome))),
        Kind::Hold(hold) => (hold.who, true),
        _ => return Err("their entry is no event"),
    };
    let found = blob(row, 2).map_or([0; 32], |words| facts::digest(Words::Who, &salt, words));
    if found != who {
        return Err("who did it was changed");
    }
    let request = if let Kind::Event(event) = &leaf.kind { event.request } else { None };
    if blob(row, 5) != request.as_ref().map(<[u8; 16]>::as_slice) {
        return Err("the request it belongs to was changed");
    }
    if fits { Ok(()) } else { Err("what happened was changed") }
}
