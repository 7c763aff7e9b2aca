//! The database: entries, tiles, checkpoints, and the words behind the entries' digests.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use gatewayd_core::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::codec::Digest;
use crate::config::Durability;
use crate::error::Error;
use crate::facts::Facts;
use crate::lock;
use crate::schema;
use crate::tree::{FullTile, Tree, leaf_hash, perfect_root};

/// The format of the database.
const FORMAT: i64 = 1;
/// The first SQLite whose write-ahead log is free of the reset race (fixed in 3.51.3).
const NEEDED_SQLITE: (i32, &str) = (3_051_003, "3.51.3");
/// How long a statement waits for others.
const BUSY: Duration = Duration::from_secs(5);
/// No value of a log is longer. Readers refuse a longer one: it would fill their memory.
const LONGEST: i32 = 1 << 20;
/// Labels remembered without asking the database.
const LABELS: usize = 16_384;

/// Name of the database file.
pub(crate) const DATABASE: &str = "evidence.db";

/// The database, opened for writing by the one committer.
pub(crate) struct Store {
    path: PathBuf,
    durability: Durability,
    conn: Connection,
    labels: HashMap<String, i64>,
}

/// Refuses a SQLite that can lose committed entries.
pub(crate) fn check_sqlite() -> Result<(), Error> {
    if rusqlite::version_number() < NEEDED_SQLITE.0 {
        return Err(Error::OldSqlite { found: rusqlite::version().to_owned(), needed: NEEDED_SQLITE.1 });
    }
    Ok(())
}

/// Opens the database beside a writer, for reading only.
pub(crate) fn open_read(dir: &Path) -> Result<Connection, Error> {
    are_files(dir)?;
    let path = dir.join(DATABASE);
    let conn = match open_only(&path) {
        Ok(conn) => conn,
        // A closed log on a medium that cannot be written, where SQLite cannot make its shared memory.
        Err(error) if path.exists() => {
            if is_written(dir) {
                let why =
                    "it has a write-ahead log, which needs a directory that can be written; copy it to one";
                return Err(if is_cannot_open(&error) {
                    Error::File { doing: "open", path, source: io::Error::other(why) }
                } else {
                    error.into()
                });
            }
            open_still(dir)?
        }
        Err(_) => {
            let source = io::ErrorKind::NotFound.into();
            return Err(Error::File { doing: "open", path, source });
        }
    };
    check_format(&conn)?;
    Ok(conn)
}

/// Opens a database that nobody writes, without leaving anything beside it.
pub(crate) fn open_still(dir: &Path) -> Result<Connection, Error> {
    are_files(dir)?;
    let path = dir.join(DATABASE);
    fs::metadata(&path).map_err(Error::file("open", &path))?;
    let text = path.to_str().ok_or_else(|| {
        Error::Unavailable(format!("the name {} is not UTF-8; name the directory otherwise", path.display()))
    })?;
    let conn = open_only(format!("file:{}?immutable=1", utf8_percent_encode(text, IN_ADDRESS)))?;
    check_format(&conn)?;
    Ok(conn)
}

/// True if a writer is at work, or left something for its next start.
pub(crate) fn is_written(dir: &Path) -> bool {
    lock::is_taken(dir) || fs::metadata(dir.join(format!("{DATABASE}-wal"))).is_ok_and(|log| log.len() > 0)
}

/// Opens a database with what its writer left for the next start, in a copy of the two: nothing is made beside them, and
/// they may be on a medium that cannot be written.
pub(crate) fn open_copy(dir: &Path) -> Result<(Connection, TemporaryCopy), Error> {
    are_files(dir)?;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random)?;
    let copy = std::env::temp_dir().join(format!("gatewayd-evidence-{}", hex::encode(random)));
    fs::DirBuilder::new().mode(0o700).create(&copy).map_err(Error::file("make", &copy))?;
    let copy = TemporaryCopy(copy);
    for end in ["", "-wal"] {
        let name = format!("{DATABASE}{end}");
        fs::copy(dir.join(&name), copy.0.join(&name)).map_err(Error::file("copy", dir.join(&name)))?;
    }
    Ok((open_read(&copy.0)?, copy))
}

