//! What passes through the layers is in the log, and nothing passes that is not.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewayd_core::{Action, Body, Event, EventKind, Journal as _, MaskCount, Trail};
use gatewayd_recorder::{Error, Filter, Reader};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use rig::{channel, echo_len, identity, open, request, send, stack, until, with};
use tower::ServiceExt as _;

fn ending(reader: &Reader, id: gatewayd_core::RequestId) -> String {
    reader.show(id).map_or_else(|e| e.to_string(), |bundle| bundle.summary.ending.to_owned())
}

#[tokio::test]
async fn a_request_is_shown_and_replayed_masked() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |request: Request<Body>| async move {
        let trail = request.extensions().get::<Trail>().unwrap().clone();
        trail.mask(&"jwt".into(), 2);
        echo_len(request).await
    });
    let (id, status, body) = send(&stack, request("alice", "tell me a secret")).await;
    assert_eq!((status, &body[..]), (200, &b"{\"got\":16}"[..]));
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || ending(&reader, id) == "complete").await;

    let bundle = reader.show(id).unwrap();
    let summary = &bundle.summary;
    assert_eq!(summary.subject.as_deref(), Some("alice"));
    assert_eq!(summary.groups, ["ml-eng", "staff"]);
    assert_eq!((summary.action, summary.model.as_deref()), (Some("infer"), Some("llama")));
    assert_eq!((summary.rule.as_deref(), summary.effect), (Some("ml-eng-may-infer"), Some("allow")));
    assert_eq!((summary.status, summary.masked, summary.altered), (200, 2, false));
    assert_eq!((summary.request_bytes, summary.response_bytes), (16, 10));
    assert_eq!(bundle.credential_version.as_deref(), Some("v1"));
    assert_eq!(bundle.masks, [MaskCount { rule: "jwt".into(), count: 2 }]);
    assert!(bundle.first_byte_us > 0 && summary.duration_us >= bundle.first_byte_us);

    let replay = reader.replay(id).unwrap();
    assert_eq!(replay.request.iter().map(|f| &f.bytes[..]).collect::<Vec<_>>().concat(), b"tell me a ******");
    assert_eq!(replay.response[0].bytes, b"{\"got\":16}");
    recorder.close();
    for entry in walk(dir.path()) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"secret"), "{} holds the secret", entry.display());
        assert!(!bytes.windows(9).any(|w| w == b"tell me a"), "{} holds plain text", entry.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

#[tokio::test]
async fn a_list_is_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |request: Request<Body>| async move {
        if request.headers().contains_key("x-mask") {
            request.extensions().get::<Trail>().unwrap().mask(&"aws".into(), 1);
        }
        echo_len(request).await
    });
    let (alice, ..) = send(&stack, request("alice", "1")).await;
    let (bob, ..) = send(&stack, with(request("bob", "2"), "x-action", "embed")).await;
    let (masked, ..) = send(&stack, with(request("bob", "3"), "x-mask", "1")).await;
    let (refused, status, _) = send(&stack, with(request("bob", "no"), "x-refuse", "1")).await;
    assert_eq!(status, 403);
    let reader = Reader::open(dir.path()).unwrap();
    until("all outcomes", || reader.list(&Filter::default()).unwrap().iter().all(|s| s.ending != "open"))
        .await;
    let ids = |filter: Filter| reader.list(&filter).unwrap().into_iter().map(|s| s.id).collect::<Vec<_>>();
    assert_eq!(ids(Filter::default()), [refused, masked, bob, alice], "newest first");
    assert_eq!(ids(Filter { subject: Some("alice".into()), ..Filter::default() }), [alice]);
    assert_eq!(ids(Filter { subject: Some("lice".into()), ..Filter::default() }), []);
    assert_eq!(ids(Filter { action: Some(Action::Embed), ..Filter::default() }), [bob]);
    assert_eq!(ids(Filter { status: Some(403), ..Filter::default() }), [refused]);
    assert_eq!(ids(Filter { masked_rule: Some("aws".into()), ..Filter::default() }), [masked]);
    assert_eq!(ids(Filter { group: Some("nobody".into()), ..Filter::default() }), []);
    assert_eq!(ids(Filter { limit: 2, ..Filter::default() }), [refused, masked]);
    let time = reader.show(bob).unwrap().summary.time;
    assert_eq!(ids(Filter { until: Some(time), ..Filter::default() }), [alice]);
    let bundle = reader.show(refused).unwrap();
    assert_eq!((bundle.summary.ending, bundle.summary.refusal), ("refused", Some("policy_denied")));
    let replay = reader.replay(refused).unwrap();
    assert_eq!(replay.request[0].bytes, b"no");
    assert!(String::from_utf8_lossy(&replay.response[0].bytes).contains("policy_denied"));
}

