//! A small world around the layer: people, a journal that keeps claims, and an inner service that makes them.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gatewayd_approvals::{Approvals, ApprovalsLayer, Config, Filter, Requirement, Seats, State, Verdict};
use gatewayd_core::{
    Action, Body, BoxFuture, Claim, Decision, Dialect, Effect, Event, EventKind, Identity, IdentityKind,
    Journal, JournalError, ManualClock, Operation, Redact, RedactStream, Refusal, RefusalCode, RequestId,
    Timestamp, Trail, UpstreamName,
};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tower::{Layer as _, Service, ServiceExt as _};

pub(crate) struct World {
    pub(crate) approvals: Approvals,
    pub(crate) journal: FakeJournal,
    pub(crate) clock: ManualClock,
    pub(crate) upstream: Upstream,
    pub(crate) path: PathBuf,
    pub(crate) _folder: Arc<tempfile::TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let path = folder.path().join("approvals.db");
        let clock = ManualClock::at(Timestamp::from_seconds(1_767_600_000));
        let journal = FakeJournal::default();
        let mut config = config();
        change(&mut config);
        let approvals = open(&path, config, &journal, &clock);
        let upstream = Upstream::new(journal.clone());
        Self { approvals, journal, clock, upstream, path, _folder: folder }
    }

    /// The same store, opened again: by the next run, or by another process.
    pub(crate) fn another(&self) -> Approvals {
        open(&self.path, config(), &self.journal, &self.clock)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(self.approvals.clone(), self.upstream.clone(), request).await
    }

    pub(crate) fn start(&self, request: Request<Body>) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(send(self.approvals.clone(), self.upstream.clone(), request))
    }

    /// Waits for the one approval that is pending.
    pub(crate) async fn pending(&self) -> String {
        for _ in 0..10_000 {
            let filter = Filter { states: vec![State::Pending], ..Filter::default() };
            if let Some(view) = self.approvals.list(&filter).await.unwrap().first() {
                return view.id.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing waits for approval");
    }

    pub(crate) async fn yes(&self, id: &str, by: &Identity) {
        self.approvals.vote(id, by, Verdict::Approve, "fine").await.unwrap();
    }

    pub(crate) async fn state(&self, id: &str) -> State {
        self.approvals.show(id).await.unwrap().state
    }
}

pub(crate) async fn send(approvals: Approvals, upstream: Upstream, request: Request<Body>) -> Answer {
    let response = ApprovalsLayer::new(approvals).layer(upstream).oneshot(request).await.unwrap();
    Answer::of(response).await
}

fn open(path: &Path, config: Config, journal: &FakeJournal, clock: &ManualClock) -> Approvals {
    Approvals::open(path, config, Arc::new(journal.clone()), Arc::new(HideSecret), Arc::new(clock.clone()))
        .unwrap()
}

pub(crate) fn config() -> Config {
    let mut quick = Requirement::all_of(vec![Seats::new("ml-leads", 1)]);
    quick.hold = Duration::from_millis(50);
    quick.expires = Duration::from_secs(3600);
    let mut two = Requirement::all_of(vec![Seats::new("ml-leads", 1), Seats::new("security", 1)]);
    two.hold = Duration::from_secs(20);
    let mut grant = quick.clone();
    grant.grant = Some(Duration::from_secs(1800));
    Config {
        requirements: BTreeMap::from([
            ("quick".to_owned(), quick),
            ("two-people".to_owned(), two),
            ("window".to_owned(), grant),
        ]),
        public_url: "https://admin.example/".to_owned(),
        poll: Duration::from_millis(50),
        ..Config::default()
    }
}

pub(crate) fn person(subject: &str, groups: &[&str]) -> Identity {
    Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://id.example".into(),
        subject: subject.into(),
        name: None,
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        expires: None,
    }
}

pub(crate) fn alice() -> Identity {
    person("alice", &["ml-eng"])
}

/// A program's token, in the groups of those who decide.
pub(crate) fn robot() -> Identity {
    let mut robot = person("robot", &["ml-leads", "security"]);
    robot.kind = IdentityKind::GatewayToken;
    robot
}

pub(crate) fn bob() -> Identity {
    person("bob", &["ml-leads"])
}

pub(crate) fn carol() -> Identity {
    person("carol", &["security"])
}

/// A request as it comes out of policy.
pub(crate) struct Ask {
    pub(crate) identity: Option<Identity>,
    pub(crate) model: &'static str,
    pub(crate) effect: Effect,
    pub(crate) requirement: &'static str,
    pub(crate) policy_version: &'static str,
    pub(crate) path: &'static str,
    pub(crate) body: Body,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) reasons: Vec<&'static str>,
    pub(crate) trail: bool,
}

impl Ask {
    pub(crate) fn new(requirement: &'static str, body: &'static str) -> Self {
        Self {
            identity: Some(alice()),
            model: "llama-3",
            effect: Effect::Approve,
            requirement,
            policy_version: "v1",
            path: "/v1/fine_tuning/jobs",
            body: Body::from(body),
            content_type: "application/json",
            headers: Vec::new(),
            reasons: Vec::new(),
            trail: true,
        }
    }