/// A directory that is removed with what is in it.
pub(crate) struct TemporaryCopy(PathBuf);

impl Drop for TemporaryCopy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(dir = %self.0.display(), %error, "a temporary copy could not be removed; remove it yourself");
        }
    }
}

fn open_only(address: impl AsRef<Path>) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(address, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

/// What does not have to be escaped in the address of a file.
const IN_ADDRESS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

fn is_cannot_open(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, ReadOnly};
    error.sqlite_error_code().is_some_and(|code| matches!(code, CannotOpen | ReadOnly))
}

/// Anything but a file in the place of one would be waited for, or read without end.
fn are_files(dir: &Path) -> Result<(), Error> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let path = dir.join(format!("{DATABASE}{end}"));
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::File { doing: "open", path, source: io::Error::other("it is no file") });
        }
    }
    Ok(())
}

/// Refuses a database that holds more, less, or other things than a log.
pub(crate) fn check_schema(conn: &Connection) -> Result<(), Error> {
    match schema::differences(conn)?.into_iter().next() {
        None => Ok(()),
        Some(difference) => Err(Error::Damaged(difference)),
    }
}

fn check_format(conn: &Connection) -> Result<(), Error> {
    let format: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format == FORMAT { Ok(()) } else { Err(Error::OtherFormat(format)) }
}

impl Store {
    /// Opens the database for writing; makes it if it is missing.
    pub(crate) fn open(dir: &Path, durability: Durability) -> Result<Self, Error> {
        check_sqlite()?;
        let path = dir.join(DATABASE);
        are_files(dir)?;
        // The files that SQLite makes beside it get its mode.
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let conn = connect(&path, durability, true)?;
        Ok(Self { path, durability, conn, labels: HashMap::new() })
    }

