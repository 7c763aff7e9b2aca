//! Reading a log, beside the process that writes it or alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatewayd_core::{Action, EventKind, RequestId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use crate::blobs::Segments;
use crate::error::Error;
use crate::facts::{self, Salt, Who, Words};
use crate::head::Head;
use crate::keys::{RootKey, SealKey};
use crate::leaf::{Kind, Leaf, Stored};
use crate::prove::{self, EntryProof};
use crate::record::{SESSIONS, Session, damaged, decode};
use crate::replay::{self, Replay};
use crate::retention::{Target, hold_words, is_release, may_be_erased};
use crate::store::{self, index, row_id};
use crate::view::{Bundle, EventView, HoldView, Summary};
use crate::witness::Witness;

/// So many events of a request, or of an approval, are shown.
const MOST_EVENTS: usize = 1000;

/// Which sessions to list, newest first. All that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The caller's subject.
    pub subject: Option<String>,
    /// Who vouches for the caller.
    pub issuer: Option<String>,
    /// A group of the caller.
    pub group: Option<String>,
    /// The model, as the request named it.
    pub model: Option<String>,
    /// The action.
    pub action: Option<Action>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Something in the answer was masked by this rule.
    pub masked_rule: Option<String>,
    /// At most so many; 0 means 100.
    pub limit: usize,
}

/// Reads a log. It never writes to it.
pub struct Reader {
    conn: Connection,
    dir: PathBuf,
    segments: Segments,
    root: PathBuf,
    witness: RefCell<Witness>,
}

