//! Every kind of change to a closed log is found, also where the holder of the key signs it again.
//!
//! `RECORDER_TAMPER=10000` changes how often each kind is tried at random places.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr
)]

mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gatewayd_core::{Body, Event, EventKind, Journal as _, RequestId, Trail};
use gatewayd_recorder::verify::{Damage, Options, Report, verify};
use gatewayd_recorder::{PublicKey, Reader, Recorder, Target};
use http::{Request, Response};
use rig::{identity, request, send, stack, until, with};
use rusqlite::{Connection, params};

/// Numbers that look random; `RECORDER_SEED` repeats a run.
struct Random(u64);

fn random() -> Random {
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("RECORDER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(clock);
    eprintln!("RECORDER_SEED={seed}");
    Random(seed)
}

impl Random {
    /// The step of `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.next() % end as u64).unwrap()
}

fn rounds() -> usize {
    std::env::var("RECORDER_TAMPER").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}

/// A closed log, with its files in memory so that it can be put back after each change.
struct Victim {
    dir: tempfile::TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    key: PublicKey,
    /// A checkpoint from before the end.
    pinned: String,
    sessions: Vec<RequestId>,
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

impl Victim {
    fn record() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (key, pinned, sessions) = runtime.block_on(fill(dir.path()));
        let files =
            walk(dir.path()).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        Self { dir, files, key, pinned, sessions }
    }

    fn restore(&self) {
        for path in walk(self.dir.path()) {
            if !self.files.contains_key(&path) {
                fs::remove_file(path).unwrap();
            }
        }
        for (path, bytes) in &self.files {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    fn database(&self) -> Connection {
        let db = Connection::open(self.dir.path().join("evidence.db")).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        db
    }

    fn segments(&self) -> Vec<PathBuf> {
        self.files.keys().filter(|path| path.extension().is_some_and(|e| e == "seg")).cloned().collect()
    }

    fn verify(&self, pinned: Option<&str>) -> Report {
        let options =
            Options { key: Some(self.key.clone()), pinned: pinned.map(Into::into), ..Options::default() };
        verify(self.dir.path(), &options).unwrap()
    }

    /// Tries a kind of change at many places; each must be found as one of `kinds`.
    fn each(&self, what: &str, kinds: &[Damage], mut change: impl FnMut(&Self, &mut Random)) {
        let mut random = random();
        for round in 0..rounds() {
            change(self, &mut random);
            let report = self.verify(None);
            let found = report.findings.iter().any(|finding| kinds.contains(&finding.damage));
            assert!(found, "{what}, round {round}: {report:#?}");
            assert_ne!(report.exit_code(), 0);
            if round < 2 {
                assert_eq!(self.second_opinion(None), Some(1), "{what}: the second verifier finds nothing");
            }
            assert!(report.to_string().starts_with("DAMAGED"), "{report}");
            self.restore();
        }
    }

    /// Exit status of the verifier in Python, which was written from the published format alone.
    fn second_opinion(&self, pinned: Option<&str>) -> Option<i32> {
        let dir = self.dir.path();
        let key = dir.join("given.pub");
        fs::write(&key, self.key.to_string()).unwrap();
        let mut python = std::process::Command::new("python3");
        python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verify.py")).arg(dir).arg(&key);
        if let Some(pinned) = pinned {
            fs::write(dir.join("pinned"), pinned).unwrap();
            python.arg(dir.join("pinned"));
        }
        let output = python.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("Traceback"), "{said}");
        output.status.code()
    }

    /// Signs the log again as the holder of the key could: tiles, checkpoints and file fit the entries.
    fn sign_again(&self) {
        let db = self.database();
        let leaves = leaves(&db);
        let mut tree = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        db.execute_batch("DELETE FROM checkpoints; DELETE FROM tiles").unwrap();
        for leaf in &leaves {
            tree.push(leaf.clone());
        }
        for (n, tile) in leaves.chunks_exact(256).enumerate() {
            let hashes: Vec<u8> = tile.iter().flat_map(|leaf| sha256(&[&[0], leaf])).collect();
            db.execute("INSERT INTO tiles VALUES(0, ?1, ?2)", params![i64::try_from(n).unwrap(), hashes])
                .unwrap();
        }
        let root = tlog_tiles::Hash(tree.root().as_bytes()[..].try_into().unwrap());
        let secret = fs::read_to_string(self.dir.path().join("log.key")).unwrap();
        let signer = signed_note::StandardSigner::new(secret.trim_end()).unwrap();
        let text = format!("{}\n{}\n{root}\n", self.key.name(), leaves.len());
        let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&signer]).unwrap();
        fs::write(self.dir.path().join("checkpoint"), note.to_bytes()).unwrap();
    }
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().to_vec()
}