    /// Opens the file again: after a failed sync nothing that the connection remembers can be trusted.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        self.labels.clear();
        // One that went away is not made anew: the log would begin again.
        self.conn = connect(&self.path, self.durability, false)?;
        Ok(())
    }

    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }

    pub(crate) fn begin(&self) -> Result<(), Error> {
        Ok(self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    pub(crate) fn commit(&self) -> Result<(), Error> {
        Ok(self.conn.prepare_cached("COMMIT")?.execute([]).map(drop)?)
    }

    pub(crate) fn rollback(&mut self) {
        self.labels.clear();
        if !self.conn.is_autocommit() {
            // If this fails, the connection is opened again before anything else is done.
            let _reopened_anyway = self.conn.execute_batch("ROLLBACK");
        }
    }

    /// Moves the write-ahead log into the database file and empties it; false if somebody reads in it just now.
    pub(crate) fn fold_log(&self) -> Result<bool, Error> {
        self.conn.busy_timeout(Duration::from_millis(100))?;
        let busy = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        self.conn.busy_timeout(BUSY)?;
        Ok(busy? == 0)
    }

    /// The tree of the entries that are there.
    pub(crate) fn tree(&self) -> Result<Tree, Error> {
        let size = tree_size(&self.conn)?;
        Tree::from_edge(size, |level, i| edge_hash(&self.conn, level, i))
    }

    pub(crate) fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        meta(&self.conn, key)
    }

    pub(crate) fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        self.conn.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", params![key, value])?;
        Ok(())
    }

    pub(crate) fn insert_leaf(&self, index: u64, leaf: &[u8]) -> Result<(), Error> {
        self.conn
            .prepare_cached("INSERT INTO leaves(idx, data) VALUES(?1, ?2)")?
            .execute(params![row_id(index), leaf])?;
        Ok(())
    }

    pub(crate) fn insert_tile(&self, tile: &FullTile) -> Result<(), Error> {
        self.conn
            .prepare_cached("INSERT INTO tiles(level, n, data) VALUES(?1, ?2, ?3)")?
            .execute(params![tile.level, row_id(tile.index), tile.hashes])?;
        Ok(())
    }

    pub(crate) fn insert_checkpoint(&self, size: u64, time: Timestamp, note: &str) -> Result<(), Error> {
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO checkpoints(size, time, note) VALUES(?1, ?2, ?3)")?
            .execute(params![row_id(size), time.0, note])?;
        Ok(())
    }

    /// Makes the row of a session. `outcome` is set where the session is closed by the same entry.
    pub(crate) fn insert_session(
        &mut self,
        number: u64,
        id: &[u8; 16],
        facts: &Facts,
        outcome: Option<u64>,
    ) -> Result<(), Error> {
        let subject = self.label(&facts.subject)?;
        self.conn
            .prepare_cached(
                "INSERT INTO sessions(number, id, outcome, subject, salt, who, what) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![row_id(number), id, outcome.map(row_id), subject, facts.salt, facts.who, facts.what])?;
        Ok(())
    }

    pub(crate) fn close_session(&self, number: u64, outcome: u64, masks: Option<&[u8]>) -> Result<(), Error> {
        let changed = self
            .conn
            .prepare_cached(
                "UPDATE sessions SET outcome = ?2, masks = CASE WHEN erased IS NULL THEN ?3 END WHERE number = ?1 AND outcome IS NULL",
            )?
            .execute(params![row_id(number), row_id(outcome), masks])?;
        if changed == 1 { Ok(()) } else { Err(Error::Damaged(format!("session {number} is closed twice"))) }
    }

    /// Makes a claim; false if it was made before.
    pub(crate) fn claim(
        &self,
        kind: &str,
        id: &str,
        session: u64,
        request: &[u8; 16],
    ) -> Result<bool, Error> {
        let made = self
            .conn
            .prepare_cached(
                "INSERT OR IGNORE INTO claims(kind, id, session, request) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![kind, id, row_id(session), request])?;
        Ok(made == 1)
    }

    /// Gives back a claim that the same session made.
    pub(crate) fn unclaim(&self, kind: &str, id: &str, session: u64) -> Result<(), Error> {
        self.conn
            .prepare_cached("DELETE FROM claims WHERE kind = ?1 AND id = ?2 AND session = ?3")?
            .execute(params![kind, id, row_id(session)])?;
        Ok(())
    }

    /// True if the session has its closing entry.
    pub(crate) fn is_closed(&self, id: &[u8; 16]) -> Result<bool, Error> {
        let mut query = self.conn.prepare_cached("SELECT outcome IS NOT NULL FROM sessions WHERE id = ?1")?;
        Ok(query.query_row([id], |row| row.get(0)).optional()?.unwrap_or(false))
    }

    /// After a part of a transaction was taken back.
    pub(crate) fn forget_labels(&mut self) {
        self.labels.clear();
    }

    pub(crate) fn insert_event(
        &self,
        index: u64,
        request: Option<&[u8; 16]>,
        salt: &[u8; 16],
        who: Option<&[u8]>,
        words: &[u8],
    ) -> Result<(), Error> {
        self.conn
            .prepare_cached("INSERT INTO events(idx, request, salt, who, words) VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![row_id(index), request, salt, who, words])?;
        Ok(())
    }

    pub(crate) fn insert_subject_key(
        &mut self,
        subject: &str,
        root: &Digest,
        wrapped: &[u8],
    ) -> Result<(), Error> {
        let subject = self.label(subject)?;
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO subject_keys(subject, root, wrapped) VALUES(?1, ?2, ?3)")?
            .execute(params![subject, root, wrapped])?;
        Ok(())
    }

    /// Keeps the key of a session, unless it was erased while it was open: then nobody is to open what comes after.
    pub(crate) fn insert_session_key(
        &mut self,
        id: &[u8; 16],
        number: u64,
        subject: &str,
        wrapped: &[u8],
    ) -> Result<(), Error> {
        if is_erased(&self.conn, id)? == Some(true) {
            return Ok(());
        }
        let subject = self.label(subject)?;
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO session_keys(number, subject, wrapped) VALUES(?1, ?2, ?3)",
            )?
            .execute(params![row_id(number), subject, wrapped])?;
        Ok(())
    }

    /// Notes a segment as closed, when the log had so many entries.
    pub(crate) fn insert_segment(
        &self,
        number: u64,
        closed: Timestamp,
        bytes: u64,
        entries: u64,
    ) -> Result<(), Error> {
        self.conn
            .prepare_cached(
                "INSERT OR IGNORE INTO segments(n, closed, bytes, entries) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![row_id(number), closed.0, row_id(bytes), row_id(entries)])?;
        Ok(())
    }

    /// Sessions without an outcome: number and request id, ascending.
    pub(crate) fn open_sessions(&self) -> Result<Vec<(u64, [u8; 16])>, Error> {
        let mut query =
            self.conn.prepare("SELECT number, id FROM sessions WHERE outcome IS NULL ORDER BY number")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?)))?;
        rows.map(|row| row.map(|(number, id)| (index(number), id)).map_err(Error::from)).collect()
    }

    /// The number of a string, made if it is new.
    pub(crate) fn label(&mut self, text: &str) -> Result<i64, Error> {
        if let Some(id) = self.labels.get(text) {
            return Ok(*id);
        }
        let known = label_of(&self.conn, text)?;
        let id = match known {
            Some(id) => id,
            None => {
                self.conn.prepare_cached("INSERT INTO labels(text) VALUES(?1)")?.execute([text])?;
                self.conn.last_insert_rowid()
            }
        };
        if self.labels.len() >= LABELS {
            self.labels.clear();
        }
        self.labels.insert(text.to_owned(), id);
        Ok(id)
    }
}

