//! What the holder of the key, or of the database, could write: each is found, and as what it is.

use std::fs;
use std::path::Path;

use gatewayd_core::{Action, Dialect, Ending, IdentityKind, Timestamp};
use rusqlite::{Connection, params};

use super::{Damage, Options, Report, verify};
use crate::blobs::Segments;
use crate::codec::{Text, sha256};
use crate::config::Durability;
use crate::facts::{Facts, WhatRef, Who, Words, claim_digest, digest, encode_event};
use crate::leaf::{
    Bodies, CREDENTIAL, Erasure, Gap, GapReason, Hold, Intent, Key, KeyRole, Kind, Leaf, Outcome, POLICY,
    RULE, Scope, Start, Stored, WORD,
};
use crate::note::LogKey;
use crate::publish::CHECKPOINT;
use crate::retention::{hold_words, list_digest};
use crate::segment::{BlockHead, Way, assemble};
use crate::store::{Store, row_id};
use crate::tree::{Tree, leaf_hash};

const ID: [u8; 16] = [7; 16];
const SALT: [u8; 16] = [3; 16];
/// The response's blocks are in these two segments.
const FIRST: u64 = 900;

/// A log, signed with a key of ours, whose entries may be changed before it is written.
struct Forged {
    dir: tempfile::TempDir,
    key: LogKey,
    leaves: Vec<Kind>,
}

/// Where the entries are.
const INTENT: usize = 2;
const OUTCOME: usize = 3;
const SET: usize = 4;
const RELEASED: usize = 5;

impl Forged {
    fn new() -> Self {
        let key = LogKey::from_seed("log.example/unit", &[7; 32]).unwrap();
        let log_key = Key { role: KeyRole::Log, key: *key.public().bytes(), name: Text::default() };
        let target = digest(Words::Hold, &SALT, &hold_words(None, Some("1:i|alice"), "a lawsuit"));
        let what = digest(Words::What, &SALT, &encode_event("hold", "a lawsuit"));
        let hold = |released| Kind::Hold(Hold { released, target, who: [0; 32], what });
        let leaves = vec![
            Kind::Key(log_key),
            Kind::Start(Start { durable: true, interrupted: 0, software: Text::default() }),
            Kind::Intent(Box::new(intent())),
            Kind::Outcome(Box::new(outcome())),
            hold(false),
            hold(true),
            Kind::Stop,
        ];
        Self { dir: tempfile::tempdir().unwrap(), key, leaves }
    }

