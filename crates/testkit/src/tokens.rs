//! An OpenID Connect provider without a network: it makes keys, signs tokens, and serves its documents
//! through [`Fetch`], counting how often it is asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewayd_core::{BoxFuture, Clock, Fetch, FetchError, Fetched};
use serde_json::{Map, Value, json};

/// A provider that lives in memory. Clones are the same provider.
///
/// It starts with one P-256 key called `k1`. Every token it signs is for the audience `gateway` and good
/// for ten minutes by the clock it was given, unless the test says otherwise.
#[derive(Clone)]
pub struct FakeIssuer(Arc<Inner>);

struct Inner {
    url: String,
    clock: Arc<dyn Clock>,
    keys: Mutex<BTreeMap<String, Arc<TestKey>>>,
    changes: Mutex<Changes>,
    discoveries: AtomicUsize,
    key_fetches: AtomicUsize,
    broken: AtomicBool,
}

/// What the provider serves instead of the truth.
#[derive(Default)]
struct Changes {
    discovery: Option<Value>,
    jwks: Option<String>,
    max_age: Option<Duration>,
    delay: Duration,
}

/// Kinds of keys a [`FakeIssuer`] can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestKeyKind {
    /// RSA with 2048 bits. Takes a moment to make.
    Rsa,
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// Ed25519.
    Ed25519,
}

/// A key pair of a [`FakeIssuer`].
pub enum TestKey {
    /// RSA.
    Rsa(RsaKeyPair),
    /// P-256.
    P256(EcdsaKeyPair),
    /// P-384.
    P384(EcdsaKeyPair),
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
}

impl FakeIssuer {
    /// A provider at this URL, whose tokens are dated by this clock.
    #[must_use]
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Self {
        let issuer = Self(Arc::new(Inner {
            url: url.to_owned(),
            clock,
            keys: Mutex::default(),
            changes: Mutex::default(),
            discoveries: AtomicUsize::new(0),
            key_fetches: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }));
        issuer.add_key("k1", TestKeyKind::P256);
        issuer
    }

    /// The issuer's URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Makes a key and publishes it.
    pub fn add_key(&self, kid: &str, kind: TestKeyKind) -> Arc<TestKey> {
        let key = Arc::new(TestKey::generate(kind));
        self.keys().insert(kid.to_owned(), Arc::clone(&key));
        key
    }

    /// Publishes the key no longer.
    pub fn remove_key(&self, kid: &str) {
        self.keys().remove(kid);
    }

    /// A published key.
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    #[allow(clippy::panic, reason = "a test asked for a key it never made")]
    pub fn key(&self, kid: &str) -> Arc<TestKey> {
        match self.keys().get(kid) {
            Some(key) => Arc::clone(key),
            None => panic!("the fake issuer has no key `{kid}`"),
        }
    }

    /// A token to be changed and then signed.
    #[must_use]
    pub fn token(&self, subject: &str) -> TokenBuilder {
        let now = self.0.clock.now().seconds();
        let claims = json!({
            "iss": self.0.url, "sub": subject, "aud": "gateway", "iat": now, "nbf": now, "exp": now + 600,
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        TokenBuilder { issuer: self.clone(), header: Map::new(), claims, kid: "k1".to_owned() }
    }

    /// How often the discovery document was asked for.
    #[must_use]
    pub fn discoveries(&self) -> usize {
        self.0.discoveries.load(Ordering::SeqCst)
    }

    /// How often the keys were asked for.
    #[must_use]
    pub fn key_fetches(&self) -> usize {
        self.0.key_fetches.load(Ordering::SeqCst)
    }

    /// Answers nothing any more, or again.
    pub fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::SeqCst);
    }

    /// Serves this discovery document instead of its own.
    pub fn serve_discovery(&self, document: Option<Value>) {
        self.changes().discovery = document;
    }

    /// Serves this text instead of its key set.
    pub fn serve_jwks(&self, text: Option<&str>) {
        self.changes().jwks = text.map(str::to_owned);
    }

    /// Sends this `max-age` with its documents.
    pub fn set_max_age(&self, max_age: Option<Duration>) {
        self.changes().max_age = max_age;
    }

    /// Takes this long for each answer.
    pub fn set_delay(&self, delay: Duration) {
        self.changes().delay = delay;
    }

