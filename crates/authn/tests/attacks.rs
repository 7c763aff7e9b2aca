//! What an attacker sends, one line each: none of it is let in, and nothing of it costs more than it must.

mod world;

use std::future::Future as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewayd_core::RefusalCode;
use gatewayd_testkit::{FakeIssuer, TestKey, TestKeyKind};
use serde_json::json;
use world::{ISSUER, World};

fn hs256(key: &[u8], signed: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let world = World::new();
    let idp = &world.idp;
    idp.add_key("rsa", TestKeyKind::Rsa);
    idp.add_key("p384", TestKeyKind::P384);
    idp.add_key("ed", TestKeyKind::Ed25519);
    let mallory = TestKey::generate(TestKeyKind::P256);
    let mallory_rsa = TestKey::generate(TestKeyKind::Rsa);
    let other = FakeIssuer::new("https://other.example", Arc::new(world.clock.clone()));
    let honest = idp.token("alice").sign();
    let (signed, signature) = honest.rsplit_once('.').unwrap();
    let rsa_public = idp.key("rsa").public_bytes();
    let jwk_text = idp.key("rsa").jwk("rsa").to_string();
    let own_jwk = mallory.jwk("mine");

    let attacks: Vec<(&str, String)> = vec![
        ("no signature, alg none", format!("{}.", idp.token("root").unsigned("none"))),
        ("alg none, old signature", format!("{}.{signature}", idp.token("root").unsigned("none"))),
        ("alg NONE", format!("{}.{signature}", idp.token("root").unsigned("NONE"))),
        ("alg empty", format!("{}.{signature}", idp.token("root").unsigned(""))),
        ("HMAC with the RSA key in DER", hs256(&rsa_public, &idp.token("root").kid("rsa").unsigned("HS256"))),
        ("HMAC with the JWK", hs256(jwk_text.as_bytes(), &idp.token("root").kid("rsa").unsigned("HS256"))),
        ("HMAC with nothing", hs256(b"", &idp.token("root").unsigned("HS256"))),
        ("HMAC called RS256", hs256(&rsa_public, &idp.token("root").kid("rsa").unsigned("RS256"))),
        ("signed by a stranger", idp.token("root").sign_with(&mallory, "ES256")),
        ("signed by a stranger's RSA", idp.token("root").kid("rsa").sign_with(&mallory_rsa, "RS256")),
        ("another issuer's token", other.token("root").sign()),
        ("another issuer's key", idp.token("root").sign_with(&other.key("k1"), "ES256")),
        ("ES256 on P-384", idp.token("root").kid("p384").sign_with(&idp.key("p384"), "ES256")),
        ("ES384 on P-256", idp.token("root").sign_with(&idp.key("k1"), "ES384")),
        ("EdDSA called ES256", idp.token("root").kid("ed").sign_with(&idp.key("ed"), "ES256")),
        ("RS256 naming a curve's key", idp.token("root").sign_with(&idp.key("rsa"), "RS256")),
        ("PSS called PKCS1", {
            let pss = idp.token("root").kid("rsa").sign_with(&idp.key("rsa"), "PS256");
            let signature = pss.rsplit_once('.').unwrap().1;
            format!("{}.{signature}", idp.token("root").kid("rsa").unsigned("RS256"))
        }),
        (
            "its own key in the header",
            idp.token("root").header("jwk", own_jwk.clone()).sign_with(&mallory, "ES256"),
        ),
        ("its own key, its own id", {
            idp.token("root").kid("mine").header("jwk", own_jwk.clone()).sign_with(&mallory, "ES256")
        }),
        ("a URL of keys", {
            let token = idp.token("root").header("jku", "https://evil.example/jwks");
            token.header("x5u", "https://evil.example/c").sign_with(&mallory, "ES256")
        }),
        ("a path as key id", idp.token("root").kid("k1").header("kid", "../../dev/null").sign()),
        ("SQL as key id", idp.token("root").header("kid", "k1' OR '1'='1").sign()),
        ("NUL in the key id", idp.token("root").header("kid", "k1\u{0}").sign()),
        ("a list as key id", idp.token("root").header("kid", json!(["k1"])).sign()),
        ("critical members", idp.token("root").header("crit", json!(["b64"])).header("b64", false).sign()),
        ("a logout token", idp.token("root").header("typ", "logout+jwt").sign()),
        ("changed claims", format!("{}.{signature}", idp.token("root").unsigned("ES256"))),
        ("signature of zeros", format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0u8; 64]))),
        ("signature of one byte", format!("{signed}.AA")),
        ("signature too long", format!("{signed}.{}", URL_SAFE_NO_PAD.encode([1u8; 4096]))),
        ("five parts", format!("{honest}.a.b")),
        ("wrong audience", idp.token("root").claim("aud", "other").sign()),
        ("audience in capitals", idp.token("root").claim("aud", "GATEWAY").sign()),
        ("no audience", idp.token("root").claim("aud", json!(null)).sign()),
        ("wrong issuer", idp.token("root").claim("iss", "https://id.example.evil.example").sign()),
        ("issuer with a slash", idp.token("root").claim("iss", format!("{ISSUER}/")).sign()),
        ("expired", idp.token("root").claim("exp", world.now() - 31).sign()),
        ("no expiry", idp.token("root").claim("exp", json!(null)).sign()),
        ("expiry as text", idp.token("root").claim("exp", "9999999999").sign()),
        ("expiry beyond all years", idp.token("root").claim("exp", 1e18).sign()),
        ("not before the future", idp.token("root").claim("nbf", world.now() + 31).sign()),
        ("issued in the future", idp.token("root").claim("iat", world.now() + 31).sign()),
        ("bound to a key", idp.token("root").claim("cnf", json!({"jkt": "x"})).sign()),
        ("NUL in the subject", idp.token("ro\u{0}ot").sign()),
        ("a new line in a group", idp.token("root").groups(&["a\nb"]).sign()),
        ("claims that are no object", {
            let header = signed.split_once('.').unwrap().0;
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("[]"))
        }),
        ("an expired gateway token's shape", format!("gwd_{}", "0".repeat(49))),
        ("an admin key's shape", format!("gwa_{}", "0".repeat(49))),
        ("garbage", "x".to_owned()),
        ("as long as may be", "x".repeat(16 * 1024)),
        ("longer", "x".repeat(16 * 1024 + 1)),
    ];
    assert!(world.bearer(&honest).await.is_ok(), "the honest token is let in");
    for (name, token) in &attacks {
        // Twice: the second time may be answered from memory.
        for _ in 0..2 {
            let refusal = world.bearer(token).await.expect_err(name);
            assert_eq!(refusal.code(), RefusalCode::InvalidToken, "{name}");
            assert!(!refusal.message().contains("root"), "{name}: a message holds nothing of the token");
        }
    }
    assert!(world.bearer(&honest).await.is_ok(), "and still is after all of that");
}