    /// Writes and signs it, with all the rows and segments that belong to it.
    fn write(&self) -> &Self {
        let mut store = Store::open(self.dir.path(), Durability::Process).unwrap();
        let mut tree = Tree::default();
        let mut full = Vec::new();
        store.begin().unwrap();
        for (at, kind) in self.leaves.iter().enumerate() {
            let leaf = Leaf { time: Timestamp(0), kind: kind.clone() }.encode();
            store.insert_leaf(at as u64, &leaf).unwrap();
            tree.push(leaf_hash(&leaf), &mut full);
        }
        full.iter().for_each(|tile| store.insert_tile(tile).unwrap());
        store.insert_session(INTENT as u64, &ID, &facts(), None).unwrap();
        store.close_session(INTENT as u64, OUTCOME as u64, None).unwrap();
        store.claim("approval", "a1", INTENT as u64, &ID).unwrap();
        for at in [SET, RELEASED] {
            store.insert_event(at as u64, None, &SALT, None, &encode_event("hold", "a lawsuit")).unwrap();
        }
        let hold = "INSERT INTO holds(idx, subject, reason, salt, released) VALUES(?1, '1:i|alice', 'a lawsuit', ?2, ?3)";
        store.conn().execute(hold, params![row_id(SET as u64), SALT, row_id(RELEASED as u64)]).unwrap();
        store.commit().unwrap();
        let note = self.key.sign(tree.size(), tree.root());
        fs::write(self.path().join(CHECKPOINT), note).unwrap();
        let segments = Segments::below(self.path());
        segments.make_dir().unwrap();
        for n in 0..2 {
            let head = [b"GWDSEG1\n".as_slice(), &(FIRST + n).to_be_bytes(), &block(n)].concat();
            fs::write(segments.path(FIRST + n), head).unwrap();
        }
        self
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the database, as whoever can write the file could.
    fn sql(&self, statements: &str) -> &Self {
        Connection::open(self.path().join("evidence.db")).unwrap().execute_batch(statements).unwrap();
        self
    }

    fn remove_segment(&self, number: u64) -> &Self {
        fs::remove_file(Segments::below(self.path()).path(number)).unwrap();
        self
    }

    fn verify(&self) -> Report {
        verify(self.path(), &Options { key: Some(self.key.public().clone()), ..Options::default() }).unwrap()
    }

    /// Asserts that this is the first damage, and that the exit code is that of its kind.
    fn finds(&self, damage: Damage, entry: Option<usize>, code: u8) {
        let report = self.verify();
        let first = report.findings.first().map(|finding| (finding.damage, finding.entry));
        assert_eq!(first, Some((damage, entry.map(|at| at as u64))), "{report}");
        assert_eq!(report.exit_code(), code, "{report}");
    }

    fn is_intact(&self) -> Report {
        let report = self.verify();
        assert!(report.is_intact(), "{report}");
        report
    }

    /// Adds entries before the stop, so that no index changes.
    fn also(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.leaves.extend(kinds);
        self
    }
}

fn facts() -> Facts {
    let claims = [gatewayd_core::Claim { kind: "approval", id: "a1".into() }];
    let what = WhatRef { method: "POST", path: "/", rule: Some("r"), claims: &claims, ..WhatRef::default() };
    Facts { salt: SALT, who: Who::encode(None, None), what: what.encode(), subject: "".into() }
}

fn intent() -> Intent {
    Intent {
        id: ID,
        side_effects: false,
        streaming: false,
        request_complete: true,
        identity: IdentityKind::Oidc,
        dialect: Dialect::OpenAi,
        action: Action::Infer,
        effect: None,
        waited: 0,
        who: digest(Words::Who, &SALT, &facts().who),
        what: digest(Words::What, &SALT, &facts().what),
        request_len: 0,
        request: [0; 32],
        rule: Text::new(Some("r"), RULE),
        policy: Text::new(None, POLICY),
        credential: Text::new(None, CREDENTIAL),
        version: Text::new(None, CREDENTIAL),
        claims: vec![claim_digest("approval", "a1")],
    }
}

fn outcome() -> Outcome {
    let digest = sha256(&[&block(0), &block(1)]);
    let response =
        Some(Stored { blocks: 2, first_segment: FIRST, last_segment: FIRST + 1, plain: 10, digest });
    Outcome {
        id: ID,
        intent: INTENT as u64,
        ending: Ending::Complete,
        status: 200,
        refusal: None,
        bodies: Bodies { response_len: 10, response, ..Bodies::default() },
        first_byte: 1,
        duration: 2,
        masks: 0,
        mask_digest: None,
    }
}

fn block(number: u64) -> Vec<u8> {
    let head =
        BlockHead { way: Way::Response, compressed: false, chained: false, headed: false, id: ID, number };
    let mut out = Vec::new();
    assemble(&head.encode(5), b"bytes", &mut out);
    out
}

#[test]
fn a_request_without_a_body_has_no_block() {
    let forged = Forged::new();
    forged.write();
    let path = Segments::below(forged.path()).path(FIRST);
    let (mut bytes, mut extra) = (fs::read(&path).unwrap(), Vec::new());
    let head =
        BlockHead { way: Way::Request, compressed: false, chained: false, headed: false, id: ID, number: 5 };
    assemble(&head.encode(5), b"bytes", &mut extra);
    bytes.extend(extra);
    fs::write(&path, bytes).unwrap();
    forged.finds(Damage::BodyAltered, None, 14);
}

fn dropped(segment: u64) -> Erasure {
    let reason = Text::new(Some("retention"), WORD);
    Erasure { scope: Scope::Segment, segment, sessions: 0, list: list_digest(&[]), who: [0; 32], reason }
}

fn gap(count: u64) -> Kind {
    Kind::Gap(Gap { reason: GapReason::WriteFailed, count, note: Text::default() })
}

#[test]
fn what_is_as_the_format_says_is_intact() {
    let report = Forged::new().write().is_intact();
    assert_eq!((report.sessions, report.bodies, report.signed), (1, 1, 7));
}

#[test]
fn entry_0_names_the_key_and_no_other_does() {
    let mut forged = Forged::new();
    let key = std::mem::replace(&mut forged.leaves[0], Kind::Stop);
    forged.write().finds(Damage::OtherKey, Some(0), 10);
    let forged = Forged::new().also([key]);
    forged.write().finds(Damage::OtherKey, Some(7), 10);
    let report = forged.verify();
    assert!(!report.findings[0].detail.contains("another key"), "it is the right key: {report}");
}

#[test]
fn a_declared_segment_excuses_no_other() {
    let forged = Forged::new().also([Kind::Erasure(dropped(FIRST))]);
    forged.write().remove_segment(FIRST);
    let report = forged.is_intact();
    assert!(report.unproven.iter().any(|what| what.contains("dropped by retention")), "{report}");
    forged.remove_segment(FIRST + 1).finds(Damage::SegmentMissing, Some(OUTCOME), 14);
    let forged = Forged::new().also([FIRST, FIRST + 1].map(|n| Kind::Erasure(dropped(n))));
    forged.write().remove_segment(FIRST).remove_segment(FIRST + 1).is_intact();
}

#[test]
fn a_segment_that_is_there_must_be_whole_even_if_it_was_to_be_dropped() {
    let forged = Forged::new().also([Kind::Erasure(dropped(FIRST))]);
    forged.write().is_intact();
    let path = Segments::below(forged.path()).path(FIRST);
    fs::write(&path, &fs::read(&path).unwrap()[..16]).unwrap();
    forged.finds(Damage::BodyMissing, Some(OUTCOME), 14);
}

#[test]
fn a_range_without_end_ends_the_search() {
    let mut forged = Forged::new();
    let mut outcome = outcome();
    let response = outcome.bodies.response.as_mut().unwrap();
    (response.blocks, response.last_segment) = (3, u64::MAX);
    forged.leaves[OUTCOME] = Kind::Outcome(Box::new(outcome));
    let forged = forged.also([Kind::Erasure(dropped(FIRST + 2))]);
    forged.write().finds(Damage::SegmentMissing, Some(OUTCOME), 14);
}

#[test]
fn files_that_only_look_like_segments_are_none() {
    let forged = Forged::new();
    let segments = forged.write().path().join("segments");
    for name in ["900.seg", "+901.seg", "5.seg"] {
        fs::write(segments.join(name), "x").unwrap();
    }
    forged.is_intact();
}

#[test]
fn gaps_may_add_up_to_more_than_can_be_counted() {
    let report = Forged::new().also([gap(300), gap(u64::MAX), gap(1)]).write().is_intact();
    assert!(report.unproven.iter().any(|what| what.starts_with("3 declared gaps")), "{report}");
}

#[test]
fn a_hold_is_as_the_log_says() {
    for change in [
        "released = NULL",
        "released = 'x'",
        "released = 6",
        "released = idx",
        "session = 'x'",
        "session = zeroblob(16)",
        "subject = x'00'",
        "subject = NULL",
        "reason = x'00'",
        "idx = -1",
    ] {
        let forged = Forged::new();
        let report = forged.write().sql(&format!("UPDATE holds SET {change}")).verify();
        assert_eq!(report.exit_code(), 13, "{change}: {report}");
    }
    let forged = Forged::new();
    forged.write().sql("DELETE FROM holds").finds(Damage::WordsMissing, Some(SET), 13);
    let forged = Forged::new();
    forged.write().sql("UPDATE holds SET idx = idx + 1").finds(Damage::WordsMissing, Some(SET), 13);
    let again = forged.leaves[SET].clone();
    let forged = Forged::new().also([again]);
    forged.write().sql("INSERT INTO events SELECT 7, request, salt, who, words FROM events WHERE idx = 4");
    forged.finds(Damage::WordsAltered, Some(7), 13);
}

#[test]
fn the_words_of_holds_and_erasures_are_those_of_their_entries() {
    let words = |object: &str, outcome: &str| hex::encode(encode_event(object, outcome));
    for (object, outcome) in [("hold", "another case"), ("a hold", "a lawsuit")] {
        for at in [SET, RELEASED] {
            let change = format!("UPDATE events SET words = x'{}' WHERE idx = {at}", words(object, outcome));
            let forged = Forged::new();
            forged.write().sql(&change).finds(Damage::WordsAltered, Some(at), 13);
        }
    }
    let erasure = Erasure { scope: Scope::Subject, segment: 0, ..dropped(0) };
    let forged = Forged::new().also([Kind::Erasure(erasure)]);
    let row = |object| {
        format!("INSERT INTO events VALUES(7, NULL, zeroblob(16), NULL, x'{}')", words(object, "retention"))
    };
    forged.write().sql(&row("subject")).is_intact();
    forged.sql("DELETE FROM events WHERE idx = 7").sql(&row("session"));
    forged.finds(Damage::WordsAltered, Some(7), 13);
}

#[test]
fn however_much_is_damaged_the_first_of_it_is_told() {
    let forged = Forged::new();
    forged.write();
    for at in 100..130 {
        forged.sql(&format!("INSERT INTO sessions(number, id) VALUES({at}, zeroblob({at}))"));
    }
    // Looked at after the rows of sessions.
    forged.sql("INSERT INTO events(idx, salt, words) VALUES(90, x'00', x'00')");
    forged.finds(Damage::WordsInvented, Some(90), 13);
    assert_eq!((forged.verify().damages, forged.verify().findings.len()), (31, 20));
}

#[test]
fn a_value_longer_than_any_of_a_log_is_not_read() {
    for change in [
        "UPDATE labels SET text = text || printf('%.*c', 3000000, 'x')",
        "UPDATE leaves SET data = zeroblob(3000000) WHERE idx = 3",
        "UPDATE sessions SET who = zeroblob(3000000)",
        "INSERT INTO checkpoints VALUES(1, 0, printf('%.*c', 3000000, 'x'))",
        "UPDATE events SET words = zeroblob(3000000)",
        "UPDATE holds SET reason = printf('%.*c', 3000000, 'x')",
        "UPDATE claims SET id = printf('%.*c', 3000000, 'x')",
        "INSERT INTO tiles VALUES(0, 0, zeroblob(3000000))",
    ] {
        let forged = Forged::new();
        let report = forged.write().sql(change).verify();
        assert_eq!(report.exit_code(), 10, "{change}: {report}");
    }
}

#[test]
fn a_release_is_of_a_hold_that_is_in_force() {
    let mut forged = Forged::new();
    forged.leaves[RELEASED] =
        Kind::Hold(Hold { released: true, target: [9; 32], who: [0; 32], what: [0; 32] });
    forged.write().finds(Damage::WordsAltered, Some(SET), 13);
    assert!(forged.verify().findings.iter().any(|finding| finding.entry == Some(RELEASED as u64)));
    // Twice: a row that names the second release is as good as one that names the first, but the rule is not.
    let forged = Forged::new();
    let again = forged.leaves[RELEASED].clone();
    let forged = forged.also([again]);
    forged.write().sql(
        "UPDATE holds SET released = 7;
         INSERT INTO events(idx, salt, words) SELECT 7, salt, words FROM events WHERE idx = 5",
    );
    assert!(forged.verify().findings.iter().any(|finding| finding.entry == Some(7)));
    // A hold in force, whose row claims something that is no entry.
    let mut forged = Forged::new();
    forged.leaves[RELEASED] = gap(1);
    forged.write().sql("DELETE FROM events WHERE idx = 5; UPDATE holds SET released = NULL").is_intact();
    forged.sql("UPDATE holds SET released = 'x'").finds(Damage::WordsAltered, Some(SET), 13);
}

#[test]
fn a_claim_is_of_the_request_that_made_it() {
    for change in ["request = zeroblob(16)", "request = 'x'", "session = session + 1", "id = x'00'"] {
        let forged = Forged::new();
        let report = forged.write().sql(&format!("UPDATE claims SET {change}")).verify();
        assert_eq!(report.exit_code(), 13, "{change}: {report}");
    }
}

#[test]
fn what_is_told_of_a_word_drives_no_terminal_and_is_short() {
    let forged = Forged::new();
    forged.write().sql("INSERT INTO claims VALUES('approval', char(27) || '[2J' || printf('%.*c', 9000, 'x'), 2, zeroblob(16))");
    let told = forged.verify().to_string();
    assert!(told.contains("u{1b}[2Jxx") && !told.contains('\u{1b}') && told.len() < 1000, "{told}");
}

#[test]
fn an_erasure_of_a_segment_lists_the_sessions_it_took_too() {
    for erasure in
        [Erasure { sessions: 2, ..dropped(FIRST + 7) }, Erasure { list: [1; 32], ..dropped(FIRST + 7) }]
    {
        let forged = Forged::new().also([Kind::Erasure(erasure)]);
        forged.write().finds(Damage::ErasureUndeclared, Some(7), 13);
    }
    Forged::new().also([Kind::Erasure(dropped(FIRST + 7))]).write().is_intact();
}

#[test]
fn an_index_is_that_of_its_table() {
    let forged = Forged::new();
    let name = |sql: &str| {
        format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = '{sql}' WHERE name = 'sessions_of_subject';
             PRAGMA writable_schema = RESET;"
        )
    };
    let other = name("CREATE INDEX sessions_of_subject ON sessions(erased, number)");
    let right = name("CREATE INDEX sessions_of_subject ON sessions(subject, number)");
    forged.write().sql(&other).sql("REINDEX sessions_of_subject").sql(&right);
    forged.finds(Damage::DatabaseCorrupt, None, 10);
}

