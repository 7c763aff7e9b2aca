//! Reading a log, beside the process that writes it or alone.

use std::path::{Path, PathBuf};

use gatewayd_core::{Action, RequestId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use crate::blobs::Segments;
use crate::error::Error;
use crate::facts::{self, Who};
use crate::keys::{RootKey, SealKey};
use crate::leaf::{Kind, Stored};
use crate::prove::{self, EntryProof};
use crate::record::{SESSIONS, Session, damaged, decode};
use crate::replay::{self, Replay};
use crate::store::{self, index, row_id};
use crate::view::{Bundle, EventView, HoldView, Summary};

/// Which sessions to list, newest first. All that is set must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// The caller's subject.
    pub subject: Option<String>,
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
        Ok(Self { conn, dir: dir.to_owned(), segments: Segments::below(dir), root: root.to_owned() })
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
            let summary = session.summary()?;
            if session.matches(filter, &summary)? {
                found.push(summary);
                if found.len() >= limit {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Everything known of one session.
    ///
    /// # Errors
    /// [`Error::NoSession`], or if the log cannot be read or is damaged.
    pub fn show(&self, id: RequestId) -> Result<Bundle, Error> {
        let session = self.session(id)?;
        let events = self.events(Some(id), 1000)?;
        let mut bundle = session.bundle(events)?;
        // Without the key above all keys the rest can be shown all the same.
        if let Ok(Some(key)) = self.key_of(&session)
            && let Ok([request, response]) = replay::heads(&self.segments, &key, session.wanted())
        {
            (bundle.request_headers, bundle.response_headers) = (request, response);
        }
        Ok(bundle)
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
        if !wanted.open && wanted.request.is_none() && wanted.response.is_none() {
            return Ok(Replay::default());
        }
        let Some(key) = self.key_of(&session)? else {
            // An open session may have nothing stored yet.
            return if wanted.open {
                Ok(Replay { open: true, ..Replay::default() })
            } else {
                Err(Error::Damaged(format!("the key of session {id} is missing, although nobody erased it")))
            };
        };
        for stored in [wanted.request, wanted.response].into_iter().flatten() {
            self.all_there(stored, id)?;
        }
        replay::replay(&self.conn, &self.segments, &key, wanted)
    }

    fn key_of(&self, session: &Session) -> Result<Option<SealKey>, Error> {
        replay::session_key(&self.conn, &RootKey::load(&self.root)?, session.number, &session.id)
    }

    /// Events, newest first: all, or those that belong to one request.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn events(&self, request: Option<RequestId>, limit: usize) -> Result<Vec<EventView>, Error> {
        let of_one = request.map_or("", |_| "WHERE e.request = ?1");
        let mut query = self.conn.prepare(&format!(
            "SELECT e.idx, e.who, e.words, l.data FROM events e JOIN leaves l ON l.idx = e.idx {of_one} ORDER BY e.idx DESC"
        ))?;
        let mut rows = query.query(params_from_iter(request.iter().map(RequestId::as_bytes)))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let leaf = decode(&row.get::<_, Vec<u8>>(3)?, row.get(0)?)?;
            let (kind, belongs) = match &leaf.kind {
                Kind::Event(event) => (event.event.as_str(), event.request.map(RequestId::from_bytes)),
                other => (other.name(), None),
            };
            let who: Option<Vec<u8>> = row.get(1)?;
            let actor = who.map(|who| Who::decode(&who)).transpose().map_err(damaged)?;
            let (object, outcome) = facts::decode_event(&row.get::<_, Vec<u8>>(2)?).map_err(damaged)?;
            found.push(EventView {
                number: index(row.get(0)?),
                time: leaf.time,
                kind,
                actor: actor.and_then(|who| who.subject).unwrap_or_else(|| "gatewayd".into()),
                object,
                outcome,
                request: belongs,
            });
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Legal holds, newest first, released ones too.
    ///
    /// # Errors
    /// If the log cannot be read or is damaged.
    pub fn holds(&self) -> Result<Vec<HoldView>, Error> {
        let mut query = self.conn.prepare(
            "SELECT h.idx, h.session, h.subject, h.reason, h.released, e.who, l.data, r.data FROM holds h
             JOIN events e ON e.idx = h.idx JOIN leaves l ON l.idx = h.idx LEFT JOIN leaves r ON r.idx = h.released
             ORDER BY h.idx DESC",
        )?;
        let mut rows = query.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let who: Option<Vec<u8>> = row.get(5)?;
            let who = who.map(|who| Who::decode(&who)).transpose().map_err(damaged)?;
            let released: Option<Vec<u8>> = row.get(7)?;
            let released = released.map(|leaf| decode(&leaf, row.get(4)?)).transpose()?;
            found.push(HoldView {
                number: row.get(0)?,
                time: decode(&row.get::<_, Vec<u8>>(6)?, row.get(0)?)?.time,
                session: row.get::<_, Option<[u8; 16]>>(1)?.map(RequestId::from_bytes),
                subject: row.get(2)?,
                by: who.and_then(|who| who.subject).unwrap_or_else(|| "gatewayd".into()),
                reason: row.get(3)?,
                released: released.map(|leaf| leaf.time),
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
        prove::entry(&self.conn, &self.dir, entry)
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

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("segments", &self.segments).finish_non_exhaustive()
    }
}