#[tokio::test]
async fn the_timing_of_a_stream_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for n in 0..20 {
                tokio::time::sleep(Duration::from_millis(if n == 10 { 1200 } else { 10 })).await;
                sender.send(Ok(format!("data: {n}\n\n").into())).unwrap();
            }
        });
        Response::new(body)
    });
    let began = std::time::Instant::now();
    let (id, ..) = send(&stack, request("alice", "")).await;
    let took = began.elapsed();
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || ending(&reader, id) == "complete").await;
    let frames = reader.replay(id).unwrap().response;
    assert_eq!(frames.len(), 20);
    assert_eq!(frames[19].bytes, b"data: 19\n\n");
    let pause = Duration::from_micros(frames[10].delta_us);
    assert!(pause >= Duration::from_millis(1190), "{pause:?}");
    let all = Duration::from_micros(frames.iter().map(|frame| frame.delta_us).sum());
    assert!(all <= took, "{all:?} of {took:?}");
    assert!(reader.show(id).unwrap().stored_response.blocks >= 2, "the slow part was written before the end");
}

#[tokio::test]
async fn how_it_ended_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack(&recorder, move |_| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        async { Response::new(body) }
    });
    let ask = || async { stack.clone().oneshot(request("alice", "x")).await.unwrap() };

    let response = ask().await;
    let id = rig::id_of(&response);
    bodies.recv().await.unwrap().send(Ok("some".into())).unwrap();
    drop(response);
    until("client gone", || ending(&reader, id) == "client-gone").await;

    let response = ask().await;
    let id = rig::id_of(&response);
    bodies.recv().await.unwrap().send(Err("reset".into())).unwrap();
    assert!(response.into_body().collect().await.is_err());
    until("upstream cut", || ending(&reader, id) == "upstream-cut").await;

    let response = ask().await;
    let id = rig::id_of(&response);
    let _sender = bodies.recv().await.unwrap();
    recorder.close();
    assert_eq!(ending(&reader, id), "interrupted");
    drop(response);
}

#[tokio::test]
async fn who_hangs_up_with_the_last_event_in_hand_has_had_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack(&recorder, move |_| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        async { rig::events(body) }
    });
    for (pieces, wanted) in [
        (&["data: {\"a\":1}\n\n", "data: [DONE]\n\n"][..], "complete"),
        (&["data: {\"a\":1}\n\ndata: [DO", "NE]\n", "\n"], "complete"),
        (&["event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"], "complete"),
        (&["event: message_stop\ndata: {\"type\":\"mess", "age_stop\"        }\n", "\n"], "complete"),
        (&["event: message_stop\ndata: {\"type\":\"message_stop\""], "client-gone"),
        (&["event: response.completed\nda", "ta: {\"response\":{}}\n", "\n"], "complete"),
        (&["event: response.completed\ndata: {\"response\":{}}"], "client-gone"),
        (&["data: {\"a\":\"data: [DONE]\"}\n\n"], "client-gone"),
        (&["data: [DONE]\n\n", "data: more\n\n"], "client-gone"),
    ] {
        let response = stack.clone().oneshot(request("alice", "x")).await.unwrap();
        let id = rig::id_of(&response);
        let sender = bodies.recv().await.unwrap();
        let mut body = response.into_body();
        for piece in pieces {
            sender.send(Ok((*piece).into())).unwrap();
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        until("the outcome", || matches!(&*ending(&reader, id), "complete" | "client-gone")).await;
        assert_eq!(ending(&reader, id), wanted, "{pieces:?}");
    }
}

