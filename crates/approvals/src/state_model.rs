//! Random interleavings of everything that can happen to an approval, checked against what must always hold.

use std::collections::HashSet;
use std::time::Duration;

use gatewayd_core::{Identity, IdentityKind, RequestId, Timestamp};
use proptest::prelude::*;

use crate::config::{Requirement, Seats};
use crate::error::Refused;
use crate::state::{Progress, State, Step, Use, Verdict};

const EXPIRES: Duration = Duration::from_secs(100);
const GRANT: Duration = Duration::from_secs(40);

#[derive(Debug, Clone)]
enum Move {
    Wait(u8),
    Vote(usize, Verdict),
    Cancel(usize),
    Take(usize),
    Release(usize),
    Finish(usize),
    Lose(usize),
    Erase,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => (0u8..30).prop_map(Move::Wait),
        6 => (0usize..8, prop_oneof![8 => Just(Verdict::Approve), 1 => Just(Verdict::Deny)])
            .prop_map(|(person, verdict)| Move::Vote(person, verdict)),
        1 => (0usize..8).prop_map(Move::Cancel),
        4 => (0usize..3).prop_map(Move::Take),
        2 => (0usize..3).prop_map(Move::Release),
        2 => (0usize..3).prop_map(Move::Finish),
        1 => (0usize..3).prop_map(Move::Lose),
        1 => Just(Move::Erase),
    ]
}

/// 0 asks, and is a lead. 1 to 3 are leads, 3 also security, 4 security, 5 nobody, 6 a program, and 7 is person 1
/// signed in another way.
fn people() -> Vec<Identity> {
    let person = |subject: &str, name: Option<&str>, groups: &[&str], kind| Identity {
        kind,
        issuer: "https://id".into(),
        subject: subject.into(),
        name: name.map(Into::into),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        expires: None,
    };
    use IdentityKind::{GatewayToken, Oidc, Saml};
    vec![
        person("asks", None, &["leads"], Oidc),
        person("1", Some("One"), &["leads"], Oidc),
        person("2", None, &["leads", "other"], Oidc),
        person("3", None, &["leads", "security"], Oidc),
        person("4", None, &["security"], Oidc),
        person("5", None, &["other"], Oidc),
        person("6", None, &["leads", "security"], GatewayToken),
        person("one@saml", Some("one"), &["security"], Saml),
    ]
}

/// Two people of which one is a lead and another security, or three leads: by counting, without matching.
fn enough(yes: &HashSet<usize>) -> bool {
    let leads: Vec<_> = yes.iter().filter(|p| matches!(p, 1..=3)).collect();
    let security: Vec<_> = yes.iter().filter(|p| matches!(p, 3 | 4 | 7)).collect();
    leads.len() >= 3 || leads.iter().any(|lead| security.iter().any(|other| other != lead))
}

struct Checked {
    progress: Progress,
    now: Timestamp,
    yes: HashSet<usize>,
    voted: HashSet<usize>,
    finished: usize,
}

impl Checked {
    fn step(&mut self, one: &Move, people: &[Identity], requests: &[RequestId]) {
        let step = match one {
            Move::Wait(seconds) => {
                self.now = self.now.plus(Duration::from_secs(u64::from(*seconds)));
                Step::Tick
            }
            Move::Vote(person, verdict) => {
                Step::Vote { by: people[*person].clone(), verdict: *verdict, comment: "why".to_owned() }
            }
            Move::Cancel(person) => Step::Cancel { by: people[*person].clone() },
            Move::Take(request) => Step::Take(Use { request: requests[*request], claimed_in_journal: true }),
            Move::Release(request) => Step::Release(requests[*request]),
            Move::Finish(request) => Step::Finish { request: requests[*request], by: requests[*request] },
            Move::Erase => Step::Erase { by: people[5].clone() },
            Move::Lose(request) => Step::Lose { request: requests[*request], by: requests[*request] },
        };
        let before = self.progress.clone();
        let standing = before.state_at(self.now);
        let result = self.progress.take(step, self.now);
        self.check(one, &before, standing, result.as_ref().err());
    }

