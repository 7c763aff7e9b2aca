//! Whether what the log consists of is where it is looked for. A file that was moved away, removed or replaced still
//! takes what is written to it, and nobody will find it.

use std::path::PathBuf;

use crate::blobs::Place;
use crate::lock::LOCK;
use crate::note::{self, LOG_KEY, PublicKey};
use crate::store::DATABASE;

/// What must stay as it was when the log was opened.
pub(crate) struct Watch {
    dir: PathBuf,
    files: [(&'static str, Option<Place>); 2],
    key: PublicKey,
}

impl Watch {
    /// Of a directory as it is now.
    pub(crate) fn begin(dir: PathBuf, key: PublicKey) -> Self {
        let files = [DATABASE, LOCK].map(|name| (name, Place::of(&dir.join(name))));
        Self { dir, files, key }
    }

    /// What is not there any more, if something is not.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let moved = self.files.iter().find(|(name, place)| Place::of(&self.dir.join(name)) != *place);
        // The key is compared by what it says: readers believe it, whatever file holds it.
        let key = || note::read(&self.dir.join(LOG_KEY)).ok().and_then(|text| PublicKey::parse(&text).ok());
        match moved {
            Some((name, _)) => Some(name),
            None if key().as_ref() != Some(&self.key) => Some(LOG_KEY),
            None => None,
        }
    }
}