/// Requests of all kinds, enough for more than one tile, several segments, a hold and an erasure.
async fn fill(dir: &Path) -> (PublicKey, String, Vec<RequestId>) {
    let config = gatewayd_recorder::Config { segment_bytes: 3_000, ..rig::config(dir) };
    let recorder = Recorder::open(config, std::sync::Arc::new(gatewayd_core::SystemClock)).unwrap();
    let stack = stack(&recorder, |request: Request<Body>| async move {
        request.extensions().get::<Trail>().unwrap().mask(&"jwt".into(), 1);
        Response::new(Body::from(format!("hello {:?}", request.headers())))
    });
    let mut sessions = Vec::new();
    for n in 0..150 {
        let mut request = request(["alice", "bob", "carol"][n % 3], format!("question {n}"));
        if n % 5 == 0 {
            request = with(request, "x-claim", &format!("approval-{n}"));
        }
        if n % 7 == 0 {
            request = with(request, "x-refuse", "1");
        }
        sessions.push(send(&stack, request).await.0);
        if n % 10 == 0 {
            let object = format!("approval-{n}").into();
            let (kind, actor, outcome) = (EventKind::ApprovalVote, Some(identity("lead")), "approve".into());
            recorder
                .record(Event { kind, actor, object, outcome, request: sessions.last().copied() })
                .await
                .unwrap();
        }
    }
    let reader = Reader::open(dir).unwrap();
    let all = gatewayd_recorder::Filter { limit: 1000, ..Default::default() };
    until("all outcomes", || reader.list(&all).unwrap().iter().all(|s| s.ending != "open")).await;
    recorder.hold(&Target::Session(sessions[1]), None, "case 7").unwrap();
    recorder.erase(&Target::Session(sessions[2]), Some(&identity("dpo")), "asked for").unwrap();
    until("a checkpoint", || recorder.checkpoint().lines().nth(1).unwrap().parse::<u64>().unwrap() > 250)
        .await;
    let pinned = recorder.checkpoint().to_string();
    sessions.push(send(&stack, request("alice", "the last one")).await.0);
    (recorder.public_key().clone(), pinned, sessions)
}

