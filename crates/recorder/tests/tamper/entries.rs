//! Changes to entries, checkpoints and the database file.

use std::fs;

use gatewayd_recorder::verify::Damage;

use crate::victim::{attempt, each};

/// Which of these comes first depends on the entry: some cannot be read any more, some are in no full tile.
const TREE: (u8, &[Damage]) = (
    10,
    &[
        Damage::TileMismatch,
        Damage::TreeMismatch,
        Damage::EntryMalformed,
        Damage::OtherKey,
        Damage::Truncated,
    ],
);

pub fn changed(rounds: usize) {
    each(rounds, "bit flip", TREE, |v, random| {
        v.edit_leaves(|all| {
            let at = random.below(all.len());
            let byte = random.below(all[at].len());
            all[at][byte] ^= 1 << random.below(8);
        });
    });
    attempt(rounds, "the changed entry is named", |v, random| {
        let mut at = 0;
        v.edit_leaves(|all| {
            at = random.below(all.len());
            let byte = random.below(all[at].len());
            all[at][byte] ^= 1 << random.below(8);
        });
        let report = v.verify(None);
        let first = &report.findings[0];
        let named = usize::try_from(first.entry.unwrap()).unwrap();
        // Without a full tile over it, and if it can be read, all that is known is from where on it is not the log.
        let exact = at < 256 || first.damage == Damage::EntryMalformed;
        assert!(named == at || (!exact && named < at), "entry {at}: {report}");
    });
    each(rounds, "edit", TREE, |v, random| {
        v.edit_leaves(|all| {
            let at = random.below(all.len());
            let from = random.below(all[at].len());
            let mut bytes = vec![0; (all[at].len() - from).min(8)];
            bytes.fill_with(|| random.next() as u8);
            bytes[0] = !all[at][from];
            all[at][from..from + bytes.len()].copy_from_slice(&bytes);
        });
    });
    each(rounds, "delete", TREE, |v, random| {
        v.edit_leaves(|all| drop(all.remove(random.below(all.len()))));
    });
    each(rounds, "delete, leaving a hole", (10, &[Damage::EntryMissing]), |v, random| {
        let db = v.database();
        let count: i64 = db.query_row("SELECT count(*) FROM leaves", [], |row| row.get(0)).unwrap();
        let hole = i64::try_from(random.below(usize::try_from(count - 1).unwrap())).unwrap();
        db.execute("DELETE FROM leaves WHERE idx = ?1", [hole]).unwrap();
    });
    each(rounds, "insert", TREE, |v, random| {
        v.edit_leaves(|all| {
            let mut fresh = random.pick(all).clone();
            fresh[5] ^= 1;
            all.insert(random.below(all.len()), fresh);
        });
    });
    each(rounds, "duplicate", TREE, |v, random| {
        v.edit_leaves(|all| {
            let at = random.below(all.len() - 1);
            all.insert(at, all[at].clone());
        });
    });
    each(rounds, "reorder", TREE, |v, random| {
        v.edit_leaves(|all| {
            let a = random.below(all.len());
            let b = (a + 1 + random.below(all.len() - 1)) % all.len();
            all.swap(a, b);
        });
    });
    each(rounds, "truncate", (10, &[Damage::Truncated]), |v, random| {
        v.edit_leaves(|all| all.truncate(random.below(all.len())));
    });
    each(rounds, "a changed tile", (10, &[Damage::TileMismatch]), |v, random| {
        let db = v.database();
        let mut tile: Vec<u8> = db.query_row("SELECT data FROM tiles", [], |row| row.get(0)).unwrap();
        let at = random.below(tile.len());
        tile[at] ^= 1 << random.below(8);
        db.execute("UPDATE tiles SET data = ?1 WHERE level = 0 AND n = 0", [tile]).unwrap();
    });
}

pub fn forged_checkpoints(rounds: usize) {
    each(rounds, "forged checkpoint", (10, &[Damage::BadCheckpoint]), |v, random| {
        let path = v.path("checkpoint");
        let mut note = fs::read_to_string(&path).unwrap();
        match random.below(5) {
            0 => {
                let strange = signed_note::generate_key(&mut rand_core::OsRng, v.key().name()).0;
                let signer = signed_note::StandardSigner::new(&strange).unwrap();
                let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
                let mut made = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
                made.add_sigs(&[&signer]).unwrap();
                note = String::from_utf8(made.to_bytes()).unwrap();
            }
            1 => note = note.replacen(v.key().name(), "another/log", 1),
            2 => {
                let at = note.len() - 2 - random.below(80);
                let new = if &note[at..=at] == "A" { "B" } else { "A" };
                note.replace_range(at..=at, new);
            }
            3 => {
                let root = note.match_indices('\n').nth(1).unwrap().0 + 1;
                let at = root + random.below(43);
                let new = if &note[at..=at] == "A" { "B" } else { "A" };
                note.replace_range(at..=at, new);
            }
            _ => note = note.replacen('\n', "\n1", 1),
        }
        fs::write(path, note).unwrap();
    });
    each(rounds, "a changed checkpoint in the database", (10, &[Damage::BadCheckpoint]), |v, random| {
        let db = v.database();
        let mut query = db.prepare("SELECT size, note FROM checkpoints").unwrap();
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).unwrap();
        let (size, mut note) = random.pick(&rows.map(Result::unwrap).collect::<Vec<_>>()).clone();
        let at = note.len() - 2 - random.below(80);
        let new = if &note[at..=at] == "A" { "B" } else { "A" };
        note.replace_range(at..=at, new);
        db.execute("UPDATE checkpoints SET note = ?2 WHERE size = ?1", (size, note)).unwrap();
    });
    each(rounds, "forged checkpoint in the database", (10, &[Damage::BadCheckpoint]), |v, random| {
        let size = i64::try_from(1 + random.below(200)).unwrap();
        v.database()
            .execute(
                "INSERT OR REPLACE INTO checkpoints SELECT ?1, time, note FROM checkpoints WHERE size <> ?1 LIMIT 1",
                [size],
            )
            .unwrap();
    });
}

pub fn broken_database(rounds: usize) {
    attempt(rounds, "the head of a page", |victim, random| {
        let mut bytes = victim.original("evidence.db").to_vec();
        // The head of some page: what SQLite stumbles over.
        let page = random.below(bytes.len() / 4096);
        let at = page * 4096 + if page == 0 { 100 } else { 0 };
        bytes[at] ^= 0x3F;
        fs::write(victim.path("evidence.db"), bytes).unwrap();
        let report = victim.verify(None);
        assert!(!report.is_intact(), "page {page}: {report}");
        assert_eq!(report.exit_code(), 10, "page {page}: {report}");
    });
}
