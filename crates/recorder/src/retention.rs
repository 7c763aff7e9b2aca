//! What goes away, and what must not: erasure, legal hold, age and size.

use std::ops::RangeInclusive;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use gatewayd_core::{Identity, RequestId, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::blobs::BlobStore;
use crate::codec::{Digest, Encoder, Text, sha256};
use crate::commit::{Entry, Task};
use crate::error::Error;
use crate::facts::{self, Salt, Who, Words};
use crate::leaf::{self, Erasure, Hold, Kind, Leaf, Scope};
use crate::seal::Job;
use crate::shared::Shared;
use crate::store::{self, Store, index, row_id};

/// How long an erasure waits for the writing threads.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to be erased or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One request.
    Session(RequestId),
    /// All requests of one caller, named by [`Identity::key`].
    Subject(String),
}

/// Who asks for a change, ready to be stored.
struct Actor {
    salt: Salt,
    words: Option<Vec<u8>>,
    digest: Digest,
}

impl Actor {
    fn new(identity: Option<&Identity>) -> Result<Self, Error> {
        let salt = facts::salt()?;
        let words = identity.map(|identity| Who::encode(Some(identity), None));
        let digest = words.as_deref().map_or([0; 32], |words| facts::digest(Words::Who, &salt, words));
        Ok(Self { salt, words, digest })
    }

    /// Stores the words of the event; returns their digest.
    fn store(&self, store: &Store, at: u64, object: &str, outcome: &str) -> Result<Digest, Error> {
        let words = facts::encode_event(object, outcome);
        store.insert_event(at, None, &self.salt, self.words.as_deref(), &words)?;
        Ok(facts::digest(Words::What, &self.salt, &words))
    }
}

/// SHA-256 over the numbers of sessions, ascending.
pub(crate) fn list_digest(numbers: &[u64]) -> Digest {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    sha256(&[&bytes])
}

/// The words behind a hold's digest.
pub(crate) fn hold_words(session: Option<&[u8]>, subject: Option<&str>, reason: &str) -> Vec<u8> {
    let mut out = Encoder::default();
    out.optional(session.map(hex::encode).as_deref());
    out.optional(subject);
    out.string(reason);
    out.0
}

/// Runs a task in the committer and waits for it.
pub(crate) fn run(shared: &Shared, task: Task) -> Result<u64, Error> {
    let (ack, answer) = mpsc::sync_channel(1);
    shared
        .submit(Entry::Task { task: Some(task), ack: Some(ack) })
        .map_err(|error| Error::Unavailable(error.to_string()))?;
    answer.recv_timeout(PATIENCE).map_err(|_| Error::Unavailable("it did not answer in time".into()))?
}

/// Makes bodies and words of the target unreadable, and says so in the log. Returns how many sessions.
pub(crate) fn erase(
    shared: &Arc<Shared>,
    target: &Target,
    by: Option<&Identity>,
    reason: &str,
) -> Result<u64, Error> {
    let actor = Actor::new(by)?;
    let (time, target, reason) = (shared.now(), target.clone(), facts::clip_event(reason).to_owned());
    let _resumes_the_sealer_when_dropped = match &target {
        Target::Subject(subject) => Some(pause_sealer(shared, subject)?),
        Target::Session(_) => None,
    };
    let (count, counted) = mpsc::sync_channel(1);
    let task: Task = Box::new(move |store, at| {
        let numbers = erased_rows(store, &target, at)?;
        let scope = match &target {
            Target::Session(_) => Scope::Session,
            Target::Subject(_) => Scope::Subject,
        };
        actor.store(store, at, scope.object(), &reason)?;
        let _asker_may_be_gone = count.send(numbers.len() as u64);
        let erasure = Erasure {
            scope,
            segment: 0,
            sessions: numbers.len() as u64,
            list: list_digest(&numbers),
            who: actor.digest,
            reason: Text::new(Some(&reason), leaf::WORD),
        };
        Ok(vec![Leaf { time, kind: Kind::Erasure(erasure) }])
    });
    run(shared, task)?;
    counted.recv().map_err(|_| Error::Unavailable("the erasure did not run".into()))
}

