//! Keys come, go, and cannot be had; verdicts follow.

mod world;

use std::sync::Arc;
use std::time::Duration;

use gatewayd_authn::{Authn, Config, Error, IssuerConfig};
use gatewayd_core::RefusalCode;
use gatewayd_testkit::{FakeIssuer, FakeIssuers, TestKeyKind};
use serde_json::json;
use world::{ISSUER, World, bearer, clock};

#[tokio::test]
async fn the_first_request_fetches_and_the_next_ones_do_not() {
    let world = World::new();
    assert!(!world.authn.ready());
    let token = world.idp.token("alice").groups(&["ml-eng", "all"]).claim("name", "Alice").sign();
    let who = world.bearer(&token).await.unwrap();
    assert_eq!((&*who.issuer, &*who.subject, who.name.as_deref()), (ISSUER, "alice", Some("Alice")));
    assert_eq!(who.groups.iter().map(|group| &**group).collect::<Vec<_>>(), ["all", "ml-eng"]);
    for _ in 0..100 {
        assert_eq!(world.bearer(&token).await.unwrap(), who);
        assert!(world.bearer(&world.idp.token("bob").sign()).await.is_ok());
    }
    assert_eq!((world.idp.discoveries(), world.idp.key_fetches()), (1, 1));
    assert!(world.authn.ready());
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let world = World::new();
    let token = world.idp.token("alice").sign();
    assert!(world.bearer(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(629));
    assert!(world.bearer(&token).await.is_ok(), "the leeway is not over");
    world.clock.advance(Duration::from_secs(1));
    let refusal = world.bearer(&token).await.unwrap_err();
    assert!(refusal.message().contains("expired"), "{}", refusal.message());
}

#[tokio::test]
async fn a_new_key_is_honoured_at_once_and_an_old_one_until_it_leaves() {
    let world = World::new();
    let old = world.idp.token("alice").sign();
    assert!(world.bearer(&old).await.is_ok());
    world.idp.add_key("k2", TestKeyKind::Ed25519);
    let new = world.idp.token("alice").kid("k2").sign();
    assert!(world.bearer(&new).await.is_ok(), "the new key is fetched because a token names it");
    assert!(world.bearer(&old).await.is_ok(), "the old key is still published");
    world.idp.remove_key("k1");
    world.clock.advance(Duration::from_secs(11));
    world.idp.add_key("k3", TestKeyKind::P256);
    let third = world.idp.token("bob").kid("k3").sign();
    assert!(world.bearer(&third).await.is_ok());
    let refusal = world.bearer(&old).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::InvalidToken, "the verdict left with its key");
    assert!(world.bearer(&new).await.is_ok(), "other verdicts stayed");
}

#[tokio::test]
async fn a_key_replaced_under_its_old_name_takes_its_verdicts_along() {
    let world = World::new();
    let old = world.idp.token("alice").claim("exp", world.now() + 36_000).sign();
    assert!(world.bearer(&old).await.is_ok());
    world.idp.add_key("k1", TestKeyKind::P256);
    world.clock.advance(Duration::from_secs(300));
    assert!(world.bearer(&old).await.is_ok(), "nobody could know yet");
    world.clock.advance(Duration::from_secs(3301));
    world.authn.load().await.unwrap();
    assert!(world.bearer(&world.idp.token("alice").sign()).await.is_ok());
    let refusal = world.bearer(&old).await.unwrap_err();
    assert!(refusal.message().contains("signature"), "{}", refusal.message());
}

#[tokio::test]
async fn a_bad_signature_is_remembered_for_a_moment_only() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.idp.add_key("k1", TestKeyKind::P256);
    let early = world.idp.token("alice").claim("exp", world.now() + 36_000).sign();
    assert!(world.bearer(&early).await.is_err(), "the key of that name at hand is the old one");
    world.clock.advance(Duration::from_secs(3601));
    world.authn.load().await.unwrap();
    assert!(world.bearer(&early).await.is_ok());
}