#[test]
fn a_table_less_is_damage() {
    for table in ["leaves", "tiles", "checkpoints", "labels", "sessions", "claims", "events", "holds", "meta"]
    {
        let forged = Forged::new();
        forged.write().sql(&format!("DROP TABLE {table}")).finds(Damage::DatabaseCorrupt, None, 10);
    }
    let forged = Forged::new();
    forged.write().sql("ALTER TABLE holds RENAME TO kept; CREATE VIEW holds AS SELECT * FROM kept");
    forged.finds(Damage::DatabaseCorrupt, None, 10);
    let forged = Forged::new();
    forged.write().sql("ALTER TABLE holds RENAME COLUMN reason TO why");
    forged.finds(Damage::DatabaseCorrupt, None, 10);
}

#[test]
fn a_tile_too_many_is_found_on_every_level() {
    for (level, n) in [(0, 0), (1, 0), (99, 0), (-1, -1)] {
        let forged = Forged::new();
        let tile = format!("INSERT INTO tiles VALUES({level}, {n}, zeroblob(8192))");
        let report = forged.write().sql(&tile).verify();
        assert_eq!(report.exit_code(), 10, "{level}/{n}: {report}");
    }
    let many = Forged::new().also((0..300).map(|_| gap(0)));
    many.write().is_intact();
    many.sql("DELETE FROM tiles; INSERT INTO tiles VALUES(1, 0, zeroblob(8192))");
    assert_eq!(many.verify().exit_code(), 10);
}