/// Makes the sealer forget a subject's key and wait, so that no session is sealed below an erased key.
fn pause_sealer(shared: &Shared, subject: &str) -> Result<mpsc::SyncSender<()>, Error> {
    let (resume, resumed) = mpsc::sync_channel(1);
    let (ready, is_ready) = mpsc::sync_channel(1);
    shared.seal(Job::Forget { subject: subject.to_owned(), ready, resume: resumed });
    is_ready.recv_timeout(PATIENCE).map_err(|_| Error::Unavailable("the sealer did not answer".into()))?;
    Ok(resume)
}

fn erased_rows(store: &mut Store, target: &Target, at: u64) -> Result<Vec<u64>, Error> {
    let conn = store.conn();
    let numbers = may_be_erased(conn, target)?;
    for number in &numbers {
        conn.prepare_cached("DELETE FROM session_keys WHERE number = ?1")?.execute([row_id(*number)])?;
        conn.prepare_cached(
            "UPDATE sessions SET salt = NULL, who = NULL, what = NULL, masks = NULL, subject = NULL, erased = ?2 WHERE number = ?1",
        )?
        .execute(params![row_id(*number), row_id(at)])?;
    }
    if let Target::Subject(subject) = target {
        let label = store::label_of(conn, subject)?;
        conn.execute("DELETE FROM subject_keys WHERE subject = ?1", [label])?;
        conn.execute("DELETE FROM labels WHERE id = ?1", [label])?;
    }
    store.forget_labels();
    Ok(numbers)
}

/// The sessions of the target, if all of them may be erased.
pub(crate) fn may_be_erased(conn: &Connection, target: &Target) -> Result<Vec<u64>, Error> {
    let numbers = sessions_of(conn, target)?;
    for number in &numbers {
        if let Some(hold) = hold_on(conn, *number)? {
            return Err(Error::Held(hold));
        }
    }
    Ok(numbers)
}