#[tokio::test]
async fn what_is_no_stream_of_events_has_no_last_event() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack(&recorder, move |_| {
        let (sender, body) = channel();
        senders.send(sender).unwrap();
        async { Response::new(body) }
    });
    let response = stack.oneshot(request("alice", "x")).await.unwrap();
    let id = rig::id_of(&response);
    let sender = bodies.recv().await.unwrap();
    let mut body = response.into_body();
    sender.send(Ok("data: [DONE]\n\n".into())).unwrap();
    body.frame().await.unwrap().unwrap();
    drop(body);
    until("client gone", || ending(&reader, id) == "client-gone").await;
}

#[tokio::test]
async fn an_answer_is_whole_with_its_trailers() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let reader = Reader::open(dir.path()).unwrap();
    let stack = stack(&recorder, |_| async {
        let (sender, body) = channel();
        sender.send(Ok("hello".into())).unwrap();
        let trailers = http::HeaderMap::from_iter([(http::header::ETAG, "x".parse().unwrap())]);
        Response::new(Body::new(body.with_trailers(std::future::ready(Some(Ok(trailers))))))
    });
    let response = stack.oneshot(request("alice", "x")).await.unwrap();
    let id = rig::id_of(&response);
    let mut body = response.into_body();
    // As a server does that has seen trailers: nothing can follow them.
    while body.frame().await.unwrap().unwrap().is_data() {}
    drop(body);
    until("the outcome", || ending(&reader, id) != "open").await;
    assert_eq!(ending(&reader, id), "complete");
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| std::future::pending());
    let call = stack.clone().oneshot(request("alice", "x"));
    assert!(tokio::time::timeout(Duration::from_millis(100), call).await.is_err());
    let reader = Reader::open(dir.path()).unwrap();
    let gone = || reader.list(&Filter::default()).unwrap().first().map(|s| (s.ending, s.status));
    until("client gone", || gone() == Some(("client-gone", 0))).await;
}

#[tokio::test]
async fn bodies_without_frames_end() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async { Response::new(Body::empty()) });
    let (id, ..) = send(&stack, request("alice", "")).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || ending(&reader, id) == "complete").await;
    assert_eq!(reader.replay(id).unwrap().response, []);
}

#[tokio::test]
async fn a_refusal_is_recorded_before_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let anonymous = Request::post("/v1/chat/completions?key=secret").body(Body::full("x")).unwrap();
    let (id, status, _) = send(&stack, anonymous).await;
    assert_eq!(status, 401);
    // No waiting: the answer was held back until the entry was there.
    let bundle = Reader::open(dir.path()).unwrap().show(id).unwrap();
    assert_eq!((bundle.summary.status, bundle.summary.refusal), (401, Some("missing_credentials")));
    assert_eq!(bundle.summary.path, "/v1/chat/completions?key=[REDACTED:query-credential]");
    assert_eq!(bundle.summary.subject, None);
}

#[tokio::test]
async fn side_effects_wait_and_inference_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let seen: Arc<std::sync::Mutex<Vec<(bool, usize)>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let path = dir.path().to_owned();
    let stats = recorder.clone();
    let stack = stack(&recorder, move |request: Request<Body>| {
        let id = request.extensions().get::<Trail>().unwrap().id();
        // At the moment of forwarding: is the intent in the log?
        let durable = Reader::open(&path).unwrap().show(id).is_ok();
        kept.lock().unwrap().push((durable, stats.stats().open));
        echo_len(request)
    });
    for _ in 0..20 {
        send(&stack, with(request("alice", "x"), "x-action", "train")).await;
    }
    assert!(
        seen.lock().unwrap().iter().all(|(durable, _)| *durable),
        "forwarded before the intent was durable"
    );
    seen.lock().unwrap().clear();
    for _ in 0..20 {
        let (id, ..) = send(&stack, request("alice", "x")).await;
        assert!(Reader::open(dir.path()).unwrap().show(id).is_ok(), "answered before the intent was durable");
    }
    assert!(
        seen.lock().unwrap().iter().all(|(_, open)| *open == 0),
        "the recorder was at work before the request was on its way"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let forwarded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&forwarded);
    let stack = stack(&recorder, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        echo_len(request)
    });
    let calls = (0..16).map(|_| {
        let stack = stack.clone();
        tokio::spawn(async move { send(&stack, with(request("alice", "x"), "x-claim", "a1")).await })
    });
    let mut statuses = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        statuses.push(call.await.unwrap());
    }
    let passed: Vec<_> = statuses.iter().filter(|(_, status, _)| *status == 200).collect();
    assert_eq!((passed.len(), forwarded.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(statuses.iter().filter(|(_, status, _)| *status == 409).count(), 15);
    let claim = gatewayd_core::Claim { kind: "approval", id: "a1".into() };
    assert_eq!(recorder.claimed(&claim).await.unwrap(), Some(passed[0].0));
    let other = gatewayd_core::Claim { kind: "approval", id: "a2".into() };
    assert_eq!(recorder.claimed(&other).await.unwrap(), None);
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.show(passed[0].0).unwrap().claims, ["approval:a1"]);
    let lost = statuses.iter().find(|(_, status, _)| *status == 409).unwrap();
    assert_eq!(reader.show(lost.0).unwrap().summary.refusal, Some("approval_consumed"));
}