    fn check(&mut self, one: &Move, before: &Progress, standing: State, refused: Option<&Refused>) {
        let after = &self.progress;
        if before.state.is_final() {
            let decided = |progress: &Progress| {
                let votes: Vec<_> =
                    progress.votes.iter().map(|vote| (vote.by.clone(), vote.verdict, vote.at)).collect();
                (progress.state, votes, progress.decided, progress.ended, progress.used_by, progress.in_use)
            };
            assert_eq!(decided(after), decided(before), "what was decided does not change");
            assert!(after == before || matches!(one, Move::Erase), "what has ended does not change");
        }
        let named =
            !after.requester.subject.is_empty() || after.votes.iter().any(|vote| !vote.comment.is_empty());
        assert!(after.erased.is_none() || !named, "no word stays, and none comes after");
        let usable = !after.state.is_final() && after.in_use.is_none();
        assert!(after.erased.is_none() || !usable, "nobody can pass on it any more");
        if refused.is_some() {
            assert_eq!((after.state, &after.votes, after.in_use), (standing, &before.votes, before.in_use));
        }
        let open_for_ever = self.now >= after.deadline && after.in_use.is_none() && !after.state.is_final();
        assert!(!open_for_ever, "nothing outlives its deadline but a request under way");
        match one {
            Move::Vote(person, verdict) => self.check_vote(*person, *verdict, standing, refused),
            Move::Take(_) => {
                let grant = after.requirement.grant.is_some();
                let free = standing == State::Approved && (before.in_use.is_none() || grant);
                assert_eq!(refused.is_none(), free, "taken if and only if approved and free");
                assert!(!(after.in_use.is_some() && grant), "a grant is never in use");
            }
            Move::Finish(_) | Move::Lose(_) if refused.is_none() => {
                self.finished += 1;
                assert_eq!(before.state, State::Approved);
                assert!(self.finished == 1 && before.in_use.is_some() && after.in_use.is_none());
            }
            Move::Cancel(person) if refused.is_none() => {
                assert!(!matches!(person, 5 | 6) && before.in_use.is_none());
                assert_eq!(self.progress.state, State::Cancelled);
            }
            Move::Erase => {
                assert!(refused.is_none() && after.erased.is_some());
            }
            _ => {}
        }
        if matches!(self.progress.state, State::Approved | State::Consumed | State::Indeterminate) {
            assert!(enough(&self.yes), "nothing passes without enough people: {:?}", self.yes);
        }
    }

    fn check_vote(&mut self, person: usize, verdict: Verdict, standing: State, refused: Option<&Refused>) {
        // Person 7 is person 1.
        let counts_as = if person == 7 { 1 } else { person };
        let may =
            matches!(person, 1..=4 | 7) && !self.voted.contains(&counts_as) && standing == State::Pending;
        assert_eq!(refused.is_none(), may, "{person} in {standing:?}: {refused:?}");
        if !may {
            return;
        }
        self.voted.insert(counts_as);
        let state = self.progress.state;
        match verdict {
            Verdict::Deny if self.progress.requirement.one_denial_denies => assert_eq!(state, State::Denied),
            Verdict::Deny => assert_eq!(state, State::Pending),
            Verdict::Approve => {
                assert!(!enough(&self.yes), "no vote is counted after there were enough");
                self.yes.insert(person);
                assert_eq!(state == State::Approved, enough(&self.yes), "approved with the last vote needed");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_interleaving_keeps_the_promises(
        moves in prop::collection::vec(moves(), 1..60),
        veto in any::<bool>(),
        grant in prop::bool::weighted(0.2),
    ) {
        let mut requirement = Requirement::any_of(vec![
            vec![Seats::new("leads", 1), Seats::new("security", 1)],
            vec![Seats::new("leads", 3)],
        ]);
        requirement.expires = EXPIRES;
        requirement.one_denial_denies = veto;
        requirement.grant = grant.then_some(GRANT);
        let people = people();
        let requests = [RequestId::generate(), RequestId::generate(), RequestId::generate()];
        let start = Timestamp(0);
        let mut checked = Checked {
            progress: Progress::new(people[0].clone(), requirement, start),
            now: start,
            yes: HashSet::new(),
            voted: HashSet::new(),
            finished: 0,
        };
        for one in &moves {
            checked.step(one, &people, &requests);
        }
        let kept = serde_json::to_string(&checked.progress).unwrap();
        let read: Progress = serde_json::from_str(&kept).unwrap();
        prop_assert_eq!(&read, &checked.progress);
    }
}
