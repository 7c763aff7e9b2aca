//! Approvals in SQLite. Every change is one transaction that takes the write lock first.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatewayd_core::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use crate::digest::RequestDigest;
use crate::erase::Whose;
use crate::error::Error;
use crate::record::Record;
use crate::state::{Progress, State, Step};

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE approval (
        id        TEXT PRIMARY KEY,
        digest    BLOB NOT NULL,
        state     TEXT NOT NULL,
        revision  INTEGER NOT NULL,
        created   INTEGER NOT NULL,
        deadline  INTEGER NOT NULL,
        ended     INTEGER,
        approved  INTEGER NOT NULL,
        in_use    INTEGER NOT NULL,
        requester TEXT NOT NULL,
        route     TEXT NOT NULL,
        asked     TEXT NOT NULL,
        progress  TEXT NOT NULL
    ) STRICT;
    -- At most one approval of a request is open at a time.
    CREATE UNIQUE INDEX open_by_digest ON approval (digest) WHERE state IN ('pending', 'approved');
    CREATE INDEX by_digest ON approval (digest, created);
    CREATE INDEX by_state ON approval (state, created);
    CREATE INDEX by_requester ON approval (requester, route, created);
";
const COLUMNS: &str = "id, revision, digest, asked, progress";
/// Rows that one listing reads at most.
const MAX_LISTED: usize = 1000;

/// Undecided approvals that may stand at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) per_caller: u32,
    pub(crate) in_all: u32,
}

/// What came of putting a request before people.
#[derive(Debug)]
pub(crate) enum Placed {
    New,
    /// There is one already: open, or denied not long ago.
    Existing(Box<Record>),
    NoRoom,
}

/// A handle on the database; a clone is the same.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Connection>>);

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        make_private(path).map_err(|error| Error::Store(format!("{}: {error}", path.display())))?;
        let open = || {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // What is replaced or deleted is overwritten, not only unlinked.
            connection.pragma_update(None, "secure_delete", "ON")?;
            connection.pragma_update(None, "temp_store", "MEMORY")?;
            Ok(connection)
        };
        let mut connection = open().map_err(store_error)?;
        migrate(&mut connection)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs one piece of work on the database, off the async threads.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    {
        let connection = Arc::clone(&self.0);
        let locked = move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(locked).await.unwrap_or_else(|error| Err(Error::Store(error.to_string())))
    }
}

/// The approval of that name.
pub(crate) fn get(connection: &Connection, id: &str) -> Result<Record, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approval WHERE id = ?1");
    let found = connection.prepare_cached(&sql).and_then(|mut query| query.query_row([id], read).optional());
    found.map_err(store_error)?.ok_or_else(|| Error::NotFound(id.chars().take(80).collect()))
}

/// The approval that a request attaches to: an open one, or one denied after `denied_since`.
pub(crate) fn find(
    connection: &Connection,
    digest: RequestDigest,
    now: Timestamp,
    denied_since: Timestamp,
) -> Result<Option<Record>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM approval WHERE digest = ?1 AND (state IN ('pending', 'approved')
         OR (state = 'denied' AND ended > ?2)) ORDER BY created DESC, rowid DESC LIMIT 1"
    );
    let found = connection
        .prepare_cached(&sql)
        .and_then(|mut query| query.query_row(params![digest.0, denied_since.0], read).optional())
        .map_err(store_error)?;
    Ok(found.filter(|record| record.progress.state_at(now) != State::Expired))
}

/// Puts a new approval in, unless there is one to attach to or no room.
pub(crate) fn place(
    connection: &mut Connection,
    record: &Record,
    now: Timestamp,
    denied_since: Timestamp,
    room: Room,
) -> Result<Placed, Error> {
    let transaction = begin(connection)?;
    if let Some(existing) = find(&transaction, record.digest, now, denied_since)? {
        return Ok(Placed::Existing(Box::new(existing)));
    }
    if !has_room(&transaction, &record.progress.requester.key(), room, now)? {
        return Ok(Placed::NoRoom);
    }
    // One whose time is over still counts as open in the index until somebody says so.
    if let Some(mut over) = open_by_digest(&transaction, record.digest)? {
        let revision = over.revision;
        let _always_taken = over.progress.take(Step::Tick, now);
        over.revision += 1;
        write(&transaction, &over, revision)?;
    }
    insert(&transaction, record)?;
    transaction.commit().map_err(store_error)?;
    Ok(Placed::New)
}

