//! Votes: whose count, and that none gets lost or counts too much.

use std::sync::Arc;
use std::time::Duration;

use gatewayd_approvals::{Error, Filter, Refused, Requirement, Seats, State, Verdict};
use gatewayd_core::{EventKind, Identity, IdentityKind};

use crate::world::{Ask, World, alice, ask, bob, carol, person, robot};

async fn refused(world: &World, id: &str, by: &Identity) -> Refused {
    match world.approvals.vote(id, by, Verdict::Approve, "").await {
        Err(Error::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_agrees_to_their_own_request() {
    let world = World::new();
    let mut request = Ask::new("quick", "{}");
    let boss = person("boss", &["ml-leads"]);
    request.identity = Some(boss.clone());
    let id = world.send(request.request()).await.id();
    assert_eq!(refused(&world, &id, &boss).await, Refused::OwnRequest);
    let mut other_issuer = boss.clone();
    other_issuer.issuer = "https://other.example".into();
    assert_eq!(refused(&world, &id, &other_issuer).await, Refused::OwnRequest);
    let mut admin = boss;
    admin.kind = IdentityKind::LocalAdmin;
    assert_eq!(refused(&world, &id, &admin).await, Refused::OwnRequest, "administrators included");
    world.yes(&id, &bob()).await;
    assert_eq!(world.state(&id).await, State::Approved);
}

#[tokio::test]
async fn only_people_in_the_groups_asked_vote_and_each_once() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    assert!(matches!(refused(&world, &id, &person("mallory", &["ml-eng"])).await, Refused::NotAnApprover(_)));
    assert!(matches!(refused(&world, &id, &person("mallory", &[])).await, Refused::NotAnApprover(_)));
    let mut program = person("robot", &["ml-leads"]);
    program.kind = IdentityKind::GatewayToken;
    assert_eq!(refused(&world, &id, &program).await, Refused::NotAPerson);
    let mut admin = person("admin", &["platform-admins"]);
    admin.kind = IdentityKind::LocalAdmin;
    assert!(
        matches!(refused(&world, &id, &admin).await, Refused::NotAnApprover(_)),
        "its groups, nothing more"
    );

    let both = person("dave", &["ml-leads", "security"]);
    world.yes(&id, &both).await;
    assert_eq!(world.state(&id).await, State::Pending, "two hats, one person");
    assert_eq!(refused(&world, &id, &both).await, Refused::AlreadyVoted);
    assert_eq!(world.journal.count(EventKind::ApprovalVote), 1, "what is refused is no vote");
    world.yes(&id, &carol()).await;
    assert!(held.await.unwrap().passed());
    assert!(matches!(refused(&world, &id, &bob()).await, Refused::AlreadyDecided(_)));
}

#[tokio::test]
async fn one_no_ends_it_for_a_while() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    world.yes(&id, &bob()).await;
    world.approvals.vote(&id, &carol(), Verdict::Deny, "not on a Friday").await.unwrap();
    let answer = held.await.unwrap();
    assert_eq!(answer.code(), "403 approval_denied");
    assert_eq!(world.send(ask("two-people", "{}")).await.id(), id, "asking again does not wear people down");
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!((view.state, view.votes[1].comment.as_str()), (State::Denied, "not on a Friday"));
    world.clock.advance(Duration::from_secs(301));
    let again = world.start(ask("two-people", "{}"));
    assert_ne!(world.pending().await, id);
    again.abort();
}

#[tokio::test]
async fn a_no_may_be_an_opinion_only() {
    let world = World::with(|config| {
        config.requirements.get_mut("quick").unwrap().one_denial_denies = false;
    });
    let id = world.send(ask("quick", "{}")).await.id();
    world.approvals.vote(&id, &person("erin", &["ml-leads"]), Verdict::Deny, "").await.unwrap();
    assert_eq!(world.state(&id).await, State::Pending);
    world.yes(&id, &bob()).await;
    assert_eq!(world.state(&id).await, State::Approved);
}

#[tokio::test]
async fn one_of_several_alternatives_is_enough() {
    let world = World::with(|config| {
        let mut either =
            Requirement::any_of(vec![vec![Seats::new("ml-leads", 2)], vec![Seats::new("admins", 1)]]);
        either.hold = Duration::ZERO;
        config.requirements.insert("either".to_owned(), either);
    });
    let id = world.send(ask("either", "{}")).await.id();
    world.yes(&id, &bob()).await;
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!(view.takes, "2 of ml-leads, or 1 of admins");
    assert_eq!(view.missing, vec![vec![Seats::new("ml-leads", 1)], vec![Seats::new("admins", 1)]]);
    world.yes(&id, &person("root", &["admins"])).await;
    assert_eq!(world.state(&id).await, State::Approved);
}

#[tokio::test]
async fn taken_back_by_the_one_who_asks() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    let stranger = world.approvals.cancel(&id, &person("mallory", &["ml-eng"])).await;
    assert!(matches!(stranger, Err(Error::Refused(Refused::NotYours))));
    world.approvals.cancel(&id, &alice()).await.unwrap();
    assert_eq!(held.await.unwrap().code(), "403 approval_denied");
    assert_eq!(world.state(&id).await, State::Cancelled);
    assert_eq!(world.journal.lines().last().unwrap(), "approval-state alice cancelled");
    assert!(matches!(world.approvals.cancel("apr-none", &alice()).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_program_neither_sees_nor_cancels_what_people_ask_for() {
    let world = World::new();
    let id = world.send(ask("quick", "{}")).await.id();
    let view = world.approvals.show(&id).await.unwrap();
    assert!(!view.concerns(&robot()) && !view.may_be_decided_by(&robot()));
    let seen = Filter { concerning: Some(robot()), ..Filter::default() };
    assert!(world.approvals.list(&seen).await.unwrap().is_empty());
    assert!(!world.approvals.is_approver(&robot()));
    let cancelled = world.approvals.cancel(&id, &robot()).await;
    assert!(matches!(cancelled, Err(Error::Refused(Refused::NotYours))));
    world.yes(&id, &bob()).await;
    let cancelled = world.approvals.cancel(&id, &robot()).await;
    assert!(matches!(cancelled, Err(Error::Refused(Refused::NotYours))), "nor once it is approved");
    assert_eq!(world.state(&id).await, State::Approved);

    let mut own = Ask::new("quick", "{}");
    own.identity = Some(robot());
    let id = world.send(own.request()).await.id();
    assert!(world.approvals.show(&id).await.unwrap().concerns(&robot()));
    assert_eq!(world.approvals.list(&seen).await.unwrap().len(), 1);
    world.approvals.cancel(&id, &robot()).await.unwrap();
    assert_eq!(world.state(&id).await, State::Cancelled);
}

#[tokio::test]
async fn a_program_does_where_programs_may_vote() {
    let world = World::with(|config| {
        config.requirements.get_mut("quick").unwrap().programs_may_vote = true;
    });
    let id = world.send(ask("quick", "{}")).await.id();
    let view = world.approvals.show(&id).await.unwrap();
    assert!(view.concerns(&robot()) && view.may_be_decided_by(&robot()));
    assert!(world.approvals.is_approver(&robot()));
    world.approvals.cancel(&id, &robot()).await.unwrap();
    assert_eq!(world.state(&id).await, State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_votes_of_two_processes_neither_overshoot_nor_get_lost() {
    let world = World::with(|config| {
        let mut many = Requirement::all_of(vec![Seats::new("ml-leads", 6)]);
        many.hold = Duration::ZERO;
        config.requirements.insert("many".to_owned(), many);
    });
    let other = world.another();
    for round in 0..5 {
        let body: &'static str = ["0", "1", "2", "3", "4"][round];
        let id: Arc<str> = world.send(ask("many", body)).await.id().into();
        let voters = (0..12).map(|n| {
            let approvals = if n % 2 == 0 { world.approvals.clone() } else { other.clone() };
            let id = Arc::clone(&id);
            tokio::spawn(async move {
                let voter = person(&format!("lead-{n}"), &["ml-leads"]);
                approvals.vote(&id, &voter, Verdict::Approve, "").await
            })
        });
        let (mut counted, mut late) = (0, 0);
        for voter in voters.collect::<Vec<_>>() {
            match voter.await.unwrap() {
                Ok(_) => counted += 1,
                Err(Error::Refused(Refused::AlreadyDecided(State::Approved))) => late += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((counted, late), (6, 6));
        let view = world.approvals.show(&id).await.unwrap();
        assert_eq!((view.state, view.votes.len()), (State::Approved, 6));
    }
}
