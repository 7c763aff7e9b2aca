//! The handle: from the headers of a request to an identity, or to a refusal.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{BoxFuture, Clock, Fetch, Identity, Refusal, Timestamp};
use http::HeaderMap;

use crate::error::Rejected;
use crate::gateway_token::ADMIN_PREFIX;
use crate::jwt::Unverified;
use crate::provider::{Found, Provider};
use crate::verdicts::{TokenDigest, Verdicts, digest_of};
use crate::{Config, Error, LocalAdmin, Presented, TokenStore, claims, presented};

/// Tells who is calling. Cheap to clone; clones share keys and verdicts.
#[derive(Clone)]
pub struct Authn {
    shared: Arc<Shared>,
    local_admin: Option<Arc<LocalAdmin>>,
}

struct Shared {
    providers: HashMap<String, Arc<Provider>>,
    tokens: Option<TokenStore>,
    verdicts: Verdicts,
    leeway: Duration,
    dangerous_allow_http: bool,
    fetch: Arc<dyn Fetch>,
    clock: Arc<dyn Clock>,
}

/// The state of one issuer, for health checks and people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IssuerStatus {
    /// The issuer.
    pub issuer: String,
    /// True if its tokens can be judged now.
    pub ready: bool,
    /// How many usable keys it publishes.
    pub keys: usize,
    /// What went wrong at the last fetch, if it did.
    pub problem: Option<String>,
}

/// What became of a look at the headers.
pub(crate) enum Checked {
    /// Decided without waiting.
    Now(Result<Identity, Refusal>),
    /// Keys are to be fetched first.
    Later(BoxFuture<'static, Result<Identity, Refusal>>),
}

impl Checked {
    async fn outcome(self) -> Result<Identity, Refusal> {
        match self {
            Self::Now(outcome) => outcome,
            Self::Later(outcome) => outcome.await,
        }
    }
}

impl Authn {
    /// Sets up authentication. Nothing is fetched yet: [`load`](Self::load) or the first request does.
    ///
    /// # Errors
    /// If the configuration does not hold.
    pub fn new(
        config: Config,
        fetch: Arc<dyn Fetch>,
        tokens: Option<TokenStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Self::build(config, fetch, tokens, clock, None)
    }

    /// The same under another configuration. Keys of issuers whose settings did not change are kept;
    /// verdicts are not. This handle stays as it is.
    ///
    /// # Errors
    /// If the configuration does not hold.
    pub fn reconfigured(&self, config: Config) -> Result<Self, Error> {
        let shared = &self.shared;
        let (fetch, clock) = (Arc::clone(&shared.fetch), Arc::clone(&shared.clock));
        let mut next = Self::build(config, fetch, shared.tokens.clone(), clock, Some(shared))?;
        next.local_admin.clone_from(&self.local_admin);
        Ok(next)
    }

    /// A handle that also takes the local administrator's key. Meant for the admin listener; the handle
    /// for callers of the model should not know the key.
    #[must_use]
    pub fn with_local_admin(&self, admin: LocalAdmin) -> Self {
        Self { shared: Arc::clone(&self.shared), local_admin: Some(Arc::new(admin)) }
    }

    /// Who is calling, by the credential in these headers.
    ///
    /// Waits only if a token names a key that is not known yet.
    ///
    /// # Errors
    /// A refusal that says why the credential is not accepted.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
    ) -> impl Future<Output = Result<Identity, Refusal>> + Send + use<> {
        self.check(headers).outcome()
    }