#[test]
fn rows_of_no_entry_and_values_of_other_types_are_found() {
    for change in [
        "INSERT INTO sessions(number, id) VALUES(-1, x'00')",
        "INSERT INTO events(idx, salt, words) VALUES(-1, x'00', x'00')",
        "INSERT INTO holds(idx, reason, salt) VALUES(-1, 'r', x'00')",
        "INSERT INTO claims VALUES('approval', 'a2', 2, x'00')",
        "INSERT INTO labels(text) VALUES(x'00')",
        "UPDATE sessions SET masks = 'x'",
        "UPDATE sessions SET outcome = 'x'",
        "UPDATE sessions SET erased = 'x'",
        "UPDATE events SET who = 'x'",
        "UPDATE events SET request = 'x'",
    ] {
        let forged = Forged::new();
        let report = forged.write().sql(change).verify();
        assert_eq!(report.exit_code(), 13, "{change}: {report}");
    }
    let forged = Forged::new();
    forged.write().sql("UPDATE leaves SET idx = -1 WHERE idx = 0").finds(Damage::EntryMissing, Some(0), 10);
}

#[test]
fn a_short_word_is_not_given_by_its_digest() {
    let mut forged = Forged::new();
    let rule = Text::Digested(crate::codec::short_digest(b"r"));
    forged.leaves[INTENT] = Kind::Intent(Box::new(Intent { rule, ..intent() }));
    forged.write().finds(Damage::WordsAltered, Some(INTENT), 13);
}

