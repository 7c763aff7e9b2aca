//! Hold, then park; attach again; restart; hang up; limits.

use std::time::Duration;

use bytes::Bytes;
use gatewayd_approvals::{Filter, State, Verdict};
use gatewayd_core::{Body, Effect, EventKind};

use crate::world::{Ask, Mode, World, alice, ask, bob, carol, person};

#[tokio::test]
async fn what_policy_allows_passes_straight_through() {
    let world = World::new();
    let mut request = Ask::new("quick", "{}");
    request.effect = Effect::Allow;
    request.reasons = vec!["because"];
    assert!(world.send(request.request()).await.passed());
    assert!(world.approvals.list(&Filter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_policy_denies_or_did_not_decide_is_refused() {
    let world = World::new();
    let mut denied = Ask::new("quick", "{}");
    denied.effect = Effect::Deny;
    assert_eq!(world.send(denied.request()).await.code(), "403 policy_denied");
    let mut undecided = ask("quick", "{}");
    undecided.extensions_mut().remove::<gatewayd_core::Decision>();
    assert_eq!(world.send(undecided).await.code(), "500 misconfigured");
    let mut nobody = Ask::new("quick", "{}");
    nobody.identity = None;
    assert_eq!(world.send(nobody.request()).await.code(), "500 misconfigured");
    assert_eq!(world.send(ask("no-such-requirement", "{}")).await.code(), "500 misconfigured");
    assert_eq!(world.upstream.seen(), 0);
}

#[tokio::test]
async fn held_until_two_people_agree_and_sent_on_unchanged() {
    let world = World::new();
    let mut request = Ask::new("two-people", r#"{"n": 1}"#);
    request.reasons = vec!["because"];
    let held = world.start(request.request());
    let id = world.pending().await;
    world.yes(&id, &bob()).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!held.is_finished(), "one of two is not enough");
    assert_eq!(world.approvals.held(), 1);
    world.yes(&id, &carol()).await;
    let answer = held.await.unwrap();
    assert!(answer.passed());
    assert_eq!(answer.body, r#"{"n": 1}"#);
    assert_eq!(world.state(&id).await, State::Consumed);
    assert_eq!(world.approvals.held(), 0);
    assert_eq!(
        world.journal.lines(),
        [
            "approval-requested alice two-people",
            "approval-vote bob approve",
            "approval-vote carol approve",
            "approval-state - approved",
            "approval-state - consumed",
        ]
    );
}

#[tokio::test]
async fn parked_with_everything_needed_to_go_on_and_attached_again() {
    let world = World::new();
    let parked = world.send(ask("quick", "{}")).await;
    assert_eq!(parked.code(), "403 approval_pending");
    let id = parked.id();
    assert_eq!(parked.error()["approval_url"], format!("https://admin.example/approvals/{id}"));
    assert_eq!(parked.error()["rule"], "training-needs-approval");
    assert_eq!(parked.error()["approval_seconds_left"], "3600");
    assert_eq!(parked.headers["retry-after"], "30");
    assert_eq!(parked.headers["x-should-retry"], "false");
    assert_eq!(
        world.send(ask("quick", "{}")).await.id(),
        id,
        "the same request attaches to the same approval"
    );
    world.yes(&id, &bob()).await;
    assert!(world.send(ask("quick", "{}")).await.passed());
    let again = world.send(ask("quick", "{}")).await;
    assert_eq!(again.code(), "403 approval_pending");
    assert_ne!(again.id(), id, "an approval is used once");
    assert_eq!(world.journal.count(EventKind::ApprovalRequested), 2);
    let view = world.approvals.show(&again.id()).await.unwrap();
    assert_eq!(view.before.unwrap().state, State::Consumed, "people see that the same passed before");
}

#[tokio::test]
async fn any_other_request_is_another_approval() {
    let world = World::new();
    let first = world.send(ask("quick", "{}")).await.id();
    world.yes(&first, &bob()).await;
    let changes: [fn(&mut Ask); 9] = [
        |ask| ask.requirement = "window",
        |ask| ask.body = Body::from("{} "),
        |ask| ask.body = Body::empty(),
        |ask| ask.path = "/v1/fine_tuning/jobs?x=1",
        |ask| ask.model = "llama-4",
        |ask| ask.policy_version = "v2",
        |ask| ask.content_type = "text/plain",
        |ask| ask.identity = Some(person("mallory", &["ml-eng"])),
        |ask| {
            let mut other = alice();
            other.issuer = "https://other.example".into();
            ask.identity = Some(other);
        },
    ];
    let mut ids = vec![first];
    for change in changes {
        let mut request = Ask::new("quick", "{}");
        change(&mut request);
        let answer = world.send(request.request()).await;
        assert_eq!(answer.code(), "403 approval_pending");
        assert!(!ids.contains(&answer.id()), "no two of them share an approval");
        ids.push(answer.id());
    }
    assert_eq!(world.upstream.seen(), 0);
    assert!(world.send(ask("quick", "{}")).await.passed());
}

#[tokio::test]
async fn an_upload_sent_again_with_another_boundary_is_the_same_request() {
    let world = World::new();
    let upload = |boundary: &str, text: &str| {
        let mut upload = Ask::new("quick", "");
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{text}\r\n--{boundary}--\r\n"
        );
        upload.body = Body::from(body);
        let mut request = upload.request();
        let content_type = format!("multipart/form-data; boundary={boundary}");
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request
    };
    let id = world.send(upload("aaa", "x,y")).await.id();
    world.yes(&id, &bob()).await;
    assert_ne!(world.send(upload("aaa", "x,z")).await.id(), id);
    let answer = world.send(upload("bbb", "x,y")).await;
    assert!(answer.passed());
    assert!(answer.body.starts_with(b"--bbb"), "what is sent on is what was sent last");
}

#[tokio::test]
async fn a_restart_while_a_request_is_held() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    world.yes(&id, &bob()).await;
    world.approvals.shutdown();
    let answer = held.await.unwrap();
    assert_eq!(answer.code(), "503 shutting_down");
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(world.send(ask("two-people", "{}")).await.code(), "503 shutting_down", "and no more are held");

    let next_run = World { approvals: world.another(), ..world };
    next_run.approvals.recover().await.unwrap();
    let again = next_run.start(ask("two-people", "{}"));
    next_run.yes(&id, &carol()).await;
    assert!(again.await.unwrap().passed(), "the vote of before the restart counts");
}

#[tokio::test]
async fn another_process_decides() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    let other = world.another();
    other.vote(&id, &bob(), Verdict::Approve, "").await.unwrap();
    other.vote(&id, &carol(), Verdict::Approve, "").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(60), held).await.unwrap().unwrap().passed());
}