    /// Who is calling, by what a request presented when it came in: judged anew, by what is known now.
    ///
    /// A token that was revoked, ended, or lost its key since is refused.
    ///
    /// # Errors
    /// A refusal that says why the credential is not accepted (any more).
    pub fn authenticate_presented(
        &self,
        presented: &Presented,
    ) -> impl Future<Output = Result<Identity, Refusal>> + Send + 'static + use<> {
        self.judge(presented.token()).outcome()
    }

    /// Fetches the keys of all issuers, where they are old or missing.
    ///
    /// # Errors
    /// The first issuer whose keys cannot be had; those of the others are fetched all the same.
    pub async fn load(&self) -> Result<(), Error> {
        let mut tasks = tokio::task::JoinSet::new();
        for provider in self.shared.providers.values() {
            let provider = Arc::clone(provider);
            tasks.spawn(async move { provider.refresh_if_due().await });
        }
        while tasks.join_next().await.is_some() {}
        match self.status().into_iter().find(|status| !status.ready) {
            None => Ok(()),
            Some(IssuerStatus { issuer, problem, .. }) => {
                let problem =
                    problem.unwrap_or_else(|| "it publishes no key that can be used here".to_owned());
                Err(Error::Keys { issuer, problem })
            }
        }
    }

    /// Keeps keys fresh, and writes down when tokens were last used. Never ends: spawn it, and drop it
    /// with the handle. Without it keys are refreshed by the requests that need them.
    pub fn refresh(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move {
            let mut ticks: u64 = 0;
            loop {
                for provider in shared.providers.values() {
                    provider.start_refresh();
                }
                if let Some(store) = shared.tokens.clone().filter(|_| ticks % 60 == 59) {
                    let kept = tokio::task::spawn_blocking(move || store.keep_last_used()).await;
                    if let Ok(Err(error)) = kept {
                        tracing::warn!(%error, "the last use of tokens could not be written");
                    }
                }
                ticks = ticks.wrapping_add(1);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// True if every issuer's tokens can be judged now, and the token store can be read.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.status().iter().all(|status| status.ready)
            && self.shared.tokens.as_ref().is_none_or(TokenStore::is_readable)
    }

    /// The state of each issuer, by name.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = self.shared.clock.now();
        let status = |provider: &Arc<Provider>| IssuerStatus {
            issuer: provider.config.issuer.clone(),
            ready: provider.has_keys(now) && provider.key_count() > 0,
            keys: provider.key_count(),
            problem: provider.last_problem(),
        };
        let mut all: Vec<_> = self.shared.providers.values().map(status).collect();
        all.sort_by(|a, b| a.issuer.cmp(&b.issuer));
        all
    }

    /// Decides at once if that is possible: for a token seen before, that is a hash and a look-up.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Checked {
        match presented::token(headers) {
            Ok(token) => self.judge(token),
            Err(rejected) => Checked::Now(Err(rejected.refusal())),
        }
    }

    /// What [`check`](Self::check) does with a token.
    fn judge(&self, token: &str) -> Checked {
        let now = self.shared.clock.now();
        if TokenStore::is_meant(token) {
            let outcome =
                self.shared.tokens.as_ref().map_or(Err(Rejected::UnknownToken), |store| store.check(token));
            return Checked::Now(outcome.map_err(Rejected::refusal));
        }
        if token.starts_with(ADMIN_PREFIX) {
            let admin = self.local_admin.as_ref().and_then(|admin| admin.check(token));
            return Checked::Now(admin.ok_or_else(|| Rejected::UnknownToken.refusal()));
        }
        let digest = digest_of(token);
        if let Some(verdict) = self.shared.verdicts.get(&digest, now) {
            return Checked::Now(verdict.map_err(Rejected::refusal));
        }
        match self.shared.judge(token, &digest, now) {
            Ok(Some(identity)) => Checked::Now(Ok(identity)),
            Err(rejected) => Checked::Now(Err(rejected.refusal())),
            Ok(None) => {
                let (shared, token) = (Arc::clone(&self.shared), token.to_owned());
                Checked::Later(Box::pin(async move {
                    shared.fetch_and_judge(&token, &digest).await.map_err(Rejected::refusal)
                }))
            }
        }
    }

    fn build(
        config: Config,
        fetch: Arc<dyn Fetch>,
        tokens: Option<TokenStore>,
        clock: Arc<dyn Clock>,
        before: Option<&Shared>,
    ) -> Result<Self, Error> {
        config.validate()?;
        if config.issuers.is_empty() && tokens.is_none() {
            return Err(Error::NobodyCouldSignIn);
        }
        let dangerous_allow_http = config.dangerous_allow_http;
        if dangerous_allow_http {
            tracing::warn!("dangerous_allow_http is on: keys may be fetched without TLS, and be anybody's");
        }
        let mut providers = HashMap::new();
        for issuer in config.issuers {
            let kept = before
                .filter(|before| before.dangerous_allow_http == dangerous_allow_http)
                .and_then(|before| before.providers.get(&issuer.issuer))
                .filter(|provider| provider.config == issuer)
                .cloned();
            let provider = kept.unwrap_or_else(|| {
                let (fetch, clock) = (Arc::clone(&fetch), Arc::clone(&clock));
                Arc::new(Provider::new(issuer, dangerous_allow_http, fetch, clock))
            });
            providers.insert(provider.config.issuer.clone(), provider);
        }
        let verdicts = Verdicts::new(config.verdict_capacity);
        let shared =
            Shared { providers, tokens, verdicts, leeway: config.leeway, dangerous_allow_http, fetch, clock };
        Ok(Self { shared: Arc::new(shared), local_admin: None })
    }
}

impl std::fmt::Debug for Authn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authn").field("issuers", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Judges with the keys at hand; `None` if they do not suffice.
    fn judge(&self, token: &str, digest: &TokenDigest, now: Timestamp) -> Result<Option<Identity>, Rejected> {
        let (unverified, provider, stated) = self.read(token, now)?;
        match provider.look(&unverified) {
            Found::Unknown | Found::Unavailable => Ok(None),
            Found::Keys(keys) => {
                if let Some(key) = keys.iter().find(|key| key.verifies(&unverified)) {
                    let claims::Stated { identity, deadline } = stated;
                    self.verdicts.keep(*digest, identity.clone(), deadline, Arc::clone(&key.life));
                    return Ok(Some(identity));
                }
                // Without a key id, one that is not known yet may have signed.
                if unverified.kid.is_none() {
                    return Ok(None);
                }
                self.verdicts.keep_bad(*digest, now);
                Err(Rejected::Signature)
            }
        }
    }

    async fn fetch_and_judge(&self, token: &str, digest: &TokenDigest) -> Result<Identity, Rejected> {
        let (unverified, provider, _) = self.read(token, self.clock.now())?;
        let found = provider.fetch_and_look(&unverified).await;
        match self.judge(token, digest, self.clock.now())? {
            Some(identity) => Ok(identity),
            None => Err(match found {
                Found::Unavailable => Rejected::NoKeys,
                Found::Unknown => Rejected::UnknownKey,
                Found::Keys(_) => Rejected::Signature,
            }),
        }
    }

    /// What the token says, held against its issuer's settings. Comes before the signature, so that a
    /// token that is no good anyway costs neither a verification nor a fetch.
    fn read<'t>(
        &self,
        token: &'t str,
        now: Timestamp,
    ) -> Result<(Unverified<'t>, &Arc<Provider>, claims::Stated), Rejected> {
        let unverified = Unverified::parse(token)?;
        let issuer = unverified.issuer().ok_or(Rejected::Issuer)?;
        let provider = self.providers.get(issuer).ok_or(Rejected::Issuer)?;
        if !provider.config.algorithms.contains(&unverified.algorithm) {
            return Err(Rejected::Algorithm);
        }
        let stated = claims::judge(&unverified.claims, &provider.config, now, self.leeway)?;
        Ok((unverified, provider, stated))
    }
}
