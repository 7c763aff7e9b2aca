//! What held when a request came in is looked at again before it goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gatewayd_approvals::{ApprovalsLayer, State};
use gatewayd_core::{Body, BoxFuture, Identity, Refusal, RefusalCode, Trail};
use http::{Extensions, Request};
use tower::{Layer as _, ServiceExt as _};

use crate::world::{Answer, World, ask, bob, carol};

/// Refuses once told so, after a moment; counts how often it was asked.
#[derive(Clone, Default)]
struct Hook {
    revoked: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Hook {
    fn ask(&self, extensions: &Extensions) -> BoxFuture<'static, Result<(), Refusal>> {
        assert!(extensions.get::<Identity>().is_some(), "it sees what the outer controls found");
        let this = self.clone();
        Box::pin(async move {
            this.asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            if this.revoked.load(Ordering::SeqCst) {
                return Err(Refusal::new(RefusalCode::InvalidToken, "the token was revoked"));
            }
            Ok(())
        })
    }

    fn revoke(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::SeqCst);
    }

    fn start(&self, world: &World, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
        let this = self.clone();
        let layer = ApprovalsLayer::new(world.approvals.clone()).recheck(move |held| this.ask(held));
        let service = layer.layer(world.upstream.clone());
        tokio::spawn(async move { Answer::of(service.oneshot(request).await.unwrap()).await })
    }
}

#[tokio::test]
async fn a_held_request_does_not_pass_once_its_token_is_revoked() {
    let (world, hook) = (World::new(), Hook::default());
    let request = ask("two-people", "{}");
    let trail = request.extensions().get::<Trail>().unwrap().clone();
    let held = hook.start(&world, request);
    let id = world.pending().await;
    world.yes(&id, &bob()).await;
    assert_eq!(hook.asked.load(Ordering::SeqCst), 0, "not before people agreed");
    hook.revoke(true);
    world.yes(&id, &carol()).await;
    let answer = held.await.unwrap();
    assert_eq!(answer.code(), "401 invalid_token");
    assert_eq!(trail.refusal(), Some(RefusalCode::InvalidToken));
    assert!(trail.claims().is_empty());
    assert_eq!(hook.asked.load(Ordering::SeqCst), 1);
    assert_eq!(world.upstream.seen(), 0);
    assert_eq!(world.state(&id).await, State::Approved, "it is not used up");
    assert!(world.approvals.show(&id).await.unwrap().in_use_by.is_none());
    assert_eq!(world.approvals.held(), 0);
}

#[tokio::test]
async fn a_retry_is_looked_at_too_and_passes_once_it_is_good_again() {
    let (world, hook) = (World::new(), Hook::default());
    let id = hook.start(&world, ask("quick", "{}")).await.unwrap().id();
    assert_eq!(hook.asked.load(Ordering::SeqCst), 0, "what is parked passes nowhere");
    world.yes(&id, &bob()).await;
    hook.revoke(true);
    assert_eq!(hook.start(&world, ask("quick", "{}")).await.unwrap().code(), "401 invalid_token");
    hook.revoke(false);
    assert!(hook.start(&world, ask("quick", "{}")).await.unwrap().passed());
    assert_eq!(world.state(&id).await, State::Consumed);
}

#[tokio::test]
async fn a_grant_is_looked_at_each_time() {
    let (world, hook) = (World::new(), Hook::default());
    let id = hook.start(&world, ask("window", "{}")).await.unwrap().id();
    world.yes(&id, &bob()).await;
    assert!(hook.start(&world, ask("window", "{}")).await.unwrap().passed());
    hook.revoke(true);
    assert_eq!(hook.start(&world, ask("window", "{}")).await.unwrap().code(), "401 invalid_token");
    assert_eq!(world.upstream.seen(), 1);
}