#[tokio::test]
async fn each_algorithm_of_the_list_is_honoured() {
    let world = World::new();
    for (kid, kind) in [("rsa", TestKeyKind::Rsa), ("p384", TestKeyKind::P384), ("ed", TestKeyKind::Ed25519)]
    {
        world.idp.add_key(kid, kind);
    }
    for (kid, algorithm) in [
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
        ("rsa", "PS384"),
        ("rsa", "PS512"),
        ("k1", "ES256"),
        ("p384", "ES384"),
        ("ed", "EdDSA"),
        ("ed", "Ed25519"),
    ] {
        let token = world.idp.token("alice").kid(kid).sign_with(&world.idp.key(kid), algorithm);
        assert!(world.bearer(&token).await.is_ok(), "{algorithm}");
    }
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_is_refused() {
    let world = World::with(|issuer| issuer.algorithms = vec![gatewayd_authn::Algorithm::EdDsa]);
    world.idp.add_key("ed", TestKeyKind::Ed25519);
    assert!(world.bearer(&world.idp.token("a").kid("ed").sign()).await.is_ok());
    assert!(world.bearer(&world.idp.token("a").sign()).await.is_err());
}

#[tokio::test]
async fn a_key_published_for_one_algorithm_serves_no_other() {
    let world = World::new();
    let rsa = world.idp.add_key("rsa", TestKeyKind::Rsa);
    let mut jwk = rsa.jwk("rsa");
    jwk["alg"] = json!("RS256");
    world.idp.serve_jwks(Some(&json!({"keys": [jwk]}).to_string()));
    let token = |algorithm: &str| world.idp.token("alice").kid("rsa").sign_with(&rsa, algorithm);
    assert!(world.bearer(&token("RS256")).await.is_ok());
    for other in ["PS256", "RS384", "PS512"] {
        assert!(world.bearer(&token(other)).await.is_err(), "{other}");
    }
}

#[tokio::test]
async fn a_storm_of_unknown_keys_causes_a_few_fetches_only() {
    let world = World::new();
    world.authn.load().await.unwrap();
    let before = world.idp.key_fetches();
    world.idp.set_delay(Duration::from_millis(500));
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..300 {
        let token = world.idp.token("mallory").header("kid", format!("unknown-{i}")).sign();
        let world = world.clone();
        tasks.spawn(async move { world.bearer(&token).await.unwrap_err().code() });
    }
    while let Some(code) = tasks.join_next().await {
        assert_eq!(code.unwrap(), RefusalCode::InvalidToken);
    }
    assert_eq!(world.idp.key_fetches() - before, 1, "at once they share one fetch");
    // One after the other they have a budget.
    world.idp.set_delay(Duration::ZERO);
    for i in 0..50 {
        let token = world.idp.token("mallory").header("kid", format!("another-{i}")).sign();
        assert!(world.bearer(&token).await.is_err());
    }
    let fetches = world.idp.key_fetches() - before;
    assert!((1..=3).contains(&fetches), "{fetches} fetches");
    // Nor does it keep a caller with a good token waiting, or a new key out for long.
    assert!(world.bearer(&world.idp.token("alice").sign()).await.is_ok());
    world.idp.add_key("k2", TestKeyKind::P256);
    world.clock.advance(Duration::from_secs(11));
    assert!(world.bearer(&world.idp.token("alice").kid("k2").sign()).await.is_ok());
}

#[tokio::test]
async fn not_everybody_may_wait_for_a_slow_issuer() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.idp.set_delay(Duration::from_secs(30));
    let token = world.idp.token("mallory").header("kid", "unknown").sign();
    let mut waiting: Vec<_> = (0..1024).map(|_| Box::pin(world.bearer(&token))).collect();
    for one in &mut waiting {
        let looked = std::future::poll_fn(|cx| std::task::Poll::Ready(one.as_mut().poll(cx))).await;
        assert!(looked.is_pending());
    }
    let refusal = world.bearer(&token).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable);
    assert!(world.bearer(&world.idp.token("alice").sign()).await.is_ok(), "known keys need no waiting");
}

