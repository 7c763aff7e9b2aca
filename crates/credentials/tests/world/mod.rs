//! A directory with a key in it, and an upstream that shows what reached it.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use gatewayd_core::{
    Body, BoxFuture, Claim, Event, Journal, JournalError, ManualClock, RequestId, Timestamp,
};
use gatewayd_credentials::{Config, CredentialConfig, Credentials, CredentialsLayer, Source};
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _};

pub struct World {
    pub directory: tempfile::TempDir,
    pub clock: ManualClock,
    pub journal: Arc<Keeper>,
    /// Every value the hook was told, in order.
    pub told: Arc<Mutex<Vec<String>>>,
    pub config: Config,
    pub credentials: Credentials,
}

impl World {
    pub fn new(value: &str) -> Self {
        Self::with(value, |_| {})
    }

    pub fn with(value: &str, change: impl FnOnce(&mut CredentialConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        std::fs::write(directory.path().join("key"), value).expect("the file can be written");
        Self::build(directory, change)
    }

    pub fn without_file() -> Self {
        Self::build(tempfile::tempdir().expect("a directory can be made"), |_| {})
    }

    pub fn build(directory: tempfile::TempDir, change: impl FnOnce(&mut CredentialConfig)) -> Self {
        let mut credential = CredentialConfig {
            name: "llama-key".to_owned(),
            source: Source::File(directory.path().join("key")),
            header: http::header::AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
            upstreams: vec!["llama".to_owned()],
        };
        change(&mut credential);
        let config =
            Config { credentials: vec![credential], without: vec!["plain".to_owned()], version_key: None };
        let clock = ManualClock::at(Timestamp::from_seconds(1_800_000_000));
        let journal = Arc::new(Keeper::default());
        let told = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&told);
        let credentials = Credentials::new(
            config.clone(),
            Arc::new(clock.clone()),
            Arc::clone(&journal) as Arc<dyn Journal>,
            Arc::new(move |_, secret| {
                let value = String::from_utf8_lossy(secret.expose()).into_owned();
                hook.lock().expect("nobody panics").push(value);
            }),
        )
        .expect("the settings hold");
        Self { directory, clock, journal, told, config, credentials }
    }

    pub fn file(&self) -> PathBuf {
        self.directory.path().join("key")
    }

    pub fn write(&self, value: impl AsRef<[u8]>) {
        std::fs::write(self.file(), value).expect("the file can be written");
    }

    pub fn told(&self) -> Vec<String> {
        self.told.lock().expect("nobody panics").clone()
    }

    /// What a request to `llama` carries now.
    pub async fn authorization(&self) -> Option<String> {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(gatewayd_core::UpstreamName("llama".into()));
        let response = answer(self, request).await;
        response.headers().get("authorization").map(|value| value.to_str().expect("ASCII").to_owned())
    }
}

/// A journal that keeps events, or fails on demand.
#[derive(Default)]
pub struct Keeper {
    pub events: Mutex<Vec<Event>>,
    pub broken: std::sync::atomic::AtomicBool,
}

impl Keeper {
    pub fn outcomes(&self) -> Vec<String> {
        self.events.lock().expect("nobody panics").iter().map(|event| event.outcome.to_string()).collect()
    }
}

impl Journal for Keeper {
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            if self.broken.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(JournalError("the disk is full".to_owned()));
            }
            self.events.lock().expect("nobody panics").push(event);
            Ok(())
        })
    }

    fn claimed(&self, _claim: &Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// An upstream that answers with the headers and extensions of the request.
pub fn echo() -> impl tower::Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = std::future::Ready<Result<Response<Body>, Infallible>>,
> + Clone
+ Send
+ 'static {
    tower::service_fn(|request: Request<Body>| {
        let (head, _) = request.into_parts();
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = head.headers;
        *response.extensions_mut() = head.extensions;
        std::future::ready(Ok(response))
    })
}

pub async fn answer(world: &World, request: Request<Body>) -> Response<Body> {
    CredentialsLayer::new(world.credentials.clone()).layer(echo()).oneshot(request).await.expect("infallible")
}