fn connect(path: &Path, durability: Durability, may_make: bool) -> Result<Connection, Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, may_make);
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(64);
    let synchronous = match durability {
        Durability::Disk => "FULL",
        Durability::Process => "OFF",
    };
    let _: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {synchronous}; PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;
         PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -16000; PRAGMA trusted_schema = OFF;"
    ))?;
    let format: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format == 0 && may_make {
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {} PRAGMA user_version = {FORMAT}; COMMIT;",
            schema::SCHEMA
        ))?;
    }
    check_format(&conn)?;
    check_schema(&conn)?;
    Ok(conn)
}

/// An index as SQLite stores it.
pub(crate) fn row_id(index: u64) -> i64 {
    i64::try_from(index).expect("no log has 2^63 entries")
}

/// An index that SQLite stored.
pub(crate) fn index(row: i64) -> u64 {
    u64::try_from(row).unwrap_or(0)
}

/// How many entries there are.
pub(crate) fn tree_size(conn: &Connection) -> Result<u64, Error> {
    let last: Option<i64> = conn.query_row("SELECT max(idx) FROM leaves", [], |row| row.get(0))?;
    Ok(last.map_or(0, |last| index(last) + 1))
}

/// One entry's bytes.
pub(crate) fn leaf(conn: &Connection, at: u64) -> Result<Vec<u8>, Error> {
    conn.prepare_cached("SELECT data FROM leaves WHERE idx = ?1")?
        .query_row([row_id(at)], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::Damaged(format!("entry {at} is missing")))
}

/// A full tile's hashes.
pub(crate) fn tile(conn: &Connection, level: u8, n: u64) -> Result<Vec<u8>, Error> {
    conn.prepare_cached("SELECT data FROM tiles WHERE level = ?1 AND n = ?2")?
        .query_row(params![level, row_id(n)], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::Damaged(format!("tile {level}/{n} is missing")))
}

/// The `i`th hash of a tile level: a leaf's hash, or the root of a full tile one level below.
pub(crate) fn edge_hash(conn: &Connection, level: u8, i: u64) -> Result<Digest, Error> {
    match level.checked_sub(1) {
        None => Ok(leaf_hash(&leaf(conn, i)?)),
        Some(below) => {
            let hashes = tile(conn, below, i)?;
            let row: Vec<Digest> = hashes.chunks_exact(32).filter_map(|h| h.try_into().ok()).collect();
            Ok(perfect_root(&row))
        }
    }
}

pub(crate) fn meta(conn: &Connection, key: &str) -> Result<Option<String>, Error> {
    Ok(conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?)
}

/// Whether the words of a session were erased; `None` if there is no such session.
pub(crate) fn is_erased(conn: &Connection, id: &[u8; 16]) -> Result<Option<bool>, Error> {
    Ok(conn
        .prepare_cached("SELECT erased IS NOT NULL FROM sessions WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?)
}

/// The number of a string, if it has one.
pub(crate) fn label_of(conn: &Connection, text: &str) -> Result<Option<i64>, Error> {
    Ok(conn
        .prepare_cached("SELECT id FROM labels WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?)
}