#[tokio::test]
async fn a_caller_who_hangs_up_cancels_nothing() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    held.abort();
    assert!(held.await.is_err());
    assert_eq!(world.approvals.held(), 0);
    world.yes(&id, &bob()).await;
    world.yes(&id, &carol()).await;
    assert!(world.send(ask("two-people", "{}")).await.passed());
}

#[tokio::test]
async fn time_runs_out() {
    let world = World::new();
    let held = world.start(ask("two-people", "{}"));
    let id = world.pending().await;
    world.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(held.await.unwrap().code(), "403 approval_expired");
    assert_eq!(world.state(&id).await, State::Expired);
    world.approvals.sweep().await.unwrap();
    assert_eq!(world.journal.lines().last().unwrap(), "approval-state - expired");

    let parked = world.send(ask("quick", "{}")).await.id();
    world.yes(&parked, &bob()).await;
    world.clock.advance(Duration::from_secs(3600));
    let anew = world.send(ask("quick", "{}")).await;
    assert_eq!(anew.code(), "403 approval_pending", "what was agreed to does not hold for ever");
    assert_ne!(anew.id(), parked);
    assert_eq!(world.state(&parked).await, State::Expired);
    let expired = Filter { states: vec![State::Expired], ..Filter::default() };
    assert_eq!(world.approvals.list(&expired).await.unwrap().len(), 2);
}

