//! What somebody changed in the database is shown as changed, wherever it is shown, and decides nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::path::Path;

use gatewayd_core::{Event, EventKind, Journal as _};
use gatewayd_recorder::export::{Format, export};
use gatewayd_recorder::verify::{Damage, Options, verify};
use gatewayd_recorder::{Error, Filter, Reader, Target};
use rig::{echo_len, identity, open, request, send, stack};

fn change(dir: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(dir.join("evidence.db")).unwrap();
    conn.execute_batch(sql).unwrap();
}

async fn sessions(count: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    for _ in 0..count {
        assert_eq!(send(&stack, request("alice", "x")).await.1, 200);
    }
    recorder.close();
    dir
}

/// One byte of the time in an entry.
fn another_time(entry: u64) -> String {
    format!(
        "UPDATE leaves SET data = CAST(substr(data, 1, 8) || CASE substr(data, 9, 1) WHEN x'00' THEN x'01' ELSE x'00' END
         || substr(data, 10) AS BLOB) WHERE idx = {entry}"
    )
}

#[tokio::test]
async fn an_entry_that_was_not_signed_is_marked_and_not_proven() {
    let dir = sessions(140).await;
    let list =
        || Reader::open(dir.path()).unwrap().list(&Filter { limit: 1000, ..Filter::default() }).unwrap();
    let all = list();
    assert!(all.len() == 140 && all.iter().all(|session| !session.altered));
    let reader = Reader::open(dir.path()).unwrap();
    // One in a full tile, its first entry; and one at the edge, its last.
    let (old, new) = (&all[130], &all[2]);
    let outcome = reader.show(new.id).unwrap().outcome.unwrap();
    change(dir.path(), &another_time(old.number));
    let marked: Vec<_> = list().iter().filter(|session| session.altered).map(|session| session.id).collect();
    assert_eq!(marked, [old.id], "the others of the tile are known to be right");
    change(dir.path(), &another_time(outcome));
    let reader = Reader::open(dir.path()).unwrap();
    for session in [old, new] {
        let bundle = reader.show(session.id).unwrap();
        assert!(bundle.summary.altered);
        let replay = reader.replay(session.id).unwrap();
        assert!(replay.altered);
        for format in Format::ALL {
            let text = export(&bundle, &replay, format).to_lowercase();
            assert!(text.contains("altered\":true") || text.contains("altered: this"), "{text}");
        }
    }
    assert!(matches!(reader.prove(old.number), Err(Error::Damaged(_))));
    assert!(matches!(reader.prove(outcome), Err(Error::Damaged(_))));
    assert_eq!(verify(dir.path(), &Options::default()).unwrap().exit_code(), 10);
}

#[tokio::test]
async fn an_event_with_other_words_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    for object in ["one", "two"] {
        let (kind, object, outcome) = (EventKind::AdminRead, object.into(), "shown".into());
        let event = Event { kind, actor: Some(identity("bob")), object, outcome, request: None };
        recorder.record(event).await.unwrap();
    }
    recorder.close();
    let events = || Reader::open(dir.path()).unwrap().events(None, 10).unwrap();
    assert!(events().iter().all(|event| !event.altered));
    change(dir.path(), "UPDATE events SET words = replace(words, CAST('two' AS BLOB), CAST('six' AS BLOB))");
    change(dir.path(), "UPDATE events SET words = CAST(words AS BLOB)");
    let events = events();
    let reads = events.iter().filter(|event| event.kind == "admin-read");
    let marked: Vec<_> = reads.map(|event| (event.object.clone(), event.altered)).collect();
    assert_eq!(marked, [("six".to_owned(), true), ("one".to_owned(), false)]);
}

#[tokio::test]
async fn a_hold_that_no_entry_released_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let (id, ..) = send(&stack(&recorder, echo_len), request("alice", "x")).await;
    let hold = recorder.hold(&Target::Session(id), Some(&identity("counsel")), "case 7").unwrap();
    let other = recorder.hold(&Target::Subject(identity("bob").key()), None, "case 8").unwrap();
    recorder.release(other, None, "done").unwrap();
    drop(recorder);
    change(
        dir.path(),
        &format!(
            "UPDATE holds SET released = (SELECT released FROM holds WHERE idx = {other}) WHERE idx = {hold}"
        ),
    );
    let holds = Reader::open(dir.path()).unwrap().holds().unwrap();
    let shown: Vec<_> = holds.iter().map(|h| (h.number, h.released.is_some(), h.altered)).collect();
    assert_eq!(shown, [(other, true, false), (hold, false, true)]);
    let recorder = open(dir.path());
    let erased = recorder.erase(&Target::Session(id), None, "no");
    assert!(matches!(erased, Err(Error::Held(n)) if n == hold), "{erased:?}");
}

/// A wrapped key says whose it is: under another session or another caller it opens nothing.
#[tokio::test]
async fn the_keys_of_two_sessions_or_callers_cannot_change_places() {
    let dir = sessions(1).await;
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    send(&stack, request("alice", "y")).await;
    send(&stack, request("bob", "z")).await;
    recorder.close();
    let reader = || Reader::open(dir.path()).unwrap();
    let all = reader().list(&Filter::default()).unwrap();
    let replayed = || all.iter().map(|session| reader().replay(session.id).is_ok()).collect::<Vec<_>>();
    assert_eq!(replayed(), [true; 3]);
    let swap = |table: &str, row: &str, one: i64, other: i64| {
        format!(
            "CREATE TEMP TABLE was AS SELECT {row} AS row, wrapped FROM {table};
             UPDATE {table} SET wrapped = (SELECT wrapped FROM was WHERE row = {one} + {other} - {table}.{row})
             WHERE {row} IN ({one}, {other})"
        )
    };
    // Two sessions of one caller, whose keys are below the same key.
    let [one, other] = [1, 2].map(|n: usize| i64::try_from(all[n].number).unwrap());
    let own = swap("session_keys", "number", one, other);
    change(dir.path(), &own);
    assert_eq!(replayed(), [true, false, false]);
    let why = reader().replay(all[1].id).unwrap_err().to_string();
    assert!(why.contains("the key of the session does not open"), "not only the body: {why}");
    change(dir.path(), &own);
    assert_eq!(replayed(), [true; 3]);
    let callers = swap("subject_keys", "subject", 1, 2);
    change(dir.path(), &callers);
    assert_eq!(replayed(), [false; 3]);
}

#[tokio::test]
async fn small_lies_are_found() {
    let lies = [
        (
            "UPDATE checkpoints SET time = 'x' WHERE size = (SELECT max(size) FROM checkpoints)",
            Damage::BadCheckpoint,
        ),
        ("UPDATE sessions SET subject = 1 WHERE erased IS NOT NULL", Damage::WordsAltered),
    ];
    for (lie, damage) in lies {
        let dir = sessions(3).await;
        let recorder = open(dir.path());
        let id = Reader::open(dir.path()).unwrap().list(&Filter::default()).unwrap()[0].id;
        recorder.erase(&Target::Session(id), None, "asked for").unwrap();
        recorder.close();
        assert!(verify(dir.path(), &Options::default()).unwrap().is_intact());
        change(dir.path(), lie);
        let report = verify(dir.path(), &Options::default()).unwrap();
        assert_eq!(report.findings[0].damage, damage, "{lie}: {report}");
    }
}
