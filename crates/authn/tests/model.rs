//! Random histories of an issuer (keys published and withdrawn, outages, time) against a model that says
//! for each token whether it may, must or must not be let in.

#![allow(clippy::indexing_slicing, reason = "also outside of test functions this is a test")]

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::RefusalCode;
use gatewayd_testkit::{TestKey, TestKeyKind};
use proptest::prelude::*;
use serde_json::json;
use world::World;

const KEYS: usize = 4;
const STALENESS: i64 = 24 * 3600;
const LEEWAY: i64 = 30;

#[derive(Debug, Clone)]
enum Step {
    /// Publishes or withdraws a key.
    Toggle(usize),
    /// Starts or ends an outage.
    Outage(bool),
    /// Lets time go by; keys that got old are fetched as the background task would.
    Wait(i64),
    /// A token, by its key, that ends so many seconds after the start.
    Ask { key: usize, ends: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..KEYS).prop_map(Step::Toggle),
        1 => any::<bool>().prop_map(Step::Outage),
        2 => prop_oneof![0..40i64, 3500..3700i64, 80_000..90_000i64].prop_map(Step::Wait),
        5 => (0..KEYS, prop_oneof![Just(600i64), Just(7200), Just(1_000_000)])
            .prop_map(|(key, ends)| Step::Ask { key, ends }),
    ]
}

/// What the test knows: independent of how the crate keeps it.
struct Model {
    published: BTreeSet<usize>,
    broken: bool,
    /// The set of the last answer, and when it came.
    served: Option<(BTreeSet<usize>, i64)>,
    fetches: usize,
}

impl Model {
    /// Takes note of a fetch, if there was one since the last time.
    fn follow(&mut self, world: &World) {
        if world.idp.key_fetches() > self.fetches && !self.broken {
            self.served = Some((self.published.clone(), world.now()));
        }
        self.fetches = world.idp.key_fetches();
    }

    fn publish(&self, world: &World, keys: &[Arc<TestKey>]) {
        let jwks: Vec<_> = self.published.iter().map(|&at| keys[at].jwk(&format!("key-{at}"))).collect();
        world.idp.serve_jwks(Some(&json!({"keys": jwks}).to_string()));
    }
}

async fn play(keys: &[Arc<TestKey>], steps: Vec<Step>) -> Result<(), TestCaseError> {
    let world = World::new();
    let start = world.now();
    let mut model = Model { published: BTreeSet::from([0]), broken: false, served: None, fetches: 0 };
    model.publish(&world, keys);
    for step in steps {
        match step {
            Step::Toggle(key) => {
                if !model.published.remove(&key) {
                    model.published.insert(key);
                }
                model.publish(&world, keys);
            }
            Step::Outage(broken) => {
                model.broken = broken;
                world.idp.set_broken(broken);
            }
            Step::Wait(seconds) => {
                world.clock.advance(Duration::from_secs(seconds.unsigned_abs()));
                let _an_outage_is_no_surprise = world.authn.load().await;
                model.follow(&world);
            }
            Step::Ask { key, ends } => {
                // The same token each time, so that what is remembered is put to the test.
                let token = world.idp.token("alice").kid(&format!("key-{key}"));
                let token = token.claim("iat", start).claim("nbf", start).claim("exp", start + ends);
                let outcome = world.bearer(&token.sign_with(&keys[key], "ES256")).await;
                model.follow(&world);
                judge(&model, &world, key, start + ends, outcome.map_err(|refusal| refusal.code()))?;
            }
        }
    }
    // The budget: the first fetch, a burst, then one in ten seconds; each refresh at most once a minute.
    let elapsed = usize::try_from(world.now() - start).unwrap_or(0);
    prop_assert!(world.idp.key_fetches() <= 5 + elapsed / 10 + elapsed / 60);
    Ok(())
}

fn judge<T>(
    model: &Model,
    world: &World,
    key: usize,
    ends: i64,
    outcome: Result<T, RefusalCode>,
) -> Result<(), TestCaseError> {
    let now = world.now();
    let outcome = outcome.map(|_| ());
    if now >= ends + LEEWAY {
        prop_assert_eq!(outcome, Err(RefusalCode::InvalidToken), "expired");
        return Ok(());
    }
    match &model.served {
        Some((served, at)) if now < at + STALENESS => {
            let in_trouble = world.authn.status().iter().any(|status| status.problem.is_some());
            let expected = match (served.contains(&key), in_trouble) {
                (true, _) => Ok(()),
                (false, true) => Err(RefusalCode::IdentityProviderUnavailable),
                (false, false) => Err(RefusalCode::InvalidToken),
            };
            prop_assert_eq!(outcome, expected, "served {:?}, asked {}", served, key);
        }
        _ => prop_assert_eq!(outcome, Err(RefusalCode::IdentityProviderUnavailable), "no usable keys"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn verdicts_follow_what_the_issuer_published_last(steps in prop::collection::vec(step(), 1..40)) {
        let keys: Vec<_> = (0..KEYS).map(|_| Arc::new(TestKey::generate(TestKeyKind::P256))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play(&keys, steps))?;
    }
}
