//! Changes to the words in the database, each in a row chosen at random.

use gatewayd_recorder::verify::Damage::{self, ErasureUndeclared, WordsAltered, WordsInvented, WordsMissing};
use gatewayd_recorder::{Filter, Reader};
use rusqlite::params;

use crate::victim::{Random, Victim, attempt, each};

/// A column of blobs, and which rows of it can be damaged.
struct Column(&'static str, &'static str, &'static str, &'static str);

/// In each, one bit is turned over.
const BITS: &[Column] = &[
    Column("sessions", "number", "id", "erased IS NULL"),
    Column("sessions", "number", "salt", "salt IS NOT NULL"),
    Column("sessions", "number", "who", "who IS NOT NULL"),
    Column("sessions", "number", "what", "what IS NOT NULL"),
    Column("sessions", "number", "masks", "masks IS NOT NULL"),
    Column("events", "idx", "request", "request IS NOT NULL"),
    Column("events", "idx", "salt", "who IS NOT NULL"),
    Column("events", "idx", "who", "who IS NOT NULL"),
    Column("events", "idx", "words", "1"),
    Column("holds", "idx", "session", "session IS NOT NULL"),
    Column("holds", "idx", "salt", "1"),
];

/// Statements; `?1` is a random number. `ORDER BY (x * ?1) % 1000003` picks a row by it.
const STATEMENTS: &[(&str, &[Damage])] = &[
    (
        "UPDATE sessions SET masks = NULL WHERE number = (SELECT number FROM sessions WHERE masks IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET salt = NULL WHERE number = (SELECT number FROM sessions WHERE salt IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET who = CAST(replace(who, 'e', 'ee') AS BLOB) WHERE number = (SELECT number FROM sessions WHERE who LIKE '%e%' ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET subject = subject % (SELECT max(id) FROM labels) + 1 WHERE number = (SELECT number FROM sessions WHERE subject IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET outcome = NULL WHERE number = (SELECT number FROM sessions ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET outcome = outcome + 1 + ?1 % 20 WHERE number = (SELECT number FROM sessions ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET id = randomblob(16) WHERE number = (SELECT number FROM sessions ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE sessions SET erased = ?1 % 400, salt = NULL, who = NULL, what = NULL, masks = NULL WHERE number = (SELECT number FROM sessions WHERE erased IS NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[ErasureUndeclared, WordsAltered],
    ),
    (
        "UPDATE sessions SET erased = NULL WHERE number = (SELECT number FROM sessions WHERE erased IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[ErasureUndeclared, WordsAltered],
    ),
    (
        "UPDATE sessions SET erased = erased + 1 + ?1 % 20 WHERE number = (SELECT number FROM sessions WHERE erased IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[ErasureUndeclared, WordsAltered],
    ),
    (
        "UPDATE labels SET text = text || ?1 WHERE id = (SELECT subject FROM sessions WHERE subject IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "DELETE FROM sessions WHERE number = (SELECT number FROM sessions ORDER BY (number * ?1) % 1000003 LIMIT 1)",
        &[WordsMissing],
    ),
    (
        "INSERT INTO sessions(number, id) SELECT idx, randomblob(16) FROM leaves WHERE idx NOT IN (SELECT number FROM sessions) ORDER BY (idx * ?1) % 1000003 LIMIT 1",
        &[WordsInvented],
    ),
    ("INSERT INTO sessions(number, id) VALUES(100000 + ?1, randomblob(16))", &[WordsInvented]),
    (
        "UPDATE events SET words = CAST(replace(words, 'approve', 'decline') AS BLOB) WHERE idx = (SELECT idx FROM events WHERE request IS NOT NULL ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE events SET who = NULL WHERE idx = (SELECT idx FROM events WHERE who IS NOT NULL ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "UPDATE events SET request = NULL WHERE idx = (SELECT idx FROM events WHERE request IS NOT NULL ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    (
        "DELETE FROM events WHERE idx = (SELECT idx FROM events ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsMissing],
    ),
    (
        "INSERT INTO events SELECT idx, NULL, zeroblob(16), NULL, x'00' FROM leaves WHERE idx NOT IN (SELECT idx FROM events) ORDER BY (idx * ?1) % 1000003 LIMIT 1",
        &[WordsInvented],
    ),
    (
        "DELETE FROM claims WHERE session = (SELECT session FROM claims ORDER BY (session * ?1) % 1000003 LIMIT 1)",
        &[WordsMissing],
    ),
    (
        "UPDATE claims SET id = id || ?1 WHERE session = (SELECT session FROM claims ORDER BY (session * ?1) % 1000003 LIMIT 1)",
        &[WordsInvented],
    ),
    (
        "UPDATE claims SET session = session + 1 + ?1 % 9 WHERE session = (SELECT session FROM claims ORDER BY (session * ?1) % 1000003 LIMIT 1)",
        &[WordsInvented],
    ),
    (
        "UPDATE claims SET request = randomblob(16) WHERE session = (SELECT session FROM claims ORDER BY (session * ?1) % 1000003 LIMIT 1)",
        &[WordsInvented],
    ),
    // To SQLite, bytes are another key than the text that they spell.
    (
        "INSERT INTO claims SELECT kind, CAST(id AS BLOB), session, request FROM claims ORDER BY (session * ?1) % 1000003 LIMIT 1",
        &[WordsInvented],
    ),
    ("INSERT INTO claims VALUES('approval', 'new-' || ?1, 5, zeroblob(16))", &[WordsInvented]),
    (
        "DELETE FROM holds WHERE idx = (SELECT idx FROM holds ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsMissing],
    ),
    (
        "UPDATE holds SET reason = reason || ?1 WHERE idx = (SELECT idx FROM holds ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsAltered],
    ),
    ("UPDATE holds SET released = ?1 % 300 WHERE released IS NULL", &[WordsAltered]),
    ("UPDATE holds SET released = 'x' || ?1 WHERE released IS NULL", &[WordsAltered]),
    ("UPDATE holds SET released = NULL WHERE released IS NOT NULL AND ?1 > 0", &[WordsAltered]),
    ("UPDATE holds SET session = 'x' || ?1", &[WordsAltered]),
    (
        "UPDATE holds SET idx = 100000 + ?1 WHERE idx = (SELECT idx FROM holds ORDER BY (idx * ?1) % 1000003 LIMIT 1)",
        &[WordsMissing],
    ),
];

pub fn changed(rounds: usize) {
    for Column(table, key, column, rows) in BITS {
        each(rounds, &format!("a bit of {table}.{column}"), (13, &[WordsAltered]), |v, random| {
            turn_bit(v, random, [table, key, column, rows]);
        });
    }
    for (statement, kinds) in STATEMENTS {
        each(rounds, statement, (13, kinds), |v, random| {
            let number = i64::try_from(1 + random.below(1_000_002)).unwrap();
            let changed = v.database().execute(statement, [number]).unwrap();
            assert!(changed > 0, "{statement} changes nothing");
        });
    }
}

fn turn_bit(victim: &Victim, random: &mut Random, [table, key, column, rows]: [&str; 4]) {
    let db = victim.database();
    let mut query = db.prepare(&format!("SELECT {key}, {column} FROM {table} WHERE {rows}")).unwrap();
    let all: Vec<(i64, Vec<u8>)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    let (number, mut bytes) = random.pick(&all).clone();
    let at = random.below(bytes.len());
    bytes[at] ^= 1 << random.below(8);
    db.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {key} = ?2"), params![bytes, number])
        .unwrap();
}

/// Changes to rows that whoever lists sessions is told of, without a look at the rest of the log.
const TOLD: &[&str] = &[
    // Somebody else's outcome.
    "UPDATE sessions SET outcome = (SELECT o.outcome FROM sessions o WHERE o.outcome <> o.number AND o.number <> sessions.number
       ORDER BY (o.number * ?1) % 1000003 LIMIT 1)
     WHERE number = (SELECT number FROM sessions WHERE outcome <> number ORDER BY (number * ?1) % 1000003 LIMIT 1)",
    // The name of another request.
    "UPDATE sessions SET id = randomblob(16) WHERE number = (SELECT number FROM sessions ORDER BY (number * ?1) % 1000003 LIMIT 1)",
    // Nothing was masked.
    "UPDATE sessions SET masks = NULL WHERE number = (SELECT number FROM sessions WHERE masks IS NOT NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
    // Somebody else asked.
    "UPDATE sessions SET (salt, who) = (SELECT o.salt, o.who FROM sessions o WHERE o.erased IS NULL AND o.number <> sessions.number
       ORDER BY (o.number * ?1) % 1000003 LIMIT 1)
     WHERE number = (SELECT number FROM sessions WHERE erased IS NULL ORDER BY (number * ?1) % 1000003 LIMIT 1)",
];

/// A reader compares each row that it shows with its entries.
pub fn told(rounds: usize) {
    for statement in TOLD {
        attempt(rounds, statement, |victim, random| {
            let shown = |victim: &Victim| {
                let all = Filter { limit: 1000, ..Filter::default() };
                Reader::open(victim.path("")).unwrap().list(&all).unwrap()
            };
            assert!(shown(victim).iter().all(|session| !session.altered));
            let number = i64::try_from(1 + random.below(1_000_002)).unwrap();
            assert_eq!(victim.database().execute(statement, [number]).unwrap(), 1);
            let altered = shown(victim).iter().filter(|session| session.altered).count();
            assert_eq!(altered, 1, "{statement}");
        });
    }
}