#[tokio::test]
async fn limits_hold() {
    let world = World::with(|config| {
        config.max_held = 1;
        config.max_pending_per_caller = 2;
        config.body_limit = 1000;
    });
    let held = world.start(ask("two-people", "{}"));
    let _id = world.pending().await;
    let busy = world.send(ask("two-people", "{}")).await;
    assert_eq!(busy.code(), "429 too_many_requests");
    assert_eq!(busy.headers["retry-after"], "5");
    held.abort();
    let _aborted = held.await;

    assert_eq!(world.send(ask("quick", "1")).await.code(), "403 approval_pending");
    assert_eq!(
        world.send(ask("quick", "2")).await.code(),
        "429 too_many_requests",
        "two are enough for one caller"
    );
    let mut other = Ask::new("quick", "2");
    other.identity = Some(person("dave", &["ml-eng"]));
    assert_eq!(world.send(other.request()).await.code(), "403 approval_pending");

    let mut large = Ask::new("quick", "");
    large.body = Body::from("x".repeat(1001));
    assert_eq!(world.send(large.request()).await.code(), "413 body_too_large");
    let mut twice = Ask::new("quick", "{}");
    twice.reasons = vec!["one", "two"];
    assert_eq!(world.send(twice.request()).await.code(), "400 invalid_request");
}

#[tokio::test]
async fn one_caller_cannot_take_every_place() {
    let world = World::with(|config| config.max_held_per_caller = 2);
    let held = [world.start(ask("two-people", "{}")), world.start(ask("two-people", "{}"))];
    while world.approvals.held() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "429 too_many_requests");
    let mut other = Ask::new("quick", "{}");
    other.identity = Some(person("dave", &["ml-eng"]));
    assert_eq!(world.send(other.request()).await.code(), "403 approval_pending");
    for one in held {
        one.abort();
        let _aborted = one.await;
    }
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "403 approval_pending", "places are given back");
}

#[tokio::test]
async fn a_large_body_waits_on_disk_and_arrives_whole() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().to_owned();
    let world = World::with(|config| config.spool_dir = Some(spool));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| b'a' + u8::try_from(i % 23).unwrap()).collect();
    let stream = |bytes: &[u8]| {
        let pieces: Vec<Bytes> = bytes.chunks(70_001).map(Bytes::copy_from_slice).collect();
        let mut large = Ask::new("quick", "");
        large.body = Body::new(Pieces(pieces.into_iter()));
        large.request()
    };
    let id = world.send(stream(&bytes)).await.id();
    world.yes(&id, &bob()).await;
    let mut changed = bytes.clone();
    changed[2_999_999] = b'!';
    assert_ne!(world.send(stream(&changed)).await.id(), id, "also the last byte counts");
    let answer = world.send(stream(&bytes)).await;
    assert!(answer.passed());
    assert!(answer.body == bytes, "every byte arrives");
    assert!(world.approvals.show(&id).await.unwrap().body.preview.unwrap().truncated);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

/// A body that comes in pieces.
struct Pieces<I>(I);

impl<I: Iterator<Item = Bytes> + Unpin> http_body::Body for Pieces<I> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        std::task::Poll::Ready(self.0.next().map(|piece| Ok(http_body::Frame::data(piece))))
    }
}

#[tokio::test]
async fn nothing_is_asked_or_passed_without_evidence() {
    let world = World::new();
    world.journal.break_down(true);
    assert_eq!(world.send(ask("quick", "{}")).await.code(), "503 recorder_unavailable");
    assert!(world.approvals.list(&Filter::default()).await.unwrap().is_empty());
    world.journal.break_down(false);
    let id = world.send(ask("quick", "{}")).await.id();
    world.journal.break_down(true);
    assert!(world.approvals.vote(&id, &bob(), Verdict::Approve, "").await.is_err());
    world.journal.break_down(false);
    assert_eq!(world.state(&id).await, State::Pending, "a vote that is not recorded does not count");
    world.upstream.mode(Mode::Echo);
    world.yes(&id, &bob()).await;
    assert!(world.send(ask("quick", "{}")).await.passed());
}
