//! Once, whatever happens around it.

use std::time::Duration;

use gatewayd_approvals::{Filter, GRANT_CLAIM_KIND, State};
use gatewayd_core::{Claim, RequestId};

use crate::world::{Answer, Ask, Mode, World, ask, bob, send};

fn codes(answers: &[Answer]) -> Vec<u16> {
    let mut codes: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    codes.sort_unstable();
    codes
}

async fn approved(world: &World, requirement: &'static str) -> String {
    let id = world.send(ask(requirement, "{}")).await.id();
    world.yes(&id, &bob()).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_retries_at_once_one_passes() {
    for trail in [true, false] {
        let world = World::new();
        world.upstream.mode(Mode::Slow);
        approved(&world, "quick").await;
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut request = Ask::new("quick", "{}");
            request.trail = trail;
            running.spawn(send(world.approvals.clone(), world.upstream.clone(), request.request()));
        }
        let mut answers = Vec::new();
        while let Some(one) = running.join_next().await {
            answers.push(one.unwrap());
            // The one that passes is inside as long as others come: whoever comes later asks anew.
            if answers.len() == 7 {
                world.upstream.go_on.notify_one();
            }
        }
        assert_eq!(codes(&answers), [200, 409, 409, 409, 409, 409, 409, 409]);
        assert_eq!(world.upstream.seen(), 1);
        let lost = answers.iter().find(|answer| answer.status == 409).unwrap();
        assert_eq!(lost.code(), "409 approval_consumed");
        assert_eq!(lost.headers["x-should-retry"], "false");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_are_held_one_passes() {
    let world = World::with(|config| {
        let quick = config.requirements.get_mut("quick").unwrap();
        quick.hold = Duration::from_secs(20);
    });
    let running: Vec<_> = (0..6).map(|_| world.start(ask("quick", "{}"))).collect();
    while world.approvals.held() < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let id = world.pending().await;
    world.yes(&id, &bob()).await;
    let mut answers = Vec::new();
    for one in running {
        answers.push(one.await.unwrap());
    }
    assert_eq!(codes(&answers), [200, 409, 409, 409, 409, 409]);
    assert_eq!(world.upstream.seen(), 1);
}

#[tokio::test]
async fn the_journal_has_the_last_word() {
    let world = World::new();
    let id = approved(&world, "quick").await;
    // Another gateway, or one before a restore, has used it.
    let other = RequestId::generate();
    world.journal.make(Claim { kind: gatewayd_approvals::CLAIM_KIND, id: id.as_str().into() }, other);
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "409 approval_consumed");
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!((view.state, view.used_by), (State::Consumed, Some(other)));
    assert_eq!(world.upstream.seen(), 0);
}

#[tokio::test]
async fn a_refusal_before_anything_was_sent_does_not_use_it_up() {
    let world = World::new();
    let id = approved(&world, "quick").await;
    world.upstream.mode(Mode::Unrecorded);
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "503 recorder_unavailable");
    assert_eq!(world.state(&id).await, State::Approved);
    world.upstream.mode(Mode::Echo);
    assert!(world.send(ask("quick", "{}")).await.passed());
}

#[tokio::test]
async fn an_upstream_that_broke_off_uses_it_up() {
    let world = World::new();
    let id = approved(&world, "quick").await;
    world.upstream.mode(Mode::Unreachable);
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "502 upstream_unavailable");
    assert_eq!(world.state(&id).await, State::Consumed);
}

#[tokio::test]
async fn a_caller_who_hangs_up_while_it_passes() {
    for (mode, settled) in [(Mode::Hang, State::Consumed), (Mode::HangBeforeClaim, State::Approved)] {
        let world = World::new();
        let id = approved(&world, "quick").await;
        world.upstream.mode(mode);
        let running = world.start(ask("quick", "{}"));
        world.upstream.inside.notified().await;
        assert!(world.approvals.show(&id).await.unwrap().in_use_by.is_some());
        running.abort();
        let _aborted = running.await;
        let mut patience = 1200;
        while world.approvals.show(&id).await.unwrap().in_use_by.is_some() && patience > 0 {
            patience -= 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(world.state(&id).await, settled);
    }
}

/// Runs a request into the upstream, and lets the process "die" there.
fn crash_inside(mode: Mode, trail: bool) -> (World, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (world, id) = runtime.block_on(async {
        let world = World::new();
        let id = approved(&world, "quick").await;
        world.upstream.mode(mode);
        let mut request = Ask::new("quick", "{}");
        request.trail = trail;
        let _running = world.start(request.request());
        world.upstream.inside.notified().await;
        (world, id)
    });
    runtime.shutdown_background();
    let approvals = world.another();
    world.upstream.mode(Mode::Echo);
    (World { approvals, ..world }, id)
}

#[test]
fn a_crash_after_it_was_used_is_indeterminate_and_nothing_is_sent_again() {
    for trail in [true, false] {
        let (world, id) = crash_inside(Mode::Hang, trail);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            world.approvals.recover().await.unwrap();
            assert_eq!(world.state(&id).await, State::Indeterminate);
            let again = world.send(ask("quick", "{}")).await;
            assert_eq!(again.code(), "403 approval_pending");
            assert_eq!(world.upstream.seen(), 1, "not sent again by itself");
            let view = world.approvals.show(&again.id()).await.unwrap();
            assert_eq!(
                view.before.unwrap().state,
                State::Indeterminate,
                "people see it before they agree anew"
            );
        });
    }
}

#[test]
fn a_crash_before_it_was_used_leaves_it_approved() {
    let (world, id) = crash_inside(Mode::HangBeforeClaim, true);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Nobody calls `recover`: the layer does before the first request that needs it.
        assert!(world.send(ask("quick", "{}")).await.passed());
        assert_eq!(world.state(&id).await, State::Consumed);
    });
}

#[tokio::test]
async fn a_grant_lets_the_same_request_pass_until_its_window_closes() {
    let world = World::new();
    let id = world.send(ask("window", "{}")).await.id();
    world.clock.advance(Duration::from_secs(1000));
    world.yes(&id, &bob()).await;
    for _ in 0..3 {
        let request = ask("window", "{}");
        let trail = request.extensions().get::<gatewayd_core::Trail>().unwrap().clone();
        assert!(world.send(request).await.passed());
        let named = Claim { kind: GRANT_CLAIM_KIND, id: format!("{id}/{}", trail.id()).into() };
        assert_eq!(trail.claims(), [named], "the record names the grant");
        world.clock.advance(Duration::from_secs(599));
    }
    assert_eq!(world.send(ask("window", "{} ")).await.code(), "403 approval_pending", "and no other");
    world.clock.advance(Duration::from_secs(3));
    let over = world.send(ask("window", "{}")).await;
    assert_eq!(over.code(), "403 approval_pending");
    assert_ne!(over.id(), id);
    assert_eq!(world.state(&id).await, State::Expired);
    let pending = Filter { states: vec![State::Pending], ..Filter::default() };
    assert_eq!(world.approvals.list(&pending).await.unwrap().len(), 2);
}