    /// The key set as it is published.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.keys().iter().map(|(kid, key)| key.jwk(kid)).collect();
        json!({"keys": keys})
    }

    fn answer(&self, url: &str) -> (u16, String) {
        let rest = url.strip_prefix(self.0.url.trim_end_matches('/')).unwrap_or_default();
        match rest {
            "/.well-known/openid-configuration" => {
                self.0.discoveries.fetch_add(1, Ordering::SeqCst);
                let jwks_uri = format!("{}/jwks", self.0.url.trim_end_matches('/'));
                let own = json!({"issuer": self.0.url, "jwks_uri": jwks_uri});
                (200, self.changes().discovery.clone().unwrap_or(own).to_string())
            }
            "/jwks" => {
                self.0.key_fetches.fetch_add(1, Ordering::SeqCst);
                let changed = self.changes().jwks.clone();
                (200, changed.unwrap_or_else(|| self.jwks().to_string()))
            }
            _ => (404, "not found".to_owned()),
        }
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Arc<TestKey>>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetch for FakeIssuer {
    fn get<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        let (delay, max_age) = {
            let changes = self.changes();
            (changes.delay, changes.max_age)
        };
        let (status, body) = self.answer(url);
        let broken = self.0.broken.load(Ordering::SeqCst);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if broken {
                return Err(FetchError::Unreachable("connection refused".to_owned()));
            }
            Ok(Fetched { status, body: body.into(), max_age })
        })
    }
}

/// Several providers behind one [`Fetch`].
#[derive(Clone)]
pub struct FakeIssuers(pub Vec<FakeIssuer>);

impl Fetch for FakeIssuers {
    fn get<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        match self.0.iter().find(|issuer| url.starts_with(issuer.url())) {
            Some(issuer) => issuer.get(url),
            None => Box::pin(std::future::ready(Err(FetchError::Unreachable("no such host".to_owned())))),
        }
    }
}

/// A token in the making. What is not changed is as a well-meaning provider would have it.
#[derive(Clone)]
pub struct TokenBuilder {
    issuer: FakeIssuer,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    kid: String,
}

impl TokenBuilder {
    /// Sets a claim; `null` removes it.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.claims, name, value.into());
        self
    }

    /// Sets the groups.
    #[must_use]
    pub fn groups(self, groups: &[&str]) -> Self {
        self.claim("groups", groups.to_vec())
    }

    /// Sets a member of the header, over whatever signing would put there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Signs with this key of the issuer, and names it.
    #[must_use]
    pub fn kid(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self
    }

    /// Signs with the named key, by the algorithm usual for it.
    #[must_use]
    pub fn sign(self) -> String {
        let key = self.issuer.key(&self.kid);
        self.sign_with(&key, key.usual_algorithm())
    }

    /// Signs with any key and algorithm.
    #[must_use]
    pub fn sign_with(self, key: &TestKey, algorithm: &str) -> String {
        let signed = self.unsigned(algorithm);
        let signature = key.sign(algorithm, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What would be signed: header and claims, encoded.
    #[must_use]
    pub fn unsigned(self, algorithm: &str) -> String {
        let mut header = Map::new();
        header.insert("typ".to_owned(), "JWT".into());
        header.insert("alg".to_owned(), algorithm.into());
        header.insert("kid".to_owned(), self.kid.into());
        for (name, value) in self.header {
            set(&mut header, &name, value);
        }
        let encode = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        format!("{}.{}", encode(header), encode(self.claims))
    }
}

impl TestKey {
    /// A fresh key.
    ///
    /// # Panics
    /// If the library cannot make one.
    #[must_use]
    pub fn generate(kind: TestKeyKind) -> Self {
        let made = "a key can be made";
        match kind {
            TestKeyKind::Rsa => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect(made)),
            TestKeyKind::P256 => {
                Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect(made))
            }
            TestKeyKind::P384 => {
                Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect(made))
            }
            TestKeyKind::Ed25519 => Self::Ed25519(Ed25519KeyPair::generate().expect(made)),
        }
    }

    /// The public key as a JWK.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |curve: &str, point: &[u8]| {
            let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
            json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y), "kid": kid, "use": "sig"})
        };
        match self {
            Self::Rsa(pair) => {
                let (n, e) = rsa_components(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": encode(n), "e": encode(e), "kid": kid, "use": "sig"})
            }
            Self::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Self::Ed25519(pair) => json!({
                "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()), "kid": kid, "use": "sig",
            }),
        }
    }

    /// The public key as the library gives it: for RSA in DER, for the curves a point.
    #[must_use]
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn usual_algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// Signs; for a curve, whatever the algorithm is called.
    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .expect("the buffer has the modulus' size");
                signature
            }
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&random, message).expect("a message of any length can be signed").as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn set(object: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        object.remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
}

/// Modulus and exponent of a DER `RSAPublicKey ::= SEQUENCE { INTEGER n, INTEGER e }`.
fn rsa_components(der: &[u8]) -> (&[u8], &[u8]) {
    let (_, sequence, _) = element(der);
    let (_, n, rest) = element(sequence);
    let (_, e, _) = element(rest);
    let unsigned = |bytes: &'_ [u8]| bytes.iter().take_while(|byte| **byte == 0).count();
    (n.get(unsigned(n)..).unwrap_or_default(), e.get(unsigned(e)..).unwrap_or_default())
}

/// Tag, content and rest of the first DER element.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (tag, rest) = der.split_first().expect("the element has a tag");
    let (first, rest) = rest.split_first().expect("the element has a length");
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at(usize::from(*first & 0x7f));
        (bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at(length);
    (*tag, content, rest)
}