    pub(crate) fn request(self) -> Request<Body> {
        let mut request =
            Request::post(self.path).header("content-type", self.content_type).body(self.body).unwrap();
        for reason in self.reasons {
            request
                .headers_mut()
                .append("x-approval-reason", http::HeaderValue::from_bytes(reason.as_bytes()).unwrap());
        }
        for (name, value) in self.headers {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let extensions = request.extensions_mut();
        if let Some(identity) = self.identity {
            extensions.insert(identity);
        }
        extensions.insert(Operation {
            dialect: Dialect::OpenAi,
            action: Action::Train,
            model: Some(self.model.into()),
            other_models: [].into(),
            streaming: false,
            route: "/v1/fine_tuning/jobs".into(),
        });
        extensions.insert(UpstreamName("llama".into()));
        extensions.insert(Decision {
            effect: self.effect,
            rule: "training-needs-approval".into(),
            policy_version: self.policy_version.into(),
            approval: Some(self.requirement.into()),
        });
        if self.trail {
            extensions.insert(Trail::new(RequestId::generate(), Timestamp(0), None));
        }
        request
    }
}

pub(crate) fn ask(requirement: &'static str, body: &'static str) -> Request<Body> {
    Ask::new(requirement, body).request()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    pub(crate) fn error(&self) -> serde_json::Value {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["error"].clone()
    }

    pub(crate) fn code(&self) -> String {
        format!("{} {}", self.status, self.error()["code"].as_str().unwrap())
    }

    pub(crate) fn id(&self) -> String {
        self.error()["approval_id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn passed(&self) -> bool {
        self.status == 200
    }
}

/// Keeps events and claims; fails when told to.
#[derive(Clone, Default)]
pub(crate) struct FakeJournal(Arc<JournalState>);

#[derive(Default)]
struct JournalState {
    events: Mutex<Vec<Event>>,
    claims: Mutex<HashMap<Claim, RequestId>>,
    broken: AtomicBool,
}

impl FakeJournal {
    pub(crate) fn break_down(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::SeqCst);
    }

    pub(crate) fn make(&self, claim: Claim, request: RequestId) -> bool {
        let mut claims = self.0.claims.lock().unwrap();
        match claims.get(&claim) {
            Some(_) => false,
            None => {
                claims.insert(claim, request);
                true
            }
        }
    }

    /// What was recorded, in a line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |event: &Event| {
            let actor = event.actor.as_ref().map_or("-", |actor| &actor.subject);
            format!("{} {actor} {}", event.kind.as_str(), event.outcome)
        };
        self.0.events.lock().unwrap().iter().map(line).collect()
    }

    pub(crate) fn count(&self, kind: EventKind) -> usize {
        self.0.events.lock().unwrap().iter().filter(|event| event.kind == kind).count()
    }
}

impl Journal for FakeJournal {
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            if self.0.broken.load(Ordering::SeqCst) {
                return Err(JournalError("disk full".to_owned()));
            }
            self.0.events.lock().unwrap().push(event);
            Ok(())
        })
    }

    fn claimed(&self, claim: &Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>> {
        let found = self.0.claims.lock().unwrap().get(claim).copied();
        Box::pin(std::future::ready(Ok(found)))
    }
}

/// What is behind the layer: makes the claims, like the recorder, and answers with the body it got.
#[derive(Clone)]
pub(crate) struct Upstream {
    journal: FakeJournal,
    pub(crate) seen: Arc<AtomicUsize>,
    pub(crate) mode: Arc<Mutex<Mode>>,
    /// In [`Mode::Hang`], says that a request is inside.
    pub(crate) inside: Arc<Notify>,
    /// In [`Mode::Slow`], lets the answer go.
    pub(crate) go_on: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Echo,
    /// Takes until it is let go on.
    Slow,
    /// Makes the claim and never answers.
    Hang,
    /// Never answers, and never made the claim.
    HangBeforeClaim,
    /// Refuses before the claim is made.
    Unrecorded,
    /// Makes the claim, and then the upstream cannot be reached.
    Unreachable,
}

impl Upstream {
    fn new(journal: FakeJournal) -> Self {
        Self {
            journal,
            seen: Arc::default(),
            mode: Arc::new(Mutex::new(Mode::Echo)),
            inside: Arc::default(),
            go_on: Arc::default(),
        }
    }

    pub(crate) fn mode(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let mode = *self.mode.lock().unwrap();
        let refuse = |code| Refusal::new(code, "no").response(Dialect::OpenAi);
        if mode == Mode::HangBeforeClaim {
            self.inside.notify_one();
            std::future::pending::<()>().await;
        }
        if mode == Mode::Unrecorded {
            return refuse(RefusalCode::RecorderUnavailable);
        }
        if let Some(trail) = request.extensions().get::<Trail>() {
            for claim in trail.claims() {
                if !self.journal.make(claim, trail.id()) {
                    return refuse(RefusalCode::ApprovalConsumed);
                }
            }
        }
        self.seen.fetch_add(1, Ordering::SeqCst);
        match mode {
            Mode::Slow => self.go_on.notified().await,
            Mode::Hang => {
                self.inside.notify_one();
                std::future::pending::<()>().await;
            }
            Mode::Unreachable => return refuse(RefusalCode::UpstreamUnavailable),
            _ => {}
        }
        assert!(!request.headers().contains_key("x-approval-reason"), "the reason is not for the upstream");
        Response::new(Body::full(request.into_body().collect().await.unwrap().to_bytes()))
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

/// Masks the word SECRET.
struct HideSecret;

impl Redact for HideSecret {
    fn start(&self, _content_type: Option<&str>) -> Box<dyn RedactStream> {
        Box::new(HideSecretStream(Vec::new()))
    }
}

struct HideSecretStream(Vec<u8>);

impl RedactStream for HideSecretStream {
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
        self.0.extend_from_slice(chunk);
        Ok(Bytes::new())
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        Ok(String::from_utf8_lossy(&self.0).replace("SECRET", "[masked]").into_bytes().into())
    }
}
