//! What people see.

use gatewayd_approvals::{Config, Filter, Requirement, Seats, State};
use gatewayd_core::Body;

use crate::world::{Ask, World, alice, ask, bob, carol, config, person};

#[tokio::test]
async fn people_see_who_what_and_why_and_no_secret() {
    let world = World::new();
    let mut request = Ask::new("quick", r#"{"prompt": "use SECRET"}"#);
    request.reasons = vec!["audit\u{202e} \tof SECRET"];
    request.path = "/v1/fine_tuning/jobs?tag=SECRET&key=hunter2";
    request.model = "llama\u{202e}SECRET";
    request.content_type = "application/json; x=SECRET";
    request.headers =
        vec![("openai-beta", "a=SECRET"), ("x-team-token", "hunter2"), ("x-stainless-lang", "SECRET")];
    let mut request = request.request();
    *request.method_mut() = http::Method::from_bytes(b"SECRET").unwrap();
    let id = world.send(request).await.id();
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!(view.requester, Some(alice()));
    assert_eq!(view.method, "[masked]");
    assert_eq!(view.body.content_type.as_deref(), Some("application/json; x=[masked]"));
    let headers: Vec<_> = view.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("content-type", "application/json; x=[masked]"),
            ("openai-beta", "a=[masked]"),
            ("x-team-token", "(not shown, 7 bytes)"),
        ]
    );
    assert_eq!(view.reason.as_deref(), Some("audit\\u202e  of [masked]"));
    assert_eq!(view.path, "/v1/fine_tuning/jobs?tag=[masked]&key=[REDACTED:query-credential]");
    assert_eq!(view.model.as_deref(), Some("llama\\u202e[masked]"));
    assert_eq!((view.action.as_str(), view.dialect, view.upstream.as_str()), ("train", "openai", "llama"));
    assert_eq!((view.rule.as_str(), view.takes.as_str()), ("training-needs-approval", "1 of ml-leads"));
    assert_eq!(view.covers, "exactly this request, once");
    assert_eq!(view.seconds_left, 3600);
    let body = view.body.preview.as_ref().unwrap();
    assert_eq!((body.text.as_str(), body.truncated), (r#"{"prompt": "use [masked]"}"#, false));
    assert_eq!(view.url, format!("https://admin.example/approvals/{id}"));
    assert!(
        view.may_be_decided_by(&bob())
            && !view.may_be_decided_by(&alice())
            && !view.may_be_decided_by(&carol())
    );
    let json = serde_json::to_string(&view).unwrap();
    assert!(!json.contains("SECRET") && json.contains(r#""state":"pending""#));
    for entry in std::fs::read_dir(world.path.parent().unwrap()).unwrap() {
        let stored = std::fs::read(entry.unwrap().path()).unwrap();
        let holds = |text: &[u8]| stored.windows(text.len()).any(|window| window == text);
        assert!(!holds(b"SECRET") && !holds(b"hunter2"), "nothing unmasked is stored");
    }
}

#[tokio::test]
async fn people_see_what_changed_since_they_last_agreed() {
    let world = World::new();
    let first = world.send(ask("quick", r#"{"epochs": 1, "data": "a"}"#)).await.id();
    assert!(world.approvals.show(&first).await.unwrap().changes.is_none());
    world.yes(&first, &bob()).await;
    world.clock.advance(std::time::Duration::from_secs(1));
    let second = world.send(ask("quick", r#"{"epochs": 9, "data": "a"}"#)).await.id();
    let changes = world.approvals.show(&second).await.unwrap().changes.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].at.as_str(), changes[0].after.as_deref()), ("/epochs", Some("9")));
    for other in [r#"{"data": "a", "epochs": 1}"#, r#"{"epochs": 1, "data": "a", "data": "a"}"#] {
        let id = world.send(ask("quick", other)).await.id();
        let changes = world.approvals.show(&id).await.unwrap().changes.unwrap();
        assert!(!changes.is_empty(), "other bytes are never called the same: {other}");
    }
    let mut third = Ask::new("quick", r#"{"epochs": 1, "data": "a"}"#);
    third.headers = vec![("openai-beta", "x")];
    let third = world.send(third.request()).await.id();
    let changes = world.approvals.show(&third).await.unwrap().changes.unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].at.as_str(), changes[0].after.as_deref()), ("header openai-beta", Some("x")));
}

#[tokio::test]
async fn lists_can_be_narrowed() {
    let world = World::new();
    let mine = world.send(ask("quick", "{}")).await.id();
    let mut other = Ask::new("quick", "{}");
    other.identity = Some(person("dave", &["ml-eng"]));
    let theirs = world.send(other.request()).await.id();
    world.yes(&mine, &bob()).await;
    let ids = |filter: Filter| {
        let approvals = world.approvals.clone();
        async move { approvals.list(&filter).await.unwrap().into_iter().map(|v| v.id).collect::<Vec<_>>() }
    };
    assert_eq!(ids(Filter::default()).await, [&*theirs, &*mine]);
    let pending = Filter { states: vec![State::Pending], ..Filter::default() };
    assert_eq!(ids(pending).await, [&*theirs]);
    let asked_by_alice = Filter { requester: Some(alice()), ..Filter::default() };
    assert_eq!(ids(asked_by_alice).await, [&*mine]);
    let concerning = |person| Filter { concerning: Some(person), ..Filter::default() };
    assert_eq!(ids(concerning(alice())).await, [&*mine]);
    assert_eq!(ids(concerning(bob())).await, [&*theirs, &*mine]);
    assert!(ids(concerning(carol())).await.is_empty());
    assert!(world.approvals.is_approver(&bob()) && !world.approvals.is_approver(&alice()));
}

#[tokio::test]
async fn what_is_not_text_is_not_shown() {
    let world = World::new();
    let mut request = Ask::new("quick", "");
    request.body = Body::from(bytes::Bytes::from_static(b"\x00\x01\x02\x1b[31m"));
    request.content_type = "application/octet-stream";
    let id = world.send(request.request()).await.id();
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!(view.body.length, 8);
    assert_eq!(view.body.preview.unwrap().text, r"\u0000\u0001\u0002\u001b[31m", "controls are seen");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let _id = world.send(ask("quick", "{}")).await.id();
    for entry in std::fs::read_dir(world.path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

#[test]
fn wrong_settings_are_named() {
    let open = |change: fn(&mut Config)| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config();
        change(&mut config);
        let journal = std::sync::Arc::new(gatewayd_core::NullJournal);
        let clock = std::sync::Arc::new(gatewayd_core::SystemClock);
        let path = folder.path().join("a.db");
        let result =
            gatewayd_approvals::Approvals::open(&path, config, journal, std::sync::Arc::new(Nothing), clock);
        result.err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (change, part) in [
        (
            (|c| drop(c.requirements.insert("new".into(), Requirement::all_of(vec![])))) as fn(&mut Config),
            "`approvers`",
        ),
        (
            |c| drop(c.requirements.insert("new".into(), Requirement::all_of(vec![Seats::new("*", 1)]))),
            "name a group",
        ),
        (
            |c| drop(c.requirements.insert("new".into(), Requirement::all_of(vec![Seats::new("a", 0)]))),
            "at least 1",
        ),
        (|c| drop(c.requirements.insert("new".into(), Requirement::all_of(vec![Seats::new("a", 33)]))), "32"),
        (|c| c.requirements.get_mut("quick").unwrap().expires = std::time::Duration::ZERO, "`expires`"),
        (|c| c.max_held = 0, "`max_held`"),
    ] {
        let error = open(change);
        assert!(error.contains(part), "{error:?} names {part}");
    }
}

struct Nothing;

impl gatewayd_core::Redact for Nothing {
    fn start(&self, _: Option<&str>) -> Box<dyn gatewayd_core::RedactStream> {
        unreachable!("nothing is masked here")
    }
}