/// Whoever looks at a request that people agreed to sees who did.
#[tokio::test]
async fn who_agreed_to_a_request_is_shown_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (parked, ..) = send(&stack, with(request("alice", "x"), "x-refuse", "yes")).await;
    let tell = |kind, actor: Option<&str>, object: &str, outcome: &str, request| Event {
        kind,
        actor: actor.map(identity),
        object: object.into(),
        outcome: outcome.into(),
        request,
    };
    for event in [
        tell(EventKind::ApprovalRequested, Some("alice"), "a1", "two-people", Some(parked)),
        tell(EventKind::ApprovalRequested, Some("eve"), "a12", "two-people", None),
        tell(EventKind::ApprovalVote, Some("bob"), "a1", "approve", None),
        tell(EventKind::ApprovalVote, Some("eve"), "a12", "deny", None),
        tell(EventKind::ApprovalVote, Some("carol"), "a1", "approve", None),
        tell(EventKind::ApprovalState, None, "a1", "approved", None),
    ] {
        recorder.record(event).await.unwrap();
    }
    let (used, ..) = send(&stack, with(request("alice", "x"), "x-claim", "a1")).await;
    let consumed = tell(EventKind::ApprovalState, None, "a1", "consumed", Some(used));
    recorder.record(consumed).await.unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let wanted = [
        ("gatewayd", "consumed"),
        ("gatewayd", "approved"),
        ("carol", "approve"),
        ("bob", "approve"),
        ("alice", "two-people"),
    ];
    for id in [used, parked] {
        let events = reader.show(id).unwrap().events;
        let told: Vec<_> = events.iter().map(|event| (&*event.actor, &*event.outcome)).collect();
        assert_eq!(told, wanted, "{id}");
    }
}

#[tokio::test]
async fn events_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let event = Event {
        kind: EventKind::ApprovalVote,
        actor: Some(identity("bob")),
        object: "approval-1".into(),
        outcome: "approve, because ".repeat(10).into(),
        request: None,
    };
    recorder.record(event).await.unwrap();
    let events = Reader::open(dir.path()).unwrap().events(None, 10).unwrap();
    assert_eq!((events[0].kind, events[0].actor.as_str()), ("approval-vote", "bob"));
    assert_eq!(events[0].outcome.len(), 170, "the words are whole, beside the digest in the entry");
    let stack = stack(&recorder, echo_len);
    let (id, ..) = send(&stack, request("alice", "x")).await;
    let (kind, outcome) = (EventKind::AdminRead, "shown".into());
    let about =
        Event { kind, actor: Some(identity("carol")), object: "session".into(), outcome, request: Some(id) };
    recorder.record(about).await.unwrap();
    let shown = Reader::open(dir.path()).unwrap().show(id).unwrap().events;
    assert_eq!((shown.len(), shown[0].actor.as_str(), shown[0].request), (1, "carol", Some(id)));
    recorder.close();
    let again = Event {
        kind: EventKind::PolicyChanged,
        actor: None,
        object: "p".into(),
        outcome: "v2".into(),
        request: None,
    };
    assert!(recorder.record(again).await.is_err(), "a closed recorder records nothing");
}

