//! Changes of the gateway itself under the same quorum.

use gatewayd_approvals::{Answer, Error, Proposal, Refused, State, Verdict};

use crate::world::{World, alice, bob, carol};

const ERASE: Proposal<'static> = Proposal {
    kind: "erase-session",
    target: "s-1",
    details: r#"{"why": "SECRET"}"#,
    reason: Some("asked by law"),
};

async fn propose(world: &World, proposal: Proposal<'_>) -> Answer {
    world.approvals.propose("two-people", proposal, &alice()).await.unwrap()
}

async fn waits(world: &World, proposal: Proposal<'_>) -> String {
    match propose(world, proposal).await {
        Answer::Waits(view) => view.id,
        other => panic!("{other:?}"),
    }
}

async fn agreed(world: &World) -> String {
    let id = waits(world, ERASE).await;
    world.yes(&id, &bob()).await;
    assert_eq!(waits(world, ERASE).await, id, "one of two is not enough");
    world.yes(&id, &carol()).await;
    id
}

#[tokio::test]
async fn agreed_to_once_and_to_exactly_that() {
    let world = World::new();
    let id = agreed(&world).await;
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!((view.action.as_str(), view.path.as_str()), ("erase-session", "s-1"));
    assert_eq!(view.body.preview.unwrap().text, r#"{"why": "[masked]"}"#);
    assert_eq!(view.reason.as_deref(), Some("asked by law"));
    for other in [
        Proposal { target: "s-2", ..ERASE },
        Proposal { kind: "export", ..ERASE },
        Proposal { details: "{}", ..ERASE },
    ] {
        assert_ne!(waits(&world, other).await, id);
    }
    let Answer::Agreed(agreement) = propose(&world, Proposal { reason: None, ..ERASE }).await else {
        panic!()
    };
    assert_eq!(agreement.id(), id);
    let second = world.approvals.propose("two-people", ERASE, &alice()).await;
    assert!(matches!(second, Err(Error::Refused(Refused::InUse))), "not twice at once");
    agreement.done().await;
    assert_eq!(world.state(&id).await, State::Consumed);
    assert_ne!(waits(&world, ERASE).await, id);
}

#[tokio::test]
async fn what_was_not_done_can_still_be_done() {
    let world = World::new();
    let id = agreed(&world).await;
    let Answer::Agreed(agreement) = propose(&world, ERASE).await else { panic!() };
    agreement.not_done().await;
    assert_eq!(world.state(&id).await, State::Approved);
    assert!(matches!(propose(&world, ERASE).await, Answer::Agreed(_)));
}

#[tokio::test]
async fn what_nobody_speaks_of_is_indeterminate() {
    let world = World::new();
    let id = agreed(&world).await;
    drop(propose(&world, ERASE).await);
    let mut patience = 1200;
    while world.state(&id).await == State::Approved && patience > 0 {
        patience -= 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(world.state(&id).await, State::Indeterminate);
}

#[tokio::test]
async fn a_no_is_a_no() {
    let world = World::new();
    let id = waits(&world, ERASE).await;
    world.approvals.vote(&id, &bob(), Verdict::Deny, "").await.unwrap();
    assert!(matches!(propose(&world, ERASE).await, Answer::Denied(view) if view.id == id));
    let unknown = world.approvals.propose("no-such", ERASE, &alice()).await;
    assert!(matches!(unknown, Err(Error::Config { .. })));
    world.journal.break_down(true);
    let unrecorded =
        world.approvals.propose("two-people", Proposal { target: "s-9", ..ERASE }, &alice()).await;
    assert!(matches!(unrecorded, Err(Error::Journal(_))));
}
