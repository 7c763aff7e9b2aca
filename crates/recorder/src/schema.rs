//! The tables, and nothing besides: what else a database holds could run when the log is written or read, keep what is
//! erased, or hide what is there.

use std::sync::OnceLock;

use rusqlite::Connection;

use crate::error::Error;

/// All tables and indexes. `docs/evidence-format.md` shows them.
pub(crate) const SCHEMA: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE leaves(idx INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE tiles(level INTEGER NOT NULL, n INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(level, n)) WITHOUT ROWID;
CREATE TABLE checkpoints(size INTEGER PRIMARY KEY, time INTEGER NOT NULL, note TEXT NOT NULL);
CREATE TABLE labels(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE sessions(
  number INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  outcome INTEGER,
  subject INTEGER,
  salt BLOB, who BLOB, what BLOB, masks BLOB,
  erased INTEGER
);
CREATE INDEX sessions_of_subject ON sessions(subject, number);
CREATE INDEX open_sessions ON sessions(number) WHERE outcome IS NULL;
CREATE TABLE claims(kind TEXT NOT NULL, id TEXT NOT NULL, session INTEGER NOT NULL, request BLOB NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;
CREATE TABLE events(idx INTEGER PRIMARY KEY, request BLOB, salt BLOB NOT NULL, who BLOB, words BLOB NOT NULL);
CREATE INDEX events_of_request ON events(request) WHERE request IS NOT NULL;
CREATE TABLE subject_keys(subject INTEGER PRIMARY KEY, root BLOB NOT NULL, wrapped BLOB NOT NULL);
CREATE TABLE session_keys(number INTEGER PRIMARY KEY, subject INTEGER NOT NULL, wrapped BLOB NOT NULL);
CREATE TABLE holds(idx INTEGER PRIMARY KEY, session BLOB, subject TEXT, reason TEXT NOT NULL, salt BLOB NOT NULL, released INTEGER);
CREATE TABLE segments(n INTEGER PRIMARY KEY, closed INTEGER NOT NULL, bytes INTEGER NOT NULL, entries INTEGER NOT NULL, dropped INTEGER);
";

/// A row of the schema: type, name, and the statement that made it.
type Part = (String, String, Option<String>);

/// What a database has that no log has, lacks, or has otherwise; in words. Nothing of the schema runs for this.
pub(crate) fn differences(conn: &Connection) -> Result<Vec<String>, Error> {
    static EXPECTED: OnceLock<Vec<Part>> = OnceLock::new();
    let expected = match EXPECTED.get() {
        Some(expected) => expected,
        None => {
            let model = Connection::open_in_memory()?;
            model.execute_batch(SCHEMA)?;
            let parts = parts(&model)?;
            EXPECTED.get_or_init(|| parts)
        }
    };
    let found = parts(conn)?;
    let named =
        |parts: &[Part], part: &Part| parts.iter().any(|(kind, name, _)| (kind, name) == (&part.0, &part.1));
    let mut told = Vec::new();
    for part in expected.iter().filter(|part| !found.contains(part)) {
        let (kind, name, _) = part;
        told.push(if named(&found, part) {
            format!("the {kind} `{name}` of the database is not that of the format")
        } else {
            format!("the database has no {kind} `{name}`")
        });
    }
    for part in found.iter().filter(|part| !named(expected, part)) {
        told.push(format!("the database has a {} `{}`, which no log has", part.0, part.1.escape_debug()));
    }
    Ok(told)
}

fn parts(conn: &Connection) -> Result<Vec<Part>, Error> {
    let mut query = conn.prepare("SELECT type, name, sql FROM sqlite_schema ORDER BY type DESC, name")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.map(|row| row.map_err(Error::from)).collect()
}