#[tokio::test]
async fn keys_are_refreshed_when_they_are_old() {
    let world = World::new();
    world.idp.set_max_age(Some(Duration::from_secs(120)));
    world.authn.load().await.unwrap();
    world.authn.load().await.unwrap();
    assert_eq!(world.idp.key_fetches(), 1);
    world.clock.advance(Duration::from_secs(121));
    world.authn.load().await.unwrap();
    assert_eq!(world.idp.key_fetches(), 2);
    // A tiny max-age is not honoured to the letter, nor a huge one.
    world.idp.set_max_age(Some(Duration::ZERO));
    world.clock.advance(Duration::from_secs(121));
    world.authn.load().await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    world.authn.load().await.unwrap();
    assert_eq!(world.idp.key_fetches(), 3);
    world.idp.set_max_age(Some(Duration::from_secs(1_000_000)));
    world.clock.advance(Duration::from_secs(2));
    world.authn.load().await.unwrap();
    world.clock.advance(Duration::from_secs(3601));
    world.authn.load().await.unwrap();
    assert_eq!(world.idp.key_fetches(), 5);
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_refreshed_behind_a_request_that_does_not_wait() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.clock.advance(Duration::from_secs(3601));
    world.idp.set_delay(Duration::from_millis(30));
    let token = world.idp.token("alice").sign();
    let quick = tokio::time::timeout(Duration::from_millis(25), world.bearer(&token)).await;
    assert!(quick.expect("the request did not wait").is_ok());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(world.idp.key_fetches(), 2);
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_the_fault_is_not_the_callers() {
    let world = World::new();
    world.idp.set_broken(true);
    let token = world.idp.token("alice").sign();
    let refusal = world.bearer(&token).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable);
    assert!(world.authn.status()[0].problem.as_ref().unwrap().contains("connection refused"));
    assert!(matches!(world.authn.load().await, Err(Error::Keys { .. })));
    // A hundred more requests within the second cause no further attempt.
    let before = world.idp.discoveries();
    for _ in 0..100 {
        assert!(world.bearer(&token).await.is_err());
    }
    assert_eq!(world.idp.discoveries(), before);
    world.idp.set_broken(false);
    world.clock.advance(Duration::from_secs(1));
    assert!(world.bearer(&token).await.is_ok());
}

#[tokio::test]
async fn keys_at_hand_serve_an_outage_but_not_for_ever() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.idp.set_broken(true);
    let hours = |hours: i64| world.now() + hours * 3600 + 600;
    let long = world.idp.token("alice").claim("exp", hours(100)).sign();
    assert!(world.bearer(&long).await.is_ok());
    world.clock.advance(Duration::from_secs(23 * 3600));
    assert!(world.bearer(&long).await.is_ok(), "remembered");
    let fresh = world.idp.token("bob").sign();
    assert!(world.bearer(&fresh).await.is_ok(), "verified with the keys at hand");
    world.clock.advance(Duration::from_secs(3601));
    let refusal = world.bearer(&long).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable, "not even what is remembered");
    assert!(!world.authn.ready());
}

