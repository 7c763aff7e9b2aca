//! Another root key, without touching a body.

use std::fs;
use std::path::{Path, PathBuf};

use gatewayd_core::Timestamp;
use rusqlite::params;

use crate::codec::Text;
use crate::config::Config;
use crate::error::Error;
use crate::keys::{RootKey, subject_purpose, sync_dir};
use crate::leaf::{Key, KeyRole, Kind, Leaf};
use crate::lock::DirectoryLock;
use crate::store::Store;
use crate::tree::leaf_hash;

/// Where the root key is.
pub(crate) fn root_path(config: &Config) -> PathBuf {
    config.root_key.clone().unwrap_or_else(|| config.dir.join("root.key"))
}

/// Where the next root key is while it is being put into force.
fn next_path(root: &Path) -> PathBuf {
    let mut name = root.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Makes a new root key and wraps the keys of all subjects with it, instead of the old one, which is
/// replaced in its file. The recorder must not be running on the directory. The change is an entry of the
/// log. Returns how many keys were wrapped again.
///
/// # Errors
/// If the directory is in use, or a key does not open; then nothing is changed.
pub fn rotate_root(config: &Config, now: Timestamp) -> Result<u64, Error> {
    let _lock = DirectoryLock::take(&config.dir)?;
    let path = root_path(config);
    let old = load_current(config, &Store::open(&config.dir, config.durability)?)?;
    let new = RootKey::load_or_make(&next_path(&path))?;
    let mut store = Store::open(&config.dir, config.durability)?;
    store.begin()?;
    let count = wrap_again(&store, &old, &new)?;
    store.set_meta("root_key", &hex::encode(new.name))?;
    let leaf =
        Leaf { time: now, kind: Kind::Key(Key { role: KeyRole::Root, key: new.name, name: Text::Absent }) };
    let (bytes, mut tree, mut tiles) = (leaf.encode(), store.tree()?, Vec::new());
    store.insert_leaf(tree.size(), &bytes)?;
    tree.push(leaf_hash(&bytes), &mut tiles);
    for tile in &tiles {
        store.insert_tile(tile)?;
    }
    store.commit()?;
    store.fold_log()?;
    put_into_force(&path)?;
    store.forget_labels();
    Ok(count)
}

fn wrap_again(store: &Store, old: &RootKey, new: &RootKey) -> Result<u64, Error> {
    let mut query = store.conn().prepare(
        "SELECT subject_keys.subject, labels.text, wrapped FROM subject_keys JOIN labels ON labels.id = subject_keys.subject",
    )?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let all: Vec<(i64, String, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    let mut update =
        store.conn().prepare("UPDATE subject_keys SET root = ?2, wrapped = ?3 WHERE subject = ?1")?;
    for (label, subject, wrapped) in &all {
        let purpose = subject_purpose(subject);
        let again = old
            .key
            .rewrap(&new.key, &purpose, wrapped)
            .ok_or_else(|| Error::Damaged("the key of a subject does not open with this root key".into()))?;
        update.execute(params![label, new.name, again])?;
    }
    Ok(all.len() as u64)
}

/// The root key that the log names. A rotation that was cut off after its commit is finished first.
pub(crate) fn load_current(config: &Config, store: &Store) -> Result<RootKey, Error> {
    let path = root_path(config);
    let Some(known) = store.meta("root_key")? else { return RootKey::load_or_make(&path) };
    let current = RootKey::load(&path)?;
    if hex::encode(current.name) == known {
        return Ok(current);
    }
    let next = next_path(&path);
    if next.exists() && hex::encode(RootKey::load(&next)?.name) == known {
        put_into_force(&path)?;
        return RootKey::load(&path);
    }
    Err(Error::BadKey { path, why: "it is not the key that the stored bodies are sealed below".into() })
}

fn put_into_force(path: &Path) -> Result<(), Error> {
    fs::rename(next_path(path), path).map_err(Error::file("replace", path))?;
    path.parent().map_or(Ok(()), sync_dir)
}