/// Replaces what is kept of an approval, if nobody took a step in between.
pub(crate) fn replace(connection: &mut Connection, record: &Record, seen: i64) -> Result<bool, Error> {
    let transaction = begin(connection)?;
    let written = write(&transaction, record, seen)?;
    transaction.commit().map_err(store_error)?;
    Ok(written)
}

/// The newest approvals in these states, as stored; all states if empty.
pub(crate) fn list(
    connection: &Connection,
    states: &[State],
    requester: Option<&str>,
) -> Result<Vec<Record>, Error> {
    let names: Vec<String> = states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    let by_state =
        if names.is_empty() { String::new() } else { format!("AND state IN ({})", names.join(", ")) };
    let sql = format!(
        "SELECT {COLUMNS} FROM approval WHERE (?1 IS NULL OR requester = ?1) {by_state}
         ORDER BY created DESC, rowid DESC LIMIT {MAX_LISTED}"
    );
    read_all(connection, &sql, params![requester])
}

/// The last approval of the same caller on the same route that people agreed to, made before this one.
pub(crate) fn last_approved(connection: &Connection, record: &Record) -> Result<Option<Record>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM approval WHERE requester = ?1 AND route = ?2 AND approved = 1
         AND rowid < (SELECT rowid FROM approval WHERE id = ?3) ORDER BY rowid DESC LIMIT 1"
    );
    let key = record.progress.requester.key();
    let values = params![key, record.asked.route, &*record.id];
    read_all(connection, &sql, values).map(|found| found.into_iter().next())
}

/// The approval of the very same request before this one.
pub(crate) fn same_before(connection: &Connection, record: &Record) -> Result<Option<Record>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM approval WHERE digest = ?1
         AND rowid < (SELECT rowid FROM approval WHERE id = ?2) ORDER BY rowid DESC LIMIT 1"
    );
    let values = params![record.digest.0, &*record.id];
    read_all(connection, &sql, values).map(|found| found.into_iter().next())
}

/// Approvals that a request was using when it was last written.
pub(crate) fn in_use(connection: &Connection) -> Result<Vec<Record>, Error> {
    read_all(connection, &format!("SELECT {COLUMNS} FROM approval WHERE in_use = 1"), params![])
}

/// Open approvals whose time is over.
pub(crate) fn overdue(connection: &Connection, now: Timestamp) -> Result<Vec<Record>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM approval WHERE state IN ('pending', 'approved') AND in_use = 0 AND deadline <= ?1
         LIMIT {MAX_LISTED}"
    );
    read_all(connection, &sql, params![now.0])
}

/// Forgets what ended before that time.
pub(crate) fn forget(connection: &mut Connection, before: Timestamp) -> Result<usize, Error> {
    connection.execute("DELETE FROM approval WHERE ended < ?1", [before.0]).map_err(store_error)
}

/// The names of all approvals that a caller asked for, or that a request asked for or used.
pub(crate) fn names_of(connection: &Connection, whose: &Whose) -> Result<Vec<String>, Error> {
    let (condition, value) = match whose {
        Whose::Caller(key) => ("requester = ?1", key.clone()),
        Whose::Request(id) => (
            "json_extract(asked, '$.request') = ?1 OR json_extract(progress, '$.used_by') = ?1
             OR json_extract(progress, '$.in_use.request') = ?1",
            id.to_string(),
        ),
    };
    let sql = format!("SELECT id FROM approval WHERE {condition} ORDER BY rowid");
    let mut query = connection.prepare_cached(&sql).map_err(store_error)?;
    let rows = query.query_map([value], |row| row.get(0)).map_err(store_error)?;
    rows.collect::<Result<_, _>>().map_err(store_error)
}

