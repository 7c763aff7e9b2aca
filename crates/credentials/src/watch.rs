//! Noticing that a file has changed: the directory is watched, and the content is looked at each second
//! all the same, since a watch can miss what another machine or a swapped symbolic link did.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::{Credentials, Source};

const LOOK_EACH: Duration = Duration::from_secs(1);
/// Writers that touch a file many times cause one reading for this while.
const SETTLE: Duration = Duration::from_millis(10);

impl Credentials {
    /// Puts new values in force as their files change. Never ends: spawn it.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let credentials = self.clone();
        async move {
            let changed = Arc::new(Notify::new());
            let directories: BTreeSet<PathBuf> = credentials.sources().filter_map(directory).collect();
            // Kept alive as long as this future is.
            let _watcher = start(&directories, &changed);
            loop {
                credentials.reload().await;
                let change = tokio::time::timeout(LOOK_EACH, changed.notified()).await;
                if change.is_ok() {
                    tokio::time::sleep(SETTLE).await;
                }
            }
        }
    }
}

fn directory(source: &Source) -> Option<PathBuf> {
    match source {
        Source::File(path) => match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
            Some(parent) => Some(parent.to_owned()),
            None => None,
        },
        Source::Env(_) => None,
    }
}

fn start(directories: &BTreeSet<PathBuf>, changed: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    if directories.is_empty() {
        return None;
    }
    let changed = Arc::clone(changed);
    let told = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event as well, and ours would wake us for ever.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(told);
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "directories cannot be watched; files are looked at each second only");
            return None;
        }
    };
    for directory in directories {
        watch(&mut watcher, directory);
    }
    Some(watcher)
}

fn watch(watcher: &mut notify::RecommendedWatcher, directory: &Path) {
    if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
        tracing::warn!(
            %error,
            directory = %directory.display(),
            "the directory cannot be watched; its files are looked at each second only"
        );
    }
}