#[tokio::test]
async fn a_new_key_in_an_outage_is_not_the_callers_fault() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.idp.add_key("k2", TestKeyKind::P256);
    world.idp.set_broken(true);
    let token = world.idp.token("alice").kid("k2").sign();
    for _ in 0..2 {
        let refusal = world.bearer(&token).await.unwrap_err();
        assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable);
    }
    world.idp.set_broken(false);
    world.clock.advance(Duration::from_secs(1));
    assert!(world.bearer(&token).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_changes_nothing_but_an_empty_set_does() {
    let world = World::new();
    let token = world.idp.token("alice").sign();
    assert!(world.bearer(&token).await.is_ok());
    for (round, bad) in ["<html>login</html>", "{}", r#"{"keys":[],"keys":[]}"#, ""].into_iter().enumerate() {
        world.idp.serve_jwks(Some(bad));
        world.clock.advance(Duration::from_secs(if round == 0 { 3601 } else { 31 }));
        let fresh = world.idp.token("alice").sign();
        let _problem = world.authn.load().await;
        assert!(world.authn.status()[0].problem.is_some(), "{bad}");
        assert!(world.bearer(&fresh).await.is_ok(), "{bad}");
    }
    world.idp.serve_jwks(Some(r#"{"keys":[]}"#));
    world.clock.advance(Duration::from_secs(31));
    assert!(world.authn.load().await.is_err(), "an issuer that withdraws all its keys is believed");
    assert!(world.bearer(&world.idp.token("alice").sign()).await.is_err());
}

#[tokio::test]
async fn a_token_without_a_key_id_is_tried_against_the_keys_that_fit() {
    let world = World::new();
    world.idp.add_key("k2", TestKeyKind::P256);
    let nameless = |kid: &str| world.idp.token("alice").kid(kid).header("kid", json!(null)).sign();
    assert!(world.bearer(&nameless("k1")).await.is_ok());
    assert!(world.bearer(&nameless("k2")).await.is_ok());
    world.idp.add_key("k3", TestKeyKind::P256);
    assert!(world.bearer(&nameless("k3")).await.is_ok(), "a new key is fetched for it");
}

#[tokio::test]
async fn each_issuer_speaks_for_itself_alone() {
    let clock = clock();
    let one = FakeIssuer::new("https://one.example", Arc::new(clock.clone()));
    let two = FakeIssuer::new("https://two.example/tenant/", Arc::new(clock.clone()));
    let mut second = IssuerConfig::new(two.url(), ["other-audience"]);
    second.group_prefix = "two:".to_owned();
    let config =
        Config { issuers: vec![IssuerConfig::new(one.url(), ["gateway"]), second], ..Config::default() };
    let fetch = Arc::new(FakeIssuers(vec![one.clone(), two.clone()]));
    let authn = Authn::new(config, fetch, None, Arc::new(clock.clone())).unwrap();
    let ask = async |token: String| authn.authenticate(&bearer(&token)).await;
    assert!(ask(one.token("alice").sign()).await.is_ok());
    let who =
        ask(two.token("alice").claim("aud", "other-audience").groups(&["admins"]).sign()).await.unwrap();
    assert!(who.in_group("two:admins") && !who.in_group("admins"));
    assert!(ask(two.token("alice").sign()).await.is_err(), "the other issuer's audience does not count");
    let forged = one.token("root").claim("iss", two.url()).claim("aud", "other-audience").sign();
    assert!(ask(forged).await.is_err(), "nor does the other issuer's key");
    // One issuer's outage is not the other's.
    one.set_broken(true);
    clock.advance(Duration::from_secs(25 * 3600));
    assert!(ask(one.token("alice").sign()).await.is_err());
    assert!(ask(two.token("alice").claim("aud", "other-audience").sign()).await.is_ok());
}

#[tokio::test]
async fn a_new_configuration_keeps_the_keys_of_issuers_that_stay_the_same() {
    let world = World::new();
    let token = world.idp.token("alice").sign();
    assert!(world.bearer(&token).await.is_ok());
    let same = Config { issuers: vec![IssuerConfig::new(ISSUER, ["gateway"])], ..Config::default() };
    let next = world.authn.reconfigured(same).unwrap();
    assert!(next.ready());
    assert!(next.authenticate(&bearer(&token)).await.is_ok());
    assert_eq!(world.idp.key_fetches(), 1);
    // A stricter one forgets what the old one let in.
    let other = Config { issuers: vec![IssuerConfig::new(ISSUER, ["another"])], ..Config::default() };
    let stricter = world.authn.reconfigured(other).unwrap();
    assert!(stricter.authenticate(&bearer(&token)).await.is_err());
    assert!(world.bearer(&token).await.is_ok(), "the handle in use is as it was");
}

#[tokio::test]
async fn configurations_that_let_in_too_much_are_refused() {
    let verdict = |issuers: Vec<IssuerConfig>, change: fn(&mut Config)| {
        let mut config = Config { issuers, ..Config::default() };
        change(&mut config);
        let idp = FakeIssuer::new(ISSUER, Arc::new(clock()));
        Authn::new(config, Arc::new(idp), None, Arc::new(clock())).map(|_| ())
    };
    let good = || IssuerConfig::new(ISSUER, ["gateway"]);
    assert!(verdict(vec![good()], |_| {}).is_ok());
    assert!(matches!(verdict(vec![], |_| {}), Err(Error::NobodyCouldSignIn)));
    assert!(matches!(verdict(vec![good(), good()], |_| {}), Err(Error::DuplicateIssuer(_))));
    let no_audience = IssuerConfig::new(ISSUER, [""; 0]);
    assert!(matches!(verdict(vec![no_audience], |_| {}), Err(Error::Issuer { .. })));
    let plain = || IssuerConfig::new("http://id.example", ["gateway"]);
    assert!(matches!(verdict(vec![plain()], |_| {}), Err(Error::Issuer { .. })));
    assert!(verdict(vec![plain()], |config| config.dangerous_allow_http = true).is_ok());
    let lax: fn(&mut Config) = |config| config.leeway = Duration::from_secs(301);
    assert!(matches!(verdict(vec![good()], lax), Err(Error::Leeway(_))));
}