fn sessions_of(conn: &Connection, target: &Target) -> Result<Vec<u64>, Error> {
    match target {
        Target::Session(id) => {
            let row: Option<(i64, Option<i64>, Option<i64>)> = conn
                .query_row(
                    "SELECT number, outcome, erased FROM sessions WHERE id = ?1",
                    [id.as_bytes()],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .optional()?;
            match row {
                None => Err(Error::NoSession(id.to_string())),
                Some((_, _, Some(_))) => Err(Error::Erased(format!("session {id}"))),
                Some((_, None, _)) => Err(Error::Unavailable(format!("session {id} has not ended yet"))),
                Some((number, Some(_), None)) => Ok(vec![index(number)]),
            }
        }
        Target::Subject(subject) => {
            let Some(label) = store::label_of(conn, subject)? else { return Ok(Vec::new()) };
            let mut query = conn.prepare("SELECT number FROM sessions WHERE subject = ?1 ORDER BY number")?;
            let rows = query.query_map([label], |row| row.get::<_, i64>(0))?;
            rows.map(|row| row.map(index).map_err(Error::from)).collect()
        }
    }
}

/// The hold that covers a session, if any.
fn hold_on(conn: &Connection, number: u64) -> Result<Option<i64>, Error> {
    let mut query = conn.prepare_cached(
        "SELECT holds.idx, holds.released FROM sessions JOIN holds ON
           (holds.session = sessions.id OR holds.subject = (SELECT text FROM labels WHERE id = sessions.subject))
         WHERE sessions.number = ?1",
    )?;
    let mut rows = query.query([row_id(number)])?;
    while let Some(row) = rows.next()? {
        if in_force(conn, row.get(0)?, row.get(1)?)? {
            return row.get(0).map(Some).map_err(Error::from);
        }
    }
    Ok(None)
}

/// A hold is in force until the entry that its row names releases it: not because a row says so.
fn in_force(conn: &Connection, hold: i64, released: Option<i64>) -> Result<bool, Error> {
    let Some(released) = released else { return Ok(true) };
    let Ok(Leaf { kind: Kind::Hold(set), .. }) = Leaf::decode(&store::leaf(conn, index(hold))?) else {
        return Ok(true);
    };
    Ok(!store::leaf(conn, index(released)).is_ok_and(|entry| is_release(&entry, set.target)))
}

/// True if the entry releases the hold of that digest.
pub(crate) fn is_release(entry: &[u8], hold: Digest) -> bool {
    matches!(Leaf::decode(entry), Ok(Leaf { kind: Kind::Hold(end), .. }) if end.released && end.target == hold)
}

/// A hold on nothing would let somebody believe that something is kept.
fn may_be_held(conn: &Connection, id: RequestId) -> Result<(), Error> {
    match store::is_erased(conn, id.as_bytes())? {
        None => Err(Error::NoSession(id.to_string())),
        Some(true) => Err(Error::Erased(format!("session {id}"))),
        Some(false) => Ok(()),
    }
}

/// Sets a legal hold; returns its number.
pub(crate) fn hold(
    shared: &Shared,
    target: &Target,
    by: Option<&Identity>,
    reason: &str,
) -> Result<i64, Error> {
    let actor = Actor::new(by)?;
    let (time, target, reason) = (shared.now(), target.clone(), facts::clip_event(reason).to_owned());
    let (number, numbered) = mpsc::sync_channel(1);
    let task: Task = Box::new(move |store, at| {
        if let Target::Session(id) = &target {
            may_be_held(store.conn(), *id)?;
        }
        let (session, subject) = match &target {
            Target::Session(id) => (Some(id.as_bytes().as_slice()), None),
            Target::Subject(subject) => (None, Some(subject.as_str())),
        };
        let digest = facts::digest(Words::Hold, &actor.salt, &hold_words(session, subject, &reason));
        store.conn().execute(
            "INSERT INTO holds(idx, session, subject, reason, salt) VALUES(?1, ?2, ?3, ?4, ?5)",
            params![row_id(at), session, subject, reason, actor.salt],
        )?;
        let what = actor.store(store, at, "hold", &reason)?;
        let _asker_may_be_gone = number.send(row_id(at));
        let hold = Hold { released: false, target: digest, who: actor.digest, what };
        Ok(vec![Leaf { time, kind: Kind::Hold(hold) }])
    });
    run(shared, task)?;
    numbered.recv().map_err(|_| Error::Unavailable("the hold was not set".into()))
}

/// Releases a legal hold.
pub(crate) fn release(shared: &Shared, hold: i64, by: Option<&Identity>, reason: &str) -> Result<(), Error> {
    let actor = Actor::new(by)?;
    let (time, reason) = (shared.now(), facts::clip_event(reason).to_owned());
    let task: Task = Box::new(move |store, at| {
        let leaf = store::leaf(store.conn(), index(hold))?;
        let Ok(Leaf { kind: Kind::Hold(Hold { target, .. }), .. }) = Leaf::decode(&leaf) else {
            return Err(Error::NoSession(format!("under hold {hold}")));
        };
        let changed = store.conn().execute(
            "UPDATE holds SET released = ?2 WHERE idx = ?1 AND released IS NULL",
            params![hold, row_id(at)],
        )?;
        if changed == 0 {
            return Err(Error::NoSession(format!("under hold {hold}")));
        }
        let what = actor.store(store, at, "hold", &reason)?;
        let hold = Hold { released: true, target, who: actor.digest, what };
        Ok(vec![Leaf { time, kind: Kind::Hold(hold) }])
    });
    run(shared, task).map(drop)
}

/// Drops the segments whose time is over, oldest first; returns how many. `in_use` and later ones stay.
pub(crate) fn sweep(
    shared: &Shared,
    conn: &Connection,
    segments: &dyn BlobStore,
    in_use: u64,
) -> Result<u64, Error> {
    let config = &shared.config;
    if config.keep.is_none() && config.keep_bytes.is_none() {
        return Ok(0);
    }
    remove_dropped(conn, segments)?;
    let closed = closed_segments(conn, shared.now(), longest_silence(config.keep))?;
    let mut total: u64 = closed.iter().map(|segment| segment.bytes).sum();
    let held = held_segments(conn)?;
    let mut dropped = 0;
    for Closed { number, age, bytes } in closed {
        let old = config.keep.is_some_and(|keep| age > keep);
        let too_much = config.keep_bytes.is_some_and(|keep| total > keep);
        if !(old || too_much) || number >= in_use || hold_over(&held, number).is_some() {
            continue;
        }
        match drop_segment(shared, segments, number) {
            // Set, or found to reach as far, since the look above.
            Err(Error::Held(_)) => continue,
            other => other?,
        }
        total -= bytes;
        dropped += 1;
    }
    Ok(dropped)
}

/// What the log says is dropped is gone: also what could not be removed at the time, or was put back since.
fn remove_dropped(conn: &Connection, segments: &dyn BlobStore) -> Result<(), Error> {
    let mut query =
        conn.prepare_cached("SELECT count(*) FROM segments WHERE n = ?1 AND dropped IS NOT NULL")?;
    for number in segments.numbers()? {
        if query.query_row([row_id(number)], |row| row.get::<_, i64>(0))? > 0
            && let Err(error) = segments.remove(number)
        {
            // The others go all the same.
            tracing::warn!(segment = number, %error, "a dropped segment could not be removed yet");
        }
    }
    Ok(())
}

/// A segment that is there and takes nothing any more.
struct Closed {
    number: u64,
    age: Duration,
    bytes: u64,
}

/// As much as passes at most, as far as retention goes, between the end of one segment and that of the next: a quarter of
/// what is kept, but a day at least and a week at most.
fn longest_silence(keep: Option<Duration>) -> Duration {
    (keep.unwrap_or_default() / 4).clamp(DAY, 7 * DAY)
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The closed segments, oldest first. A clock that jumped years ahead makes none of them years older: the age of a segment
/// is the sum of what passed from each end of a segment to the next, and of none more than `longest`.
fn closed_segments(conn: &Connection, now: Timestamp, longest: Duration) -> Result<Vec<Closed>, Error> {
    let mut query =
        conn.prepare_cached("SELECT n, closed, bytes, dropped IS NULL FROM segments ORDER BY n DESC")?;
    let mut rows = query.query([])?;
    let (mut found, mut age, mut later) = (Vec::new(), Duration::ZERO, now);
    while let Some(row) = rows.next()? {
        let closed = Timestamp(row.get(1)?);
        age += later.since(closed).min(longest);
        later = closed;
        if row.get(3)? {
            found.push(Closed { number: index(row.get(0)?), age, bytes: index(row.get(2)?) });
        }
    }
    found.reverse();
    Ok(found)
}

/// First the entry, then the file: a missing segment is always a declared one. Holds are looked at once more in the
/// transaction: requests that just ended and holds that were just set are known there, and not before.
fn drop_segment(shared: &Shared, segments: &dyn BlobStore, number: u64) -> Result<(), Error> {
    let time = shared.now();
    let task: Task = Box::new(move |store, at| {
        if let Some(hold) = hold_over(&held_segments(store.conn())?, number) {
            return Err(Error::Held(hold));
        }
        store
            .conn()
            .execute("UPDATE segments SET dropped = ?2 WHERE n = ?1", params![row_id(number), row_id(at)])?;
        let erasure = Erasure {
            scope: Scope::Segment,
            segment: number,
            sessions: 0,
            list: list_digest(&[]),
            who: [0; 32],
            reason: Text::new(Some("retention"), leaf::WORD),
        };
        Ok(vec![Leaf { time, kind: Kind::Erasure(erasure) }])
    });
    run(shared, task)?;
    segments.remove(number)
}

/// A legal hold over something in the segments of a range.
struct Held {
    hold: i64,
    segments: RangeInclusive<u64>,
}

fn hold_over(held: &[Held], segment: u64) -> Option<i64> {
    held.iter().find(|held| held.segments.contains(&segment)).map(|held| held.hold)
}

fn held_segments(conn: &Connection) -> Result<Vec<Held>, Error> {
    let mut query = conn.prepare_cached(
        "SELECT leaves.data, holds.idx, holds.released FROM holds
         JOIN sessions ON sessions.id = holds.session
           OR sessions.subject = (SELECT id FROM labels WHERE text = holds.subject)
         JOIN leaves ON leaves.idx = sessions.outcome",
    )?;
    let rows = query.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get(2)?)))?;
    let mut ranges = Vec::new();
    for row in rows {
        let (leaf, hold, released) = row?;
        if !in_force(conn, hold, released)? {
            continue;
        }
        let leaf = Leaf::decode(&leaf).map_err(|error| Error::Damaged(format!("an entry: {error}")))?;
        let bodies = match leaf.kind {
            Kind::Outcome(outcome) | Kind::Interruption(outcome) => outcome.bodies,
            Kind::Refusal(refused) => refused.bodies,
            _ => continue,
        };
        let stored = [bodies.request, bodies.response].into_iter().flatten();
        ranges
            .extend(stored.map(|stored| Held { hold, segments: stored.first_segment..=stored.last_segment }));
    }
    Ok(ranges)
}
