//! Tokens for programs: shown once, stored hashed, revoked at once.
#![allow(clippy::unwrap_used, reason = "also outside of test functions this is a test")]

mod world;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatewayd_authn::{Authn, AuthnLayer, Config, Error, LocalAdmin, NewToken, Presented, TokenStore};
use gatewayd_core::{
    Body, BoxFuture, Claim, Clock as _, Event, EventKind, Identity, IdentityKind, Journal, JournalError,
    ManualClock, Refusal, RefusalCode, RequestId, Secret,
};
use gatewayd_testkit::FakeIssuer;
use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _};
use world::{ISSUER, bearer, clock};

fn new(subject: &str) -> NewToken {
    NewToken {
        subject: subject.to_owned(),
        groups: vec!["ci".to_owned(), "all".to_owned(), "ci".to_owned()],
        ttl: Duration::from_secs(3600),
        created_by: "alice".to_owned(),
    }
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

struct Programs {
    directory: tempfile::TempDir,
    clock: ManualClock,
    store: TokenStore,
    authn: Authn,
}

impl Programs {
    fn new() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), clock());
        let store = TokenStore::open(directory.path().join("tokens.db"), Arc::new(clock.clone())).unwrap();
        let idp = FakeIssuer::new(ISSUER, Arc::new(clock.clone()));
        let (fetch, tokens) = (Arc::new(idp), Some(store.clone()));
        let authn = Authn::new(Config::default(), fetch, tokens, Arc::new(clock.clone())).unwrap();
        Self { directory, clock, store, authn }
    }

    /// The same file, as the command line would open it.
    fn another(&self) -> TokenStore {
        TokenStore::open(self.path(), Arc::new(self.clock.clone())).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("tokens.db")
    }

    async fn ask(&self, secret: &str) -> Result<Identity, Refusal> {
        self.authn.authenticate(&bearer(secret)).await
    }
}

#[tokio::test]
async fn a_token_lets_its_program_in_until_it_ends() {
    let programs = Programs::new();
    let (secret, info) = programs.store.create(&new("nightly-eval")).unwrap();
    let who = programs.ask(&text(&secret)).await.unwrap();
    assert_eq!(
        (who.kind, &*who.issuer, &*who.subject),
        (IdentityKind::GatewayToken, "gatewayd", "nightly-eval")
    );
    assert_eq!(who.groups.iter().map(|group| &**group).collect::<Vec<_>>(), ["all", "ci"]);
    assert_eq!(who.expires, Some(info.expires_at));
    programs.clock.advance(Duration::from_secs(3599));
    assert!(programs.ask(&text(&secret)).await.is_ok());
    programs.clock.advance(Duration::from_secs(1));
    assert!(programs.ask(&text(&secret)).await.unwrap_err().message().contains("expired"));
}

#[tokio::test]
async fn a_revocation_holds_from_the_next_request_on() {
    let programs = Programs::new();
    let (secret, info) = programs.store.create(&new("p")).unwrap();
    assert!(programs.ask(&text(&secret)).await.is_ok());
    let revoked = programs.store.revoke(&info.id, "bob").unwrap();
    assert_eq!(revoked.revoked_by.as_deref(), Some("bob"));
    assert_eq!(programs.ask(&text(&secret)).await.unwrap_err().code(), RefusalCode::InvalidToken);
    programs.clock.advance(Duration::from_secs(5));
    let again = programs.store.revoke(&info.id, "carol").unwrap();
    assert_eq!(again, revoked, "the first revocation stands");
    assert!(matches!(programs.store.revoke("tok_none", "bob"), Err(Error::NoSuchToken(_))));
}