#[tokio::test]
async fn nothing_passes_when_nothing_can_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let forwarded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&forwarded);
    let stack = stack(&recorder, move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        echo_len(request)
    });
    recorder.close();
    let (_, status, body) = send(&stack, request("alice", "x")).await;
    assert_eq!((status, forwarded.load(Ordering::SeqCst)), (503, 0));
    assert!(String::from_utf8_lossy(&body).contains("recorder_unavailable"));
    let (_, status, _) = send(&stack, with(request("alice", "x"), "x-refuse", "1")).await;
    assert_eq!(status, 503, "a refusal that cannot be recorded is not told either");
}

#[tokio::test]
async fn a_stack_without_the_facts_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let lonely = tower::ServiceBuilder::new().layer(gatewayd_recorder::IntentLayer::new(&recorder)).service(
        tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        }),
    );
    let response = lonely.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(response.status(), 500);
}

#[tokio::test]
async fn what_cannot_be_masked_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (id, ..) = send(&stack, request("alice", "this is poison")).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || ending(&reader, id) == "complete").await;
    let bundle = reader.show(id).unwrap();
    assert!(bundle.stored_request.withheld);
    assert_eq!(bundle.stored_request.bytes, 0);
    assert_eq!(reader.replay(id).unwrap().request, []);
}

#[tokio::test]
async fn a_masker_that_panics_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let (id, ..) = send(&stack, request("alice", "this is a bomb")).await;
    let (after, status, _) = send(&stack, request("alice", "and this is not")).await;
    assert_eq!((status, recorder.failure()), (200, None));
    let reader = Reader::open(dir.path()).unwrap();
    until("both outcomes", || ending(&reader, id) == "complete" && ending(&reader, after) == "complete")
        .await;
    assert!(reader.show(id).unwrap().stored_request.withheld);
    assert_eq!(reader.replay(after).unwrap().request[0].bytes, b"and this is not");
}

#[tokio::test]
async fn a_long_body_is_cut_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = gatewayd_recorder::Config { max_body: 100_000, ..rig::config(dir.path()) };
    let recorder = gatewayd_recorder::Recorder::open(config, Arc::new(gatewayd_core::SystemClock)).unwrap();
    let stack = rig::stack_with(&recorder, Arc::new(rig::Plain), |_| async {
        let (sender, body) = channel();
        for n in 0..50_u8 {
            sender.send(Ok(vec![n; 5000].into())).unwrap();
        }
        Response::new(body)
    });
    let big = "x".repeat(150_000);
    let (id, _, body) = send(&stack, request("alice", big)).await;
    assert_eq!(body.len(), 250_000, "the caller gets all");
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || ending(&reader, id) == "complete").await;
    let bundle = reader.show(id).unwrap();
    assert!(bundle.stored_request.cut && bundle.stored_response.cut);
    assert_eq!((bundle.stored_request.bytes, bundle.stored_response.bytes), (100_000, 100_000));
    let replay = reader.replay(id).unwrap();
    let len = |frames: &[gatewayd_recorder::Frame]| frames.iter().map(|f| f.bytes.len()).sum::<usize>();
    assert_eq!((len(&replay.request), len(&replay.response)), (100_000, 100_000));
    assert_eq!(replay.response[19].bytes, vec![19; 5000]);
}

#[tokio::test]
async fn the_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let second =
        gatewayd_recorder::Recorder::open(rig::config(dir.path()), Arc::new(gatewayd_core::SystemClock));
    assert!(matches!(second, Err(Error::InUse(_))));
    drop(recorder);
    open(dir.path());
}

#[tokio::test]
async fn an_entry_is_proven_without_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let mut ids = Vec::new();
    for _ in 0..140 {
        ids.push(send(&stack, request("alice", "x")).await.0);
    }
    let old = recorder.public_key().open(&recorder.checkpoint()).unwrap();
    recorder.close();
    let key = recorder.public_key();
    let new = key.open(&recorder.checkpoint()).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    for id in [ids[0], ids[77], ids[139]] {
        let bundle = reader.show(id).unwrap();
        for entry in [bundle.summary.number, bundle.outcome.unwrap()] {
            let text = reader.prove(entry).unwrap().to_string();
            let proof = gatewayd_recorder::EntryProof::parse(&text).unwrap();
            assert_eq!(proof.verify(key).unwrap(), new);
            let mut other = proof.clone();
            other.entry[20] ^= 1;
            assert_eq!(other.verify(key), Err(gatewayd_recorder::ProofError::NotIncluded));
            let moved = gatewayd_recorder::EntryProof { index: entry + 1, ..proof };
            assert!(moved.verify(key).is_err());
        }
    }
    let path = reader.consistency(old.size, new.size).unwrap();
    assert!(gatewayd_recorder::is_continuation(&old, &new, &path));
    assert!(!gatewayd_recorder::is_continuation(&new, &old, &path));
}