fn leaves(db: &Connection) -> Vec<Vec<u8>> {
    let mut query = db.prepare("SELECT data FROM leaves ORDER BY idx").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn put(db: &Connection, leaves: &[Vec<u8>]) {
    db.execute_batch("BEGIN; DELETE FROM leaves").unwrap();
    for (idx, leaf) in leaves.iter().enumerate() {
        db.execute("INSERT INTO leaves VALUES(?1, ?2)", params![i64::try_from(idx).unwrap(), leaf]).unwrap();
    }
    db.execute_batch("COMMIT").unwrap();
}

fn edit_leaves(victim: &Victim, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let db = victim.database();
    let mut all = leaves(&db);
    change(&mut all);
    put(&db, &all);
}

/// Indices of the entries of a kind.
fn of_kind(victim: &Victim, kind: u8) -> Vec<usize> {
    let all = leaves(&victim.database());
    let found = all.iter().enumerate().filter(|(_, leaf)| leaf[1] == kind).map(|(at, _)| at).collect();
    victim.restore();
    found
}

const TREE: &[Damage] = &[Damage::TreeMismatch, Damage::Truncated, Damage::EntryMissing];

#[test]
fn an_untouched_log_is_intact() {
    let victim = Victim::record();
    for pinned in [None, Some(victim.pinned.as_str())] {
        let report = victim.verify(pinned);
        assert!(report.is_intact(), "{report:#?}");
        assert_eq!((report.exit_code(), report.signed), (0, report.entries));
        assert_eq!(report.sessions, 151);
        assert!(report.bodies > 200 && report.checkpoints >= 2, "{report:?}");
        assert_eq!(report.unproven.len(), usize::from(pinned.is_none()), "{report}");
        assert_eq!(victim.second_opinion(pinned), Some(0), "the second verifier agrees");
    }
    victim.restore();
}

#[test]
fn changed_entries_are_found() {
    let victim = Victim::record();
    victim.each("bit flip", TREE, |v, random| {
        edit_leaves(v, |all| {
            let at = below(random, all.len());
            let byte = below(random, all[at].len());
            all[at][byte] ^= 1 << below(random, 8);
        });
    });
    victim.each("edit", TREE, |v, random| {
        edit_leaves(v, |all| {
            let at = below(random, all.len());
            let from = below(random, all[at].len());
            let mut bytes = vec![0; (all[at].len() - from).min(8)];
            bytes.fill_with(|| random.next() as u8);
            bytes[0] = !all[at][from];
            all[at][from..from + bytes.len()].copy_from_slice(&bytes);
        });
    });
    victim.each("delete", TREE, |v, random| {
        edit_leaves(v, |all| drop(all.remove(below(random, all.len()))));
    });
    victim.each("delete, leaving a hole", TREE, |v, random| {
        let count = leaves(&v.database()).len();
        v.database()
            .execute("DELETE FROM leaves WHERE idx = ?1", [i64::try_from(below(random, count - 1)).unwrap()])
            .unwrap();
    });
    victim.each("insert", TREE, |v, random| {
        edit_leaves(v, |all| {
            let mut fresh = all[below(random, all.len())].clone();
            fresh[5] ^= 1;
            all.insert(below(random, all.len()), fresh);
        });
    });
    victim.each("duplicate", TREE, |v, random| {
        edit_leaves(v, |all| {
            let at = below(random, all.len() - 1);
            all.insert(at, all[at].clone());
        });
    });
    victim.each("reorder", TREE, |v, random| {
        edit_leaves(v, |all| {
            let a = below(random, all.len());
            let b = (a + 1 + below(random, all.len() - 1)) % all.len();
            all.swap(a, b);
        });
    });
    victim.each("truncate", TREE, |v, random| {
        edit_leaves(v, |all| all.truncate(below(random, all.len())));
    });
}

#[test]
fn the_damaged_entry_is_named() {
    let victim = Victim::record();
    edit_leaves(&victim, |all| all[100][20] ^= 1);
    let report = victim.verify(None);
    let named = report.findings.iter().find(|f| f.damage == Damage::TileMismatch).unwrap();
    assert_eq!(named.entry, Some(100), "{report}");
}

#[test]
fn forged_checkpoints_are_found() {
    let victim = Victim::record();
    victim.each("forged checkpoint", &[Damage::BadCheckpoint], |v, random| {
        let path = v.dir.path().join("checkpoint");
        let mut note = fs::read_to_string(&path).unwrap();
        match below(random, 4) {
            0 => {
                let strange = signed_note::generate_key(&mut rand_core::OsRng, v.key.name()).0;
                let signer = signed_note::StandardSigner::new(&strange).unwrap();
                let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
                let mut made = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
                made.add_sigs(&[&signer]).unwrap();
                note = String::from_utf8(made.to_bytes()).unwrap();
            }
            1 => note = note.replacen(v.key.name(), "another/log", 1),
            2 => {
                let at = note.len() - 2 - below(random, 80);
                let new = if &note[at..=at] == "A" { "B" } else { "A" };
                note.replace_range(at..=at, new);
            }
            _ => note = note.replacen('\n', "\n1", 1),
        }
        fs::write(path, note).unwrap();
    });
    victim.each("forged checkpoint in the database", &[Damage::BadCheckpoint], |v, random| {
        let size = i64::try_from(1 + below(random, 200)).unwrap();
        v.database()
            .execute(
                "INSERT OR REPLACE INTO checkpoints SELECT ?1, time, note FROM checkpoints LIMIT 1",
                [size],
            )
            .unwrap();
    });
}

#[test]
fn changed_bodies_are_found() {
    let bodies = &[Damage::BodyAltered, Damage::BodyMissing, Damage::SegmentMissing];
    let victim = Victim::record();
    let segments = victim.segments();
    assert!(segments.len() > 3);
    victim.each("bit flip in a segment", bodies, |v, random| {
        let path = &segments[below(random, segments.len())];
        let mut bytes = v.files[path].clone();
        let at = below(random, bytes.len());
        bytes[at] ^= 1 << below(random, 8);
        fs::write(path, bytes).unwrap();
    });
    victim.each("cut segment", bodies, |v, random| {
        let path = &segments[below(random, segments.len())];
        let bytes = &v.files[path];
        fs::write(path, &bytes[..below(random, bytes.len())]).unwrap();
    });
    victim.each("missing segment", &[Damage::SegmentMissing], |_, random| {
        fs::remove_file(&segments[below(random, segments.len())]).unwrap();
    });
    victim.each("exchanged segments", bodies, |v, random| {
        let at = below(random, segments.len());
        let other = &segments[(at + 1) % segments.len()];
        fs::write(&segments[at], &v.files[other]).unwrap();
    });
    victim.each("exchanged bodies", bodies, |v, random| {
        let path = &segments[below(random, segments.len() - 1)];
        let mut bytes = v.files[path].clone();
        let blocks = block_ranges(&bytes);
        let (a, b) = (below(random, blocks.len()), below(random, blocks.len()));
        let (a, b) = if a == b { (a, (a + 1) % blocks.len()) } else { (a, b) };
        // The names stay where they are, everything else changes places; the checksums are made to fit.
        let (first, second) = (blocks[a.min(b)].clone(), blocks[a.max(b)].clone());
        let (one, two) = (bytes[first.clone()].to_vec(), bytes[second.clone()].to_vec());
        let exchanged = |name: &[u8], rest: &[u8]| {
            let mut block = rest.to_vec();
            block[1..18].copy_from_slice(&name[1..18]);
            fix_checksum(&mut block);
            block
        };
        let (new_one, new_two) = (exchanged(&one, &two), exchanged(&two, &one));
        bytes.splice(second, new_two);
        bytes.splice(first, new_one);
        fs::write(path, bytes).unwrap();
    });
    victim.each("a block twice", bodies, |v, random| {
        let path = &segments[below(random, segments.len())];
        let mut bytes = v.files[path].clone();
        let blocks = block_ranges(&bytes);
        let copy = bytes[blocks[below(random, blocks.len())].clone()].to_vec();
        bytes.extend(copy);
        fs::write(path, bytes).unwrap();
    });
}

/// Where the blocks of a segment are, by the published format.
fn block_ranges(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut ranges) = (16, Vec::new());
    while at < bytes.len() {
        let start = at;
        at += 18;
        let mut number = || {
            let (mut value, mut shift) = (0_usize, 0);
            loop {
                let byte = bytes[at];
                at += 1;
                value |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        number();
        let len = number();
        at += 4 + len;
        ranges.push(start..at);
    }
    ranges
}

fn fix_checksum(block: &mut [u8]) {
    let mut at = 18;
    for _ in 0..2 {
        while block[at] >= 0x80 {
            at += 1;
        }
        at += 1;
    }
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block[..at]);
    crc.update(&block[at + 4..]);
    block[at..at + 4].copy_from_slice(&crc.finalize().to_be_bytes());
}

#[test]
fn changed_words_are_found() {
    let victim = Victim::record();
    let words =
        &[Damage::WordsAltered, Damage::WordsMissing, Damage::WordsInvented, Damage::ErasureUndeclared];
    let changes = [
        "UPDATE sessions SET who = CAST(replace(who, 'alice', 'mallo') AS BLOB) WHERE who LIKE '%alice%'",
        "UPDATE sessions SET what = CAST(replace(what, 'llama', 'drama') AS BLOB) WHERE what IS NOT NULL",
        "UPDATE sessions SET masks = NULL WHERE masks IS NOT NULL",
        "UPDATE sessions SET salt = zeroblob(16) WHERE salt IS NOT NULL",
        "UPDATE sessions SET subject = (SELECT max(id) FROM labels) WHERE number = (SELECT min(number) FROM sessions)",
        "UPDATE sessions SET outcome = NULL WHERE number = (SELECT max(number) FROM sessions)",
        "UPDATE sessions SET outcome = outcome + 1 WHERE number = (SELECT min(number) FROM sessions)",
        "UPDATE sessions SET id = randomblob(16) WHERE number = (SELECT min(number) FROM sessions)",
        "UPDATE sessions SET erased = 3, salt = NULL, who = NULL, what = NULL, masks = NULL WHERE number = (SELECT max(number) FROM sessions)",
        "UPDATE sessions SET erased = NULL WHERE erased IS NOT NULL",
        "UPDATE labels SET text = '19:https://idp.example|mallory' WHERE text LIKE '%|alice'",
        "DELETE FROM sessions WHERE number = (SELECT max(number) FROM sessions)",
        "INSERT INTO sessions(number, id) VALUES(0, randomblob(16))",
        "UPDATE events SET words = CAST(replace(words, 'approve', 'decline') AS BLOB)",
        "UPDATE events SET who = NULL WHERE who IS NOT NULL",
        "DELETE FROM events WHERE idx = (SELECT min(idx) FROM events)",
        "INSERT INTO events VALUES(0, NULL, zeroblob(16), NULL, x'00')",
        "UPDATE events SET request = NULL WHERE request IS NOT NULL",
        "DELETE FROM claims WHERE id = 'approval-5'",
        "UPDATE claims SET id = 'approval-6' WHERE id = 'approval-5'",
        "INSERT INTO claims VALUES('approval', 'new', 5, zeroblob(16))",
        "DELETE FROM holds",
        "UPDATE holds SET reason = 'case 8'",
        "UPDATE holds SET released = 5",
    ];
    for change in changes {
        assert!(victim.database().execute(change, []).unwrap() > 0, "{change} changes nothing");
        let report = victim.verify(None);
        assert!(report.findings.iter().any(|f| words.contains(&f.damage)), "{change}: {report:#?}");
        assert_eq!(report.exit_code(), 13, "{change}");
        victim.restore();
    }
}

#[test]
fn broken_rules_are_found_under_a_good_signature() {
    let victim = Victim::record();
    let (intents, outcomes) = (of_kind(&victim, 1), of_kind(&victim, 2));
    victim.each("missing outcome", &[Damage::OutcomeMissing], |v, random| {
        let at = outcomes[below(random, outcomes.len())];
        // An event takes its place, so that every index stays.
        edit_leaves(v, |all| all[at] = all[all.len() - 1].iter().take(10).copied().collect());
        v.sign_again();
    });
    victim.each("two outcomes", &[Damage::OutcomeTwice, Damage::OutcomeWithoutIntent], |v, random| {
        let at = below(random, outcomes.len());
        let to = outcomes[(at + 1) % outcomes.len()];
        edit_leaves(v, |all| all[to] = all[outcomes[at]].clone());
        v.sign_again();
    });
    victim.each("approval reuse", &[Damage::ClaimReused], |v, _| {
        edit_leaves(v, |all| {
            let claiming: Vec<_> = intents.iter().filter(|at| all[**at][all[**at].len() - 17] == 1).collect();
            let (from, to) = (*claiming[3], *claiming[7]);
            let (from_len, to_len) = (all[from].len(), all[to].len());
            let claim = all[from][from_len - 16..].to_vec();
            all[to][to_len - 16..].copy_from_slice(&claim);
        });
        v.sign_again();
    });
    victim.each("another key", &[Damage::OtherKey], |v, random| {
        edit_leaves(v, |all| all[0][11 + below(random, 32)] ^= 1);
        v.sign_again();
    });
    // Signing again alone is not noticed: that is what a pin is for.
    victim.sign_again();
    assert!(victim.verify(Some(&victim.pinned)).is_intact());
    victim.restore();
}

#[test]
fn a_pin_shows_what_the_key_alone_cannot() {
    let victim = Victim::record();
    let covered: usize = victim.pinned.lines().nth(1).unwrap().parse().unwrap();
    let mut random = random();
    for round in 0..rounds() {
        edit_leaves(&victim, |all| {
            let at = below(&mut random, covered);
            let byte = 2 + below(&mut random, 8);
            all[at][byte] ^= 1;
        });
        victim.sign_again();
        assert!(victim.verify(None).findings.iter().all(|f| f.damage != Damage::TreeMismatch));
        let report = victim.verify(Some(&victim.pinned));
        assert!(report.findings.iter().any(|f| f.damage == Damage::Forked), "{report}");
        assert_eq!(report.exit_code(), 11);
        victim.restore();

        edit_leaves(&victim, |all| all.truncate(1 + below(&mut random, covered - 1)));
        victim.sign_again();
        let report = victim.verify(Some(&victim.pinned));
        assert!(report.findings.iter().any(|f| f.damage == Damage::RolledBack), "{report}");
        assert_eq!(report.exit_code(), 11);
        if round < 2 {
            assert_eq!(victim.second_opinion(Some(&victim.pinned)), Some(1));
        }
        victim.restore();
    }
    assert!(!victim.sessions.is_empty());
}

#[test]
fn a_broken_database_file_is_damage() {
    let victim = Victim::record();
    let path = victim.dir.path().join("evidence.db");
    let mut random = random();
    for _ in 0..rounds() {
        let mut bytes = victim.files[&path].clone();
        // The head of some page: what SQLite stumbles over.
        let page = below(&mut random, bytes.len() / 4096);
        let at = page * 4096 + if page == 0 { 100 } else { 0 };
        bytes[at] ^= 0x3F;
        fs::write(&path, bytes).unwrap();
        let report = victim.verify(None);
        assert!(!report.is_intact(), "page {page}: {report}");
        victim.restore();
    }
}

#[test]
fn the_wrong_key_opens_nothing() {
    let victim = Victim::record();
    let (_, other) = signed_note::generate_key(&mut rand_core::OsRng, victim.key.name());
    let options = Options { key: Some(PublicKey::parse(&other).unwrap()), ..Options::default() };
    let report = verify(victim.dir.path(), &options).unwrap();
    assert!(report.findings.iter().any(|f| f.damage == Damage::OtherKey));
    assert_eq!((report.signed, report.exit_code()), (0, 10));
}

#[test]
fn an_older_copy_is_found_with_a_pin_only() {
    let victim = Victim::record();
    let report = victim.verify(None);
    assert!(report.unproven.iter().any(|what| what.contains("older valid state")), "{report}");
}
