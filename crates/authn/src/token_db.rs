//! The token store's file: one table in SQLite. Secrets are not in it, only their hashes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::Error;
use crate::gateway_token::SecretHash;
use crate::token_store::TokenInfo;

const FORMAT: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE token (
        id TEXT PRIMARY KEY,
        hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
        subject TEXT NOT NULL,
        groups TEXT NOT NULL CHECK (json_valid(groups)),
        created_at INTEGER NOT NULL,
        created_by TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        revoked_at INTEGER,
        revoked_by TEXT,
        last_used INTEGER
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";
const COLUMNS: &str =
    "id, subject, groups, created_at, created_by, expires_at, revoked_at, revoked_by, last_used, hash";

pub(crate) struct TokenDb {
    connection: Connection,
    path: PathBuf,
    file: FileId,
}

impl TokenDb {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let problem = |problem: String| Error::Store { path: path.to_owned(), problem };
        create_private(path).map_err(|error| problem(error.to_string()))?;
        let mut connection = Connection::open(path).map_err(|error| problem(error.to_string()))?;
        match prepare(&mut connection).map_err(|error| problem(error.to_string()))? {
            FORMAT => {
                let file = file_id(path).map_err(|error| problem(error.to_string()))?;
                Ok(Self { connection, path: path.to_owned(), file })
            }
            found => Err(Error::NewerStore { path: path.to_owned(), found }),
        }
    }

    /// A second connection, that only reads, and does not wait long for anything.
    pub(crate) fn reader(&self) -> Result<Self, Error> {
        let open = || {
            let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            connection.busy_timeout(Duration::from_millis(100))?;
            connection.pragma_update(None, "query_only", true)?;
            connection.pragma_update(None, "trusted_schema", false)?;
            Ok(connection)
        };
        Ok(Self { connection: self.told(open())?, path: self.path.clone(), file: self.file })
    }

    /// A number that changes whenever another connection, here or in another process, has written.
    ///
    /// A file that was put in the place of this one is no change but an error: its tokens are others.
    pub(crate) fn version(&self) -> Result<i64, Error> {
        if file_id(&self.path).ok() != Some(self.file) {
            let problem = "the file was removed or replaced while in use: restart".to_owned();
            return Err(Error::Store { path: self.path.clone(), problem });
        }
        self.told(self.connection.query_row("PRAGMA data_version", [], |row| row.get(0)))
    }

    pub(crate) fn all(&self) -> Result<Vec<(SecretHash, TokenInfo)>, Error> {
        let read = || {
            let sql = format!("SELECT {COLUMNS} FROM token ORDER BY created_at, id");
            let mut statement = self.connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(9)?, info(row)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        self.told(read())
    }

    pub(crate) fn get(&self, id: &str) -> Result<Option<TokenInfo>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM token WHERE id = ?1");
        self.told(self.connection.query_row(&sql, [id], info).optional())
    }

    pub(crate) fn insert(&self, hash: &SecretHash, token: &TokenInfo) -> Result<(), Error> {
        let groups =
            serde_json::to_string(&token.groups).map_err(|error| Error::NewToken(error.to_string()))?;
        let sql = "INSERT INTO token (id, hash, subject, groups, created_at, created_by, expires_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let values = params![
            &*token.id,
            hash,
            &*token.subject,
            groups,
            token.created_at.0,
            &*token.created_by,
            token.expires_at.0
        ];
        self.told(self.connection.execute(sql, values)).map(|_| ())
    }

    /// Revokes; the first revocation stands.
    pub(crate) fn revoke(&self, id: &str, at: Timestamp, by: &str) -> Result<(), Error> {
        let sql = "UPDATE token SET revoked_at = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_at IS NULL";
        self.told(self.connection.execute(sql, params![id, at.0, by])).map(|_| ())
    }

    pub(crate) fn note_used(&mut self, used: &[(Arc<str>, Timestamp)]) -> Result<(), Error> {
        let mut write = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for (id, at) in used {
                let sql = "UPDATE token SET last_used = max(?2, coalesce(last_used, 0)) WHERE id = ?1";
                transaction.execute(sql, params![&**id, at.0])?;
            }
            transaction.commit()
        };
        let outcome = write();
        self.told(outcome)
    }

    fn told<T>(&self, outcome: rusqlite::Result<T>) -> Result<T, Error> {
        outcome.map_err(|error| Error::Store { path: self.path.clone(), problem: error.to_string() })
    }
}

/// Device and inode: two files at one path differ in it.
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(path: &Path) -> std::io::Result<FileId> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(path: &Path) -> std::io::Result<FileId> {
    std::fs::metadata(path).map(|_| (0, 0))
}

/// The file is for its owner alone, from its first moment on; SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A revocation that was acknowledged must survive a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    let version = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    if version(connection)? == 0 {
        // Two processes may come here at once: the second finds the table made.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? == 0 {
            transaction.execute_batch(SCHEMA)?;
        }
        transaction.commit()?;
    }
    version(connection)
}

fn info(row: &Row<'_>) -> rusqlite::Result<TokenInfo> {
    let text = |at: usize| row.get::<_, String>(at).map(Arc::<str>::from);
    let groups: String = row.get(2)?;
    let groups: Vec<Arc<str>> = serde_json::from_str(&groups).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(TokenInfo {
        id: text(0)?,
        subject: text(1)?,
        groups: groups.into(),
        created_at: Timestamp(row.get(3)?),
        created_by: text(4)?,
        expires_at: Timestamp(row.get(5)?),
        revoked_at: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        revoked_by: row.get::<_, Option<String>>(7)?.map(Into::into),
        last_used: row.get::<_, Option<i64>>(8)?.map(Timestamp),
    })
}
