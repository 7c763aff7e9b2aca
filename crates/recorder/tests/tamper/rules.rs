//! What the holder of the key can do: break a rule and sign again, or go back.

use gatewayd_recorder::verify::Damage;
use rusqlite::params;

use crate::victim::{Victim, attempt, each, sha256};

pub fn broken(rounds: usize) {
    let victim = Victim::copy();
    let (claiming, outcomes) = (victim.claiming(), victim.of_kind(2));
    each(rounds, "missing outcome", (12, &[Damage::OutcomeMissing]), |v, random| {
        let at = *random.pick(&outcomes);
        // The last entry, a stop, takes its place, so that every index stays.
        v.edit_leaves(|all| all[at] = all[all.len() - 1].clone());
        v.sign_again();
    });
    attempt(rounds, "two outcomes", |v, random| {
        let at = random.below(outcomes.len());
        let to = outcomes[(at + 1 + random.below(outcomes.len() - 1)) % outcomes.len()];
        v.edit_leaves(|all| all[to] = all[outcomes[at]].clone());
        v.sign_again();
        let report = v.verify(None);
        // The request whose outcome was overwritten has none; the other one has two, or one before its intent.
        let told = |damage| report.findings.iter().any(|finding| finding.damage == damage);
        assert!(told(Damage::OutcomeMissing), "{report}");
        assert!(told(Damage::OutcomeTwice) || told(Damage::OutcomeWithoutIntent), "{report}");
        assert_eq!(report.exit_code(), 12, "{report}");
    });
    each(rounds, "approval reuse", (12, &[Damage::ClaimReused]), |v, random| {
        v.edit_leaves(|all| {
            let from = random.below(claiming.len());
            let to = claiming[(from + 1 + random.below(claiming.len() - 1)) % claiming.len()];
            let from = claiming[from];
            let (from_len, to_len) = (all[from].len(), all[to].len());
            let claim = all[from][from_len - 16..].to_vec();
            all[to][to_len - 16..].copy_from_slice(&claim);
        });
        v.sign_again();
    });
    each(rounds, "an approval twice in one request", (12, &[Damage::ClaimReused]), |v, random| {
        v.edit_leaves(|all| {
            let leaf = &mut all[*random.pick(&claiming)];
            let claim = leaf.split_off(leaf.len() - 16);
            *leaf.last_mut().unwrap() = 2;
            leaf.extend([claim.clone(), claim].concat());
        });
        v.sign_again();
    });
    each(rounds, "an approval that the words do not name", (13, &[Damage::WordsAltered]), |v, random| {
        let (at, id) = (*random.pick(&claiming), format!("other-{}", random.next()));
        let length = [u8::try_from(id.len()).unwrap()];
        let named: [&[u8]; 3] = [b"\x08approval", &length, id.as_bytes()];
        v.edit_leaves(|all| {
            let from = all[at].len() - 16;
            all[at][from..].copy_from_slice(&sha256(&named)[..16]);
        });
        let rename = "UPDATE claims SET id = ?1 WHERE session = ?2 AND kind = 'approval'";
        assert_eq!(v.database().execute(rename, params![id, i64::try_from(at).unwrap()]).unwrap(), 1);
        v.sign_again();
    });
    each(rounds, "another key", (10, &[Damage::OtherKey]), |v, random| {
        v.edit_leaves(|all| all[0][11 + random.below(32)] ^= 1 << random.below(8));
        v.sign_again();
    });
    each(rounds, "no key at the head", (10, &[Damage::OtherKey]), |v, random| {
        v.edit_leaves(|all| all[0] = all[1 + random.below(all.len() - 1)].clone());
        v.sign_again();
    });
    // A run of entries is taken out, and no entry says so.
    let after = [Damage::OutcomeMissing, Damage::OutcomeWithoutIntent, Damage::OutcomeTwice];
    each(rounds, "undeclared gap", (12, &after), |v, random| {
        v.edit_leaves(|all| {
            let from = 3 + random.below(outcomes[outcomes.len() / 2]);
            all.drain(from..from + 2 + random.below(20));
        });
        v.sign_again();
    });
    // Signing again alone is not noticed: that is what a pin is for.
    victim.sign_again();
    assert!(victim.verify(Some(victim.pinned())).is_intact());
}

pub fn pinned(rounds: usize) {
    let covered: usize = Victim::copy().pinned().lines().nth(1).unwrap().parse().unwrap();
    attempt(rounds, "fork", |victim, random| {
        victim.edit_leaves(|all| {
            let at = random.below(covered);
            let byte = 2 + random.below(8);
            all[at][byte] ^= 1 << random.below(8);
        });
        victim.sign_again();
        assert!(victim.verify(None).findings.iter().all(|f| f.damage != Damage::TreeMismatch));
        shows(victim, Damage::Forked);
    });
    attempt(rounds, "truncation", |victim, random| {
        victim.edit_leaves(|all| all.truncate(1 + random.below(covered - 1)));
        victim.sign_again();
        shows(victim, Damage::RolledBack);
    });
    attempt(rounds, "rollback", |victim, random| {
        victim.roll_back(random);
        assert!(victim.verify(None).is_intact(), "an older copy is a good log by itself");
        shows(victim, Damage::RolledBack);
    });
}

/// The pin shows this damage first.
fn shows(victim: &Victim, damage: Damage) {
    let report = victim.verify(Some(victim.pinned()));
    let pin = report.findings.iter().find(|finding| finding.damage == damage);
    assert!(pin.is_some_and(|finding| finding.detail.contains("pinned")), "{report}");
    assert_eq!(report.exit_code(), 11, "{report}");
}