#[tokio::test]
async fn tiles_rebuild_the_signed_root() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    for n in 0..600 {
        let (kind, object, outcome) = (EventKind::AdminRead, format!("{n}").into(), "shown".into());
        recorder.record(Event { kind, actor: None, object, outcome, request: None }).await.unwrap();
    }
    until("a checkpoint", || {
        let size = recorder.checkpoint().lines().nth(1).unwrap().parse::<u64>().unwrap();
        size > 600
    })
    .await;
    let checkpoint = recorder.public_key().open(&recorder.checkpoint()).unwrap();
    let tail = usize::try_from(checkpoint.size % 256).unwrap();
    let mut leaves = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
    for path in ["tile/entries/000", "tile/entries/001", &format!("tile/entries/002.p/{tail}")] {
        let bundle = recorder.tile(path).unwrap().unwrap();
        let mut rest = &bundle[..];
        while let Some((len, after)) = rest.split_at_checked(2) {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes([len[0], len[1]])));
            leaves.push(entry.to_vec());
            rest = after;
        }
    }
    assert_eq!(leaves.len(), checkpoint.size);
    assert_eq!(leaves.root().as_bytes()[..], checkpoint.root);
    assert_eq!(recorder.tile("tile/0/001").unwrap().unwrap().len(), 256 * 32);
    assert_eq!(recorder.tile("tile/1/000.p/2").unwrap().unwrap().len(), 64);
    assert_eq!(recorder.tile("tile/0/002").unwrap(), None, "not full yet");
    assert_eq!(recorder.tile("tile/0/../../log.key").unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_beside_the_writer_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, echo_len);
    let load = tokio::spawn(async move {
        loop {
            send(&stack, request("alice", "x".repeat(3000))).await;
        }
    });
    for _ in 0..3 {
        let before = recorder.stats().entries;
        until("more is written", || recorder.stats().entries > before + 10).await;
        let copies = tempfile::tempdir().unwrap();
        let copy = copies.path().join("copy");
        let reader = Reader::open(dir.path()).unwrap();
        reader.copy_to(&copy).unwrap();
        assert!(reader.copy_to(&copy).is_err(), "nothing is overwritten");
        assert!(!copy.join("log.key").exists() && !copy.join("root.key").exists());
        let key = Some(recorder.public_key().clone());
        let report = gatewayd_recorder::verify::verify(
            &copy,
            &gatewayd_recorder::verify::Options { key: key.clone(), ..Default::default() },
        )
        .unwrap();
        assert!(report.is_intact() && report.entries > 10, "{report}");
        // The running log itself can be verified in place, too.
        let options = gatewayd_recorder::verify::Options { key, ..Default::default() };
        let report = gatewayd_recorder::verify::verify(dir.path(), &options).unwrap();
        assert!(report.is_intact(), "{report}");
    }
    load.abort();
}

#[tokio::test]
async fn who_is_about_to_read_finds_what_just_ended() {
    let dir = tempfile::tempdir().unwrap();
    let config = gatewayd_recorder::Config {
        durability: gatewayd_recorder::Durability::Disk,
        ..rig::config(dir.path())
    };
    let recorder = gatewayd_recorder::Recorder::open(config, Arc::new(gatewayd_core::SystemClock)).unwrap();
    let stack = stack(&recorder, echo_len);
    let reader = Reader::open(dir.path()).unwrap();
    for _ in 0..10 {
        let (id, ..) = send(&stack, request("alice", "x")).await;
        let (kind, object, outcome) = (EventKind::AdminRead, "session".into(), "show".into());
        recorder.record(Event { kind, actor: None, object, outcome, request: Some(id) }).await.unwrap();
        assert_eq!(ending(&reader, id), "complete");
    }
}
