//! Paths in the configuration are relative to the folder that it stands in.

use std::path::{Path, PathBuf};

/// The configuration's own folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// The folder of this file.
    pub(crate) fn of(file: &Path) -> Self {
        Self(file.parent().map(Path::to_owned).unwrap_or_default())
    }

    /// The path as the process can use it.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.0.join(path)
    }
}
