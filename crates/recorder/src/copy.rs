//! A copy to hand to somebody who verifies.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::blobs::{BlobStore as _, Segments};
use crate::error::Error;
use crate::note::LOG_KEY;
use crate::publish::CHECKPOINT;
use crate::store::DATABASE;

/// Copies what a verifier needs into a new directory, beside a running writer, without a secret key.
pub(crate) fn copy(conn: &Connection, from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::file("make", to))?;
    let database = to.join(DATABASE);
    if database.exists() {
        let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(Error::file("write", database)(exists));
    }
    // First the checkpoint: the entries that come after it must cover it, not the other way round.
    for name in [CHECKPOINT, LOG_KEY] {
        fs::copy(from.join(name), to.join(name)).map_err(Error::file("copy", from.join(name)))?;
    }
    let text =
        database.to_str().ok_or_else(|| Error::Unavailable("the name of the copy is not UTF-8".into()))?;
    conn.execute("VACUUM INTO ?1", [text])?;
    // Last the bodies: those that no entry of the copy speaks of yet do no harm.
    let (source, target) = (Segments::below(from), Segments::below(to));
    target.make_dir()?;
    for number in source.numbers()? {
        fs::copy(source.path(number), target.path(number))
            .map_err(Error::file("copy", source.path(number)))?;
    }
    Ok(())
}