#[tokio::test]
async fn tokens_that_fail_anyway_cause_no_fetch() {
    let world = World::new();
    for token in [
        world.idp.token("a").claim("exp", world.now() - 100).header("kid", "new").sign(),
        world.idp.token("a").claim("aud", "other").header("kid", "new").sign(),
        world.idp.token("a").header("alg", "none").sign(),
    ] {
        assert!(world.bearer(&token).await.is_err());
    }
    assert_eq!(world.idp.discoveries() + world.idp.key_fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_does_not_stop_the_fetch() {
    let world = World::new();
    world.authn.load().await.unwrap();
    world.idp.add_key("k2", TestKeyKind::P256);
    world.idp.set_delay(Duration::from_millis(300));
    let token = world.idp.token("alice").kid("k2").sign();
    let gone = tokio::time::timeout(Duration::from_millis(5), world.bearer(&token)).await;
    assert!(gone.is_err(), "the caller was gone before the keys were there");
    tokio::time::sleep(Duration::from_millis(900)).await;
    let before = world.idp.key_fetches();
    assert!(world.bearer(&token).await.is_ok());
    assert_eq!(world.idp.key_fetches(), before, "the fetch had ended without its caller");
}

#[tokio::test]
async fn a_discovery_document_cannot_lead_elsewhere() {
    for (document, what) in [
        (json!({"issuer": "https://evil.example", "jwks_uri": "https://id.example/jwks"}), "another issuer"),
        (json!({"issuer": "https://id.example/", "jwks_uri": "https://id.example/jwks"}), "a slash more"),
        (json!({"jwks_uri": "https://id.example/jwks"}), "no issuer"),
        (json!({"issuer": ISSUER, "jwks_uri": "http://id.example/jwks"}), "keys without TLS"),
        (json!({"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"}), "a file"),
        (json!({"issuer": ISSUER, "jwks_uri": "https://u:p@id.example/jwks"}), "a password"),
        (json!({"issuer": ISSUER}), "no keys"),
        (json!([]), "a list"),
    ] {
        let world = World::new();
        world.idp.serve_discovery(Some(document));
        let refusal = world.bearer(&world.idp.token("alice").sign()).await.expect_err(what);
        assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable, "{what}");
        let problem = world.authn.status()[0].problem.clone().expect(what);
        assert!(
            problem.starts_with("https://id.example/.well-known/openid-configuration: "),
            "{what}: {problem}"
        );
        assert_eq!(world.idp.key_fetches(), 0, "{what}");
        assert!(!world.authn.ready());
    }
}