#[test]
fn two_entries_cannot_commit_to_one_body_differently() {
    let mut forged = Forged::new();
    let mut second = outcome();
    second.bodies.response.as_mut().unwrap().digest = [1; 32];
    // The one that fits comes last, so that only the comparison of both tells.
    forged.leaves.insert(OUTCOME, Kind::Outcome(Box::new(second)));
    let report = forged.write().verify();
    assert!(report.findings.iter().any(|finding| finding.damage == Damage::BodyAltered), "{report}");
}

#[test]
fn the_cause_is_named_before_what_follows_from_it() {
    let forged = Forged::new();
    forged.write().sql("UPDATE leaves SET data = x'0102' WHERE idx = 3");
    forged.finds(Damage::EntryMalformed, Some(OUTCOME), 10);
}

#[test]
fn a_segment_without_its_head_is_damage_where_it_is_needed() {
    let forged = Forged::new();
    let segments = Segments::below(forged.write().path());
    fs::write(segments.path(FIRST + 7), "GWDS").unwrap();
    let report = forged.is_intact();
    assert!(report.unproven.iter().any(|what| what.starts_with("4 bytes in segments")), "{report}");
    fs::write(segments.path(FIRST + 1), "GWDS").unwrap();
    forged.finds(Damage::SegmentMissing, Some(OUTCOME), 14);
}
