//! A provider, a clock that stands still, and an [`Authn`] between them.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::Arc;

use gatewayd_authn::{Authn, Config, IssuerConfig, TokenStore};
use gatewayd_core::{Clock as _, Identity, ManualClock, Refusal, Timestamp};
use gatewayd_testkit::FakeIssuer;
use http::HeaderMap;

pub const ISSUER: &str = "https://id.example";

#[derive(Clone)]
pub struct World {
    pub clock: ManualClock,
    pub idp: FakeIssuer,
    pub authn: Authn,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut IssuerConfig)) -> Self {
        Self::build(change, None)
    }

    pub fn build(change: impl FnOnce(&mut IssuerConfig), tokens: Option<TokenStore>) -> Self {
        let clock = clock();
        let idp = FakeIssuer::new(ISSUER, Arc::new(clock.clone()));
        let mut issuer = IssuerConfig::new(ISSUER, ["gateway"]);
        change(&mut issuer);
        let config = Config { issuers: vec![issuer], ..Config::default() };
        let authn = Authn::new(config, Arc::new(idp.clone()), tokens, Arc::new(clock.clone()))
            .expect("the configuration holds");
        Self { clock, idp, authn }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    pub async fn bearer(&self, token: &str) -> Result<Identity, Refusal> {
        self.authn.authenticate(&bearer(token)).await
    }
}

pub fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_seconds(1_800_000_000))
}

pub fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().expect("a token is fit for a header"));
    headers
}
