//! Every kind of change to a closed log is found, also where the holder of the key signs it again.
//!
//! Each kind is tried 500 times at random places, 10,000 times by the tests named `torture_*`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stderr
)]

#[path = "../rig/mod.rs"]
mod rig;

mod bodies;
mod entries;
mod rules;
mod timing;
mod victim;
mod words;

use gatewayd_recorder::PublicKey;
use gatewayd_recorder::verify::{Damage, Options, verify};
use victim::Victim;

/// How often `make test` tries a kind.
const TEST: usize = 500;
/// How often `make torture` tries a kind.
const TORTURE: usize = 10_000;

/// For each suite of kinds a test, and one that takes long.
macro_rules! suites {
    ($($suite:path => $test:ident, $torture:ident;)*) => {$(
        #[test]
        fn $test() {
            $suite(TEST);
        }

        #[test]
        #[ignore = "torture: 10,000 mutations a kind, minutes"]
        fn $torture() {
            $suite(TORTURE);
        }
    )*};
}

suites! {
    entries::changed => changed_entries_are_found, torture_changed_entries_are_found;
    entries::forged_checkpoints => forged_checkpoints_are_found, torture_forged_checkpoints_are_found;
    entries::broken_database => a_broken_database_file_is_damage, torture_a_broken_database_file_is_damage;
    bodies::changed => changed_bodies_are_found, torture_changed_bodies_are_found;
    timing::changed => changed_times_are_found, torture_changed_times_are_found;
    words::changed => changed_words_are_found, torture_changed_words_are_found;
    words::told => a_reader_tells_of_changed_rows, torture_a_reader_tells_of_changed_rows;
    rules::broken => broken_rules_are_found_under_a_good_signature, torture_broken_rules_are_found;
    rules::pinned => a_pin_shows_what_the_key_alone_cannot, torture_a_pin_shows_what_the_key_cannot;
}

#[test]
fn an_untouched_log_is_intact() {
    let victim = Victim::copy();
    for pinned in [None, Some(victim.pinned())] {
        let report = victim.verify(pinned);
        assert!(report.is_intact(), "{report:#?}");
        assert_eq!((report.exit_code(), report.signed), (0, report.entries));
        assert_eq!(report.sessions, 151);
        assert!(report.bodies > 200 && report.checkpoints >= 2, "{report:?}");
        // That nothing is pinned, or what came after the pin.
        assert_eq!(report.unproven.len(), 1, "{report}");
    }
}

/// A pin closes what it covers, and nothing after it.
#[test]
fn what_came_after_the_pin_is_not_proven_by_it() {
    let victim = Victim::copy();
    let (note, size): (String, i64) = rusqlite::Connection::open(victim.path("evidence.db"))
        .unwrap()
        .query_row("SELECT note, size FROM checkpoints ORDER BY size LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let report = victim.verify(Some(&note));
    assert!(report.is_intact() && size < i64::try_from(report.entries).unwrap(), "{report}");
    let after = format!("entries {size} to {} came after the pinned checkpoint", report.entries - 1);
    assert!(matches!(&report.unproven[..], [only] if only.starts_with(&after)), "{report}");
}

#[test]
fn the_damaged_entry_is_named() {
    let victim = Victim::copy();
    victim.edit_leaves(|all| all[100][20] ^= 1);
    let report = victim.verify(None);
    let named = report.findings.iter().find(|f| f.damage == Damage::TileMismatch).unwrap();
    assert_eq!(named.entry, Some(100), "{report}");
}

#[test]
fn the_wrong_key_opens_nothing() {
    let victim = Victim::copy();
    let (_, other) = signed_note::generate_key(&mut rand_core::OsRng, victim.key().name());
    let options = Options { key: Some(PublicKey::parse(&other).unwrap()), ..Options::default() };
    let report = verify(victim.path(""), &options).unwrap();
    assert!(report.findings.iter().any(|f| f.damage == Damage::OtherKey));
    assert_eq!((report.signed, report.exit_code()), (0, 10));
}

#[test]
fn an_older_copy_is_found_with_a_pin_only() {
    let report = Victim::copy().verify(None);
    assert!(report.unproven.iter().any(|what| what.contains("older valid state")), "{report}");
}