/// Moves the write-ahead log into the database file and empties it, so that nothing replaced stands in either.
pub(crate) fn fold_log(connection: &Connection) -> Result<(), Error> {
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    match busy.map_err(store_error)? {
        0 => Ok(()),
        _ => Err(Error::Store("somebody else reads in it".to_owned())),
    }
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, Error> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_error)
}

/// True if the caller may ask for one more.
pub(crate) fn has_room(
    connection: &Connection,
    requester: &str,
    room: Room,
    now: Timestamp,
) -> Result<bool, Error> {
    let counted: (u32, u32) = connection
        .query_row(
            "SELECT count(*), count(*) FILTER (WHERE requester = ?1) FROM approval
             WHERE state = 'pending' AND deadline > ?2",
            params![requester, now.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(store_error)?;
    Ok(counted.0 < room.in_all && counted.1 < room.per_caller)
}

/// The approval of that request that is open as far as it is written down.
pub(crate) fn open_by_digest(
    connection: &Connection,
    digest: RequestDigest,
) -> Result<Option<Record>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM approval WHERE digest = ?1 AND state IN ('pending', 'approved')");
    connection.query_row(&sql, [digest.0], read).optional().map_err(store_error)
}

fn insert(connection: &Connection, record: &Record) -> Result<(), Error> {
    let progress = &record.progress;
    connection
        .execute(
            "INSERT INTO approval VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                &*record.id,
                record.digest.0,
                progress.state.as_str(),
                record.revision,
                record.asked.created.0,
                progress.deadline.0,
                progress.ended.map(|time| time.0),
                was_approved(progress),
                progress.in_use.is_some(),
                progress.requester.key(),
                record.asked.route,
                to_json(&record.asked)?,
                to_json(progress)?,
            ],
        )
        .map(|_| ())
        .map_err(store_error)
}

fn write(connection: &Connection, record: &Record, seen: i64) -> Result<bool, Error> {
    let progress = &record.progress;
    // Who asked and what they asked change only where they are erased.
    connection
        .execute(
            "UPDATE approval SET state = ?3, revision = ?4, deadline = ?5, ended = ?6, approved = ?7, in_use = ?8,
             progress = ?9, requester = ?10, asked = ?11 WHERE id = ?1 AND revision = ?2",
            params![
                &*record.id,
                seen,
                progress.state.as_str(),
                record.revision,
                progress.deadline.0,
                progress.ended.map(|time| time.0),
                was_approved(progress),
                progress.in_use.is_some(),
                to_json(progress)?,
                progress.requester.key(),
                to_json(&record.asked)?,
            ],
        )
        .map(|changed| changed == 1)
        .map_err(store_error)
}

/// True if people agreed, whatever came after.
fn was_approved(progress: &Progress) -> bool {
    progress.decided.is_some() && progress.state != State::Denied
}

fn read_all(
    connection: &Connection,
    sql: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Record>, Error> {
    let mut query = connection.prepare_cached(sql).map_err(store_error)?;
    let rows = query.query_map(values, read).map_err(store_error)?;
    rows.collect::<Result<_, _>>().map_err(store_error)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let json = |index: usize, error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    };
    let asked: String = row.get(3)?;
    let progress: String = row.get(4)?;
    Ok(Record {
        id: row.get::<_, String>(0)?.into(),
        revision: row.get(1)?,
        digest: RequestDigest(row.get(2)?),
        asked: serde_json::from_str(&asked).map_err(|error| json(3, error))?,
        progress: serde_json::from_str(&progress).map_err(|error| json(4, error))?,
    })
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Store(error.to_string()))
}

fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let transaction = begin(connection)?;
    let version: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(store_error)?;
    match version {
        SCHEMA_VERSION => return Ok(()),
        0 => transaction.execute_batch(SCHEMA).map_err(store_error)?,
        other => {
            let problem = format!("it was written by a newer gatewayd (version {other}); use that one");
            return Err(Error::Store(problem));
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(store_error)?;
    transaction.commit().map_err(store_error)
}

/// Makes the file so that only its owner can read it; SQLite gives its companions the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(|_| ())
}

#[allow(clippy::needless_pass_by_value)] // the shape that map_err wants
fn store_error(error: rusqlite::Error) -> Error {
    Error::Store(error.to_string())
}