#[tokio::test]
async fn a_revocation_holds_for_a_request_that_waited() {
    let programs = Programs::new();
    let (secret, info) = programs.store.create(&new("p")).unwrap();
    let keep = tower::service_fn(async |request: Request<Body>| {
        let presented = request.extensions().get::<Presented>().unwrap().clone();
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(presented);
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = bearer(&text(&secret));
    let response = AuthnLayer::new(programs.authn.clone()).layer(keep).oneshot(request).await.unwrap();
    let presented = response.extensions().get::<Presented>().unwrap();
    assert_eq!(&*programs.authn.authenticate_presented(presented).await.unwrap().subject, "p");
    programs.store.revoke(&info.id, "bob").unwrap();
    let refusal = programs.authn.authenticate_presented(presented).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::InvalidToken);
}

#[tokio::test]
async fn another_process_makes_and_revokes_within_a_second() {
    let programs = Programs::new();
    let other = programs.another();
    let (secret, info) = other.create(&new("p")).unwrap();
    let secret = text(&secret);
    let within = async |wanted: bool| {
        let start = Instant::now();
        loop {
            // However long an answer takes on a busy machine, the question counts.
            let asked = start.elapsed();
            if programs.ask(&secret).await.is_ok() == wanted {
                break;
            }
            assert!(asked < Duration::from_millis(1010), "it took longer than a second");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(true).await;
    other.revoke(&info.id, "bob").unwrap();
    within(false).await;
}

#[tokio::test]
async fn the_file_holds_no_secret_and_is_its_owners_alone() {
    let programs = Programs::new();
    let (secret, _) = programs.store.create(&new("p")).unwrap();
    let secret = text(&secret);
    assert_eq!(secret.len(), 53);
    assert!(secret.starts_with("gwd_"));
    for entry in std::fs::read_dir(programs.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!contains(&bytes, &secret.as_bytes()[4..20]), "{}", path.display());
        assert_private(&path);
    }
    assert!(!format!("{:?}{:?}", programs.store, programs.store.list()).contains(&secret[4..20]));
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(unix)]
fn assert_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
}

#[cfg(not(unix))]
fn assert_private(_path: &Path) {}

#[tokio::test]
async fn last_use_is_kept_to_the_minute() {
    let programs = Programs::new();
    let (secret, _) = programs.store.create(&new("p")).unwrap();
    assert_eq!(programs.store.list().unwrap()[0].last_used, None);
    let first = programs.clock.now();
    programs.ask(&text(&secret)).await.unwrap();
    programs.clock.advance(Duration::from_secs(30));
    programs.ask(&text(&secret)).await.unwrap();
    assert_eq!(programs.store.list().unwrap()[0].last_used, Some(first));
    let other = programs.another();
    assert_eq!(other.list().unwrap()[0].last_used, None, "not written yet");
    programs.store.keep_last_used().unwrap();
    assert_eq!(other.list().unwrap()[0].last_used, Some(first));
    programs.clock.advance(Duration::from_secs(31));
    programs.ask(&text(&secret)).await.unwrap();
    assert_eq!(programs.store.list().unwrap()[0].last_used, Some(programs.clock.now()));
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_made() {
    let programs = Programs::new();
    let changes: [fn(&mut NewToken); 7] = [
        |new| new.subject.clear(),
        |new| "local-admin".clone_into(&mut new.subject),
        |new| "a\nb".clone_into(&mut new.subject),
        |new| new.subject = "s".repeat(256),
        |new| new.groups.push(String::new()),
        |new| new.ttl = Duration::ZERO,
        |new| new.ttl = Duration::MAX,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut bad = new("p");
        change(&mut bad);
        assert!(matches!(programs.store.create(&bad), Err(Error::NewToken(_))), "{at}");
    }
    assert!(programs.store.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_store_that_cannot_be_read_lets_nobody_in() {
    let programs = Programs::new();
    let (secret, _) = programs.store.create(&new("p")).unwrap();
    assert!(programs.ask(&text(&secret)).await.is_ok());
    // Another program spoils the table.
    let raw = rusqlite::Connection::open(programs.path()).unwrap();
    raw.execute_batch("ALTER TABLE token RENAME TO gone").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refusal = programs.ask(&text(&secret)).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable);
    assert!(!programs.authn.ready());
    raw.execute_batch("ALTER TABLE gone RENAME TO token").unwrap();
    assert!(programs.ask(&text(&secret)).await.is_ok(), "and is back when the table is");
}

#[tokio::test]
async fn a_store_that_was_replaced_lets_nobody_in() {
    let programs = Programs::new();
    let (secret, _) = programs.store.create(&new("p")).unwrap();
    for entry in std::fs::read_dir(programs.directory.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    programs.another();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refusal = programs.ask(&text(&secret)).await.unwrap_err();
    assert_eq!(refusal.code(), RefusalCode::IdentityProviderUnavailable);
}

#[test]
fn files_that_are_no_store_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    std::fs::write(&path, "this is not a database, but it is longer than a header of one would be...")
        .unwrap();
    assert!(matches!(TokenStore::open(&path, Arc::new(clock())), Err(Error::Store { .. })));
    let newer = directory.path().join("newer.db");
    rusqlite::Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
    assert!(matches!(TokenStore::open(&newer, Arc::new(clock())), Err(Error::NewerStore { found: 9, .. })));
    let nowhere = directory.path().join("no/such/place.db");
    assert!(matches!(TokenStore::open(nowhere, Arc::new(clock())), Err(Error::Store { .. })));
}

#[test]
fn two_processes_may_make_the_store_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens.db");
    std::thread::scope(|scope| {
        let opened: Vec<_> = (0..8)
            .map(|i| {
                let path = &path;
                scope.spawn(move || {
                    let store = TokenStore::open(path, Arc::new(clock())).unwrap();
                    store.create(&new(&format!("p{i}"))).unwrap();
                })
            })
            .collect();
        opened.into_iter().for_each(|thread| thread.join().unwrap());
    });
    assert_eq!(TokenStore::open(&path, Arc::new(clock())).unwrap().list().unwrap().len(), 8);
}

/// Keeps what it is told, unless it is broken.
#[derive(Default)]
struct Keeper {
    events: Mutex<Vec<Event>>,
    broken: bool,
}

impl Journal for Keeper {
    fn record(&self, event: Event) -> BoxFuture<'_, Result<(), JournalError>> {
        let outcome = if self.broken { Err(JournalError("full".to_owned())) } else { Ok(()) };
        self.events.lock().unwrap().push(event);
        Box::pin(std::future::ready(outcome))
    }

    fn claimed(&self, _claim: &Claim) -> BoxFuture<'_, Result<Option<RequestId>, JournalError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[tokio::test]
async fn nothing_is_made_or_revoked_that_the_journal_did_not_take() {
    let programs = Programs::new();
    let journal = Keeper::default();
    let (secret, info) = programs.store.create_recorded(&new("p"), None, &journal).await.unwrap();
    let broken = Keeper { broken: true, ..Keeper::default() };
    assert!(programs.store.create_recorded(&new("q"), None, &broken).await.is_err());
    assert!(programs.store.revoke_recorded(&info.id, "bob", None, &broken).await.is_err());
    assert_eq!(programs.store.list().unwrap().len(), 1);
    assert!(programs.ask(&text(&secret)).await.is_ok());
    programs.store.revoke_recorded(&info.id, "bob", None, &journal).await.unwrap();
    assert!(programs.ask(&text(&secret)).await.is_err());
    let events = journal.events.lock().unwrap();
    let kinds: Vec<_> = events.iter().map(|event| (event.kind, &*event.object)).collect();
    assert_eq!(kinds, [(EventKind::TokenCreated, &*info.id), (EventKind::TokenRevoked, &*info.id)]);
}

#[tokio::test]
async fn the_local_administrators_key_opens_one_handle_only() {
    let programs = Programs::new();
    let (key, admin) = LocalAdmin::generate(&["platform-admins".to_owned()]).unwrap();
    let key = text(&key);
    let for_admins = programs.authn.with_local_admin(admin.clone());
    let who = for_admins.authenticate(&bearer(&key)).await.unwrap();
    assert_eq!(who.kind, IdentityKind::LocalAdmin);
    assert!(who.in_group("platform-admins"));
    assert!(programs.ask(&key).await.is_err(), "the handle for callers does not know it");
    let again = LocalAdmin::from_hex(&admin.to_hex(), &[]).unwrap();
    assert!(programs.authn.with_local_admin(again).authenticate(&bearer(&key)).await.is_ok());
    let read = LocalAdmin::from_key(&Secret::new(format!("{key}\n").into_bytes()), &[]).unwrap();
    assert_eq!(read.to_hex(), admin.to_hex());
    let (_, other) = LocalAdmin::generate(&[]).unwrap();
    assert!(programs.authn.with_local_admin(other).authenticate(&bearer(&key)).await.is_err());
    assert!(matches!(LocalAdmin::from_hex("abc", &[]), Err(Error::AdminKey)));
    assert!(!format!("{admin:?}").contains(&admin.to_hex()));
}