impl Reader {
    /// Opens the log in this directory. The root key is `root.key` there, needed for [`replay`](Self::replay) only.
    ///
    /// # Errors
    /// If there is no log, or a later version wrote it.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        Self::open_with_root(dir, &dir.join("root.key"))
    }

    /// Opens the log with a root key that lives elsewhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_root(dir: impl AsRef<Path>, root: &Path) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let conn = store::open_read(dir)?;
        store::check_schema(&conn)?;
        Ok(Self {
            conn,
            dir: dir.to_owned(),
            segments: Segments::below(dir),
            root: root.to_owned(),
            witness: RefCell::default(),
        })
    }

    /// Sessions, newest first.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        let mut labels = Vec::new();
        if let Some(subject) = &filter.subject {
            labels = self.labels_of(subject)?;
            if labels.is_empty() {
                return Ok(Vec::new());
            }
        }
        let marks = vec!["?"; labels.len()].join(",");
        let narrowed =
            if labels.is_empty() { String::new() } else { format!(" WHERE s.subject IN ({marks})") };
        let mut query = self.conn.prepare(&format!("{SESSIONS}{narrowed} ORDER BY s.number DESC"))?;
        let mut rows = query.query(params_from_iter(labels))?;
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let session = Session::from_row(row)?;
            let mut summary = session.summary()?;
            if session.matches(filter, &summary)? {
                summary.altered |= !self.were_signed(&session)?;
                found.push(summary);
                if found.len() >= limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whether the target may be erased as things stand: asked before something else is erased with it.
    ///
    /// # Errors
    /// What [`Recorder::erase`](crate::Recorder::erase) would say: [`Error::Held`], [`Error::NoSession`],
    /// [`Error::Erased`], or that a session has not ended.
    pub fn may_erase(&self, target: &Target) -> Result<(), Error> {
        may_be_erased(&self.conn, target).map(drop)
    }

    /// Everything known of one session.
    ///
    /// # Errors
    /// [`Error::NoSession`], or if the log cannot be read or is damaged.
    pub fn show(&self, id: RequestId) -> Result<Bundle, Error> {
        let session = self.session(id)?;
        let mut bundle = session.bundle(self.events(Some(id), MOST_EVENTS)?)?;
        self.add_approvals(&mut bundle)?;
        bundle.summary.altered |= !self.were_signed(&session)?;
        let stored = [session.wanted().request, session.wanted().response].into_iter().flatten();
        let dropped = stored.map(|stored| self.all_there(stored, id)).find_map(|there| match there {
            Err(Error::Erased(what)) => Some(what),
            _ => None,
        });
        match self.heads(&session) {
            Ok([request, response]) => {
                bundle.http_version = request.version;
                (bundle.request_headers, bundle.response_headers) = (request.fields, response.fields);
            }
            // Without the key above all keys, or beside a damaged body, the rest can be shown all the same.
            Err(error) if dropped.is_none() => bundle.missing.push(format!("the header fields: {error}")),
            Err(_) => {}
        }
        bundle.missing.extend(dropped);
        Ok(bundle)
    }

    fn heads(&self, session: &Session) -> Result<[Head; 2], Error> {
        let wanted = session.wanted();
        let has_none = wanted.request.is_none() && wanted.response.is_none();
        if session.erased || has_none {
            return Ok(<[Head; 2]>::default());
        }
        let key = self.key_of(session)?.ok_or_else(|| key_is_missing(wanted.id))?;
        replay::heads(&self.segments, &key, wanted)
    }

    /// What the caller sent, masked, and what the caller saw, with its timing. A session that is still open
    /// gives what is stored so far.
    ///
    /// # Errors
    /// [`Error::Erased`] if its key is gone; [`Error::Damaged`] if a body is not what the log commits to.
    pub fn replay(&self, id: RequestId) -> Result<Replay, Error> {
        let session = self.session(id)?;
        if session.erased {
            return Err(Error::Erased(format!("session {id}")));
        }
        let wanted = session.wanted();
        let altered = session.summary()?.altered || !self.were_signed(&session)?;
        let missing = session.missing();
        let empty = Replay { open: wanted.open, altered, missing, ..Replay::default() };
        if !wanted.open && wanted.request.is_none() && wanted.response.is_none() {
            return Ok(empty);
        }
        let Some(key) = self.key_of(&session)? else {
            // An open session may have nothing stored yet.
            return if wanted.open { Ok(empty) } else { Err(key_is_missing(wanted.id)) };
        };
        for stored in [wanted.request, wanted.response].into_iter().flatten() {
            self.all_there(stored, id)?;
        }
        let replay = replay::replay(&self.conn, &self.segments, &key, wanted)?;
        Ok(Replay { altered, missing: empty.missing, ..replay })
    }

    fn were_signed(&self, session: &Session) -> Result<bool, Error> {
        for (index, entry) in session.entries() {
            if !self.was_signed(index, entry)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn was_signed(&self, index: u64, entry: &[u8]) -> Result<bool, Error> {
        self.witness.borrow_mut().holds(&self.conn, &self.dir, index, entry)
    }

    fn key_of(&self, session: &Session) -> Result<Option<SealKey>, Error> {
        replay::session_key(&self.conn, &RootKey::load(&self.root)?, session.number, &session.id)
    }

    /// Events, newest first: those that belong to one request, or all; then also what the log says of itself in its
    /// newest million entries: gaps, starts, stops and keys.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn events(&self, request: Option<RequestId>, limit: usize) -> Result<Vec<EventView>, Error> {
        if let Some(id) = request {
            return self.events_where("WHERE e.request = ?1", id.as_bytes(), limit);
        }
        let mut found = self.events_where("WHERE ?1 IS NOT NULL", b"", limit)?;
        found.extend(self.notices(limit)?);
        found.sort_by_key(|event| std::cmp::Reverse(event.number));
        found.truncate(limit);
        Ok(found)
    }

    /// Who asked for the approvals that a request used or waited for, who looked at them, and who agreed: these events
    /// belong to other requests, or to none.
    fn add_approvals(&self, bundle: &mut Bundle) -> Result<(), Error> {
        let used = bundle.claims.iter().filter_map(|claim| claim.strip_prefix("approval:"));
        let asked = bundle.events.iter().filter(|event| event.kind == EventKind::ApprovalRequested.as_str());
        let approvals: BTreeSet<String> =
            used.chain(asked.map(|event| event.object.as_str())).map(str::to_owned).collect();
        for approval in approvals {
            let about = self.events_where(
                "WHERE substr(e.words, 1, length(?1)) = ?1",
                &facts::encode_object(&approval),
                MOST_EVENTS,
            )?;
            bundle.events.extend(about);
        }
        bundle.events.sort_by_key(|event| std::cmp::Reverse(event.number));
        bundle.events.dedup_by_key(|event| event.number);
        Ok(())
    }

    fn events_where(&self, condition: &str, about: &[u8], limit: usize) -> Result<Vec<EventView>, Error> {
        let mut query = self.conn.prepare(&format!(
            "SELECT e.idx, e.who, e.words, l.data, e.salt FROM events e JOIN leaves l ON l.idx = e.idx {condition} ORDER BY e.idx DESC"
        ))?;
        let mut rows = query.query([about])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let entry: Vec<u8> = row.get(3)?;
            let leaf = decode(&entry, row.get(0)?)?;
            let (kind, belongs) = match &leaf.kind {
                Kind::Event(event) => (event.event.as_str(), event.request.map(RequestId::from_bytes)),
                other => (other.name(), None),
            };
            let (who, words, salt): (Option<Vec<u8>>, Vec<u8>, Salt) =
                (row.get(1)?, row.get(2)?, row.get(4)?);
            let altered = !facts::is_event(&leaf.kind, &salt, who.as_deref(), &words)
                || !self.was_signed(index(row.get(0)?), &entry)?;
            let (actor, issuer) = named(who)?;
            let (object, outcome) = facts::decode_event(&words).map_err(damaged)?;
            found.push(EventView {
                number: index(row.get(0)?),
                time: leaf.time,
                kind,
                actor,
                issuer,
                object,
                outcome,
                request: belongs,
                altered,
            });
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    fn notices(&self, limit: usize) -> Result<Vec<EventView>, Error> {
        let mut query = self.conn.prepare_cached(
            "SELECT idx, data FROM leaves WHERE idx > (SELECT max(idx) FROM leaves) - 1000000
             AND substr(data, 2, 1) IN (x'05', x'09', x'0a', x'0b') ORDER BY idx DESC LIMIT ?1",
        )?;
        let mut rows = query.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (number, entry): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let leaf = decode(&entry, number)?;
            let (object, outcome) = match &leaf.kind {
                Kind::Gap(gap) => (format!("{} missing", gap.count), gap.note.shown().unwrap_or_default()),
                Kind::Key(key) => (hex::encode(key.key), format!("{:?} key", key.role).to_lowercase()),
                Kind::Start(start) => {
                    (start.software.shown().unwrap_or_default(), format!("{} interrupted", start.interrupted))
                }
                _ => Default::default(),
            };
            found.push(EventView {
                number: index(number),
                time: leaf.time,
                kind: leaf.kind.name(),
                actor: "gatewayd".into(),
                issuer: None,
                object,
                outcome,
                request: None,
                altered: !self.was_signed(index(number), &entry)?,
            });
        }
        Ok(found)
    }

    /// Legal holds, newest first, released ones too.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn holds(&self) -> Result<Vec<HoldView>, Error> {
        let mut query = self.conn.prepare(
            "SELECT h.idx, h.session, h.subject, h.reason, h.released, e.who, l.data, r.data, h.salt FROM holds h
             JOIN events e ON e.idx = h.idx JOIN leaves l ON l.idx = h.idx LEFT JOIN leaves r ON r.idx = h.released
             ORDER BY h.idx DESC",
        )?;
        let mut rows = query.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let who: Option<Vec<u8>> = row.get(5)?;
            let (by, issuer) = named(who)?;
            let entry: Vec<u8> = row.get(6)?;
            let (leaf, end): (Leaf, Option<Vec<u8>>) = (decode(&entry, row.get(0)?)?, row.get(7)?);
            let (session, subject, reason): (Option<[u8; 16]>, Option<String>, String) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            let Kind::Hold(hold) = &leaf.kind else {
                return Err(Error::Damaged(format!(
                    "hold {} is not that of its entry",
                    row.get::<_, i64>(0)?
                )));
            };
            let words = hold_words(session.as_ref().map(<[u8; 16]>::as_slice), subject.as_deref(), &reason);
            let mut altered = facts::digest(Words::Hold, &row.get::<_, Salt>(8)?, &words) != hold.target
                || !self.was_signed(index(row.get(0)?), &entry)?;
            let mut released = None;
            if let Some(at) = row.get::<_, Option<i64>>(4)? {
                // A release that the log does not hold is none.
                let genuine = end.as_deref().is_some_and(|end| is_release(end, hold.target))
                    && self.was_signed(index(at), end.as_deref().unwrap_or_default())?;
                altered |= !genuine;
                released =
                    end.filter(|_| genuine).map(|end| decode(&end, at)).transpose()?.map(|leaf| leaf.time);
            }
            found.push(HoldView {
                number: row.get(0)?,
                time: leaf.time,
                session: session.map(RequestId::from_bytes),
                subject,
                by,
                issuer,
                reason,
                released,
                altered,
            });
        }
        Ok(found)
    }

    /// The proof that an entry is in the log, against the newest checkpoint. A session's entries are its
    /// [`number`](Summary::number) and its [`outcome`](Bundle::outcome).
    ///
    /// # Errors
    /// If no checkpoint covers it yet, or the log cannot be read.
    pub fn prove(&self, entry: u64) -> Result<EntryProof, Error> {
        let proof = prove::entry(&self.conn, &self.dir, entry)?;
        if self.was_signed(entry, &proof.entry)? {
            return Ok(proof);
        }
        Err(Error::Damaged(format!("entry {entry} is not the one that was signed")))
    }

    /// The hashes that show a log of `old` entries to be the beginning of the log of `new` entries; see
    /// [`is_continuation`](crate::is_continuation).
    ///
    /// # Errors
    /// If the log is shorter, or cannot be read.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<[u8; 32]>, Error> {
        prove::consistency(&self.conn, old, new)
    }

    /// Copies what a verifier needs into another directory, which holds no log yet: entries, words, sealed
    /// bodies, checkpoint, public key; no secret key, so that no body can be read there. Works beside the
    /// process that writes, which a copy of the files does not.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn copy_to(&self, dir: impl AsRef<Path>) -> Result<(), Error> {
        crate::copy::copy(&self.conn, &self.dir, dir.as_ref())
    }

    fn session(&self, id: RequestId) -> Result<Session, Error> {
        let mut query = self.conn.prepare_cached(&format!("{SESSIONS} WHERE s.id = ?1"))?;
        let mut rows = query.query([id.as_bytes()])?;
        match rows.next()? {
            Some(row) => Session::from_row(row),
            None => Err(Error::NoSession(id.to_string())),
        }
    }

    fn labels_of(&self, subject: &str) -> Result<Vec<i64>, Error> {
        let mut query =
            self.conn.prepare("SELECT id FROM labels WHERE text = ?1 OR substr(text, -length(?2)) = ?2")?;
        let rows = query.query_map([subject, &format!("|{subject}")], |row| row.get(0))?;
        rows.map(|row| row.map_err(Error::from)).collect()
    }

    /// Says so if retention took a segment away that the body needs.
    fn all_there(&self, stored: &Stored, id: RequestId) -> Result<(), Error> {
        let dropped: Option<i64> = self
            .conn
            .query_row(
                "SELECT n FROM segments WHERE dropped IS NOT NULL AND n BETWEEN ?1 AND ?2 LIMIT 1",
                [row_id(stored.first_segment), row_id(stored.last_segment)],
                |row| row.get(0),
            )
            .optional()?;
        match dropped {
            Some(n) => Err(Error::Erased(format!("a body of session {id} (retention dropped segment {n})"))),
            None => Ok(()),
        }
    }
}

fn key_is_missing(id: &[u8; 16]) -> Error {
    let id = RequestId::from_bytes(*id);
    Error::Damaged(format!("the key of session {id} is missing, although nobody erased it"))
}

/// What somebody is called, and who vouches for them.
fn named(who: Option<Vec<u8>>) -> Result<(String, Option<String>), Error> {
    let who = who.map(|who| Who::decode(&who)).transpose().map_err(damaged)?.unwrap_or_default();
    Ok((who.subject.unwrap_or_else(|| "gatewayd".into()), who.issuer))
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("segments", &self.segments).finish_non_exhaustive()
    }
}
