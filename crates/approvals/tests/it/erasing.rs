//! Erasing: what is known of a caller goes from the files, what people decided stays.

use gatewayd_approvals::{Erased, Error, Filter, State, Verdict, Whose};
use gatewayd_core::RequestId;

use crate::world::{Ask, Mode, World, alice, ask, bob, person};

/// Words that only the request of `marked` brings.
const WORDS: [&str; 6] = ["okapi-1", "okapi-2", "okapi-3", "okapi-4", "okapi-5", "okapi-6"];

/// A caller's request with a word in each place that is kept, so large that it does not fit on a page.
fn marked(requirement: &'static str) -> Ask {
    let mut ask = Ask::new(requirement, "");
    ask.body = gatewayd_core::Body::from(format!(r#"{{"prompt": "{}"}}"#, "okapi-1 ".repeat(3000)));
    ask.identity = Some(person("okapi-2", &["okapi-6"]));
    ask.reasons = vec!["okapi-3"];
    ask.headers = vec![("x-team", "okapi-4")];
    ask.path = "/v1/fine_tuning/jobs?tag=okapi-5";
    ask
}

/// Which of the words stand in some file of the store.
fn found(world: &World) -> Vec<&'static str> {
    let files: Vec<Vec<u8>> = std::fs::read_dir(world.path.parent().unwrap())
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let holds =
        |word: &str| files.iter().any(|file| file.windows(word.len()).any(|at| at == word.as_bytes()));
    WORDS.into_iter().filter(|word| holds(word)).collect()
}

async fn erase(world: &World, whose: Whose) -> Erased {
    world.approvals.erase(whose, &person("dpo", &["admins"])).await.unwrap()
}

fn okapi() -> Whose {
    Whose::Caller(person("okapi-2", &[]).key())
}

#[tokio::test]
async fn the_words_of_a_caller_are_in_no_file_and_the_decision_stays() {
    let world = World::new();
    let other = world.send(ask("quick", r#"{"prompt": "of alice"}"#)).await.id();
    let used = world.send(marked("quick").request()).await.id();
    world.approvals.vote(&used, &bob(), Verdict::Approve, "okapi-3 may").await.unwrap();
    assert_eq!(world.send(marked("quick").request()).await.status, 200);
    let denied = world.send(marked("window").request()).await.id();
    world.approvals.vote(&denied, &bob(), Verdict::Deny, "okapi-3 may not").await.unwrap();
    assert_eq!(found(&world), WORDS);
    let before = world.approvals.show(&used).await.unwrap();

    assert_eq!(erase(&world, okapi()).await, Erased { approvals: 2, withdrawn: 0 });
    assert_eq!(found(&world), [""; 0], "while the gateway runs on");
    let after = world.approvals.show(&used).await.unwrap();
    assert!(after.erased.is_some() && after.requester.is_none() && after.changes.is_none());
    assert_eq!((after.state, after.used_by), (State::Consumed, before.used_by));
    assert_eq!(
        (after.decided, after.ended, after.body.sha256),
        (before.decided, before.ended, before.body.sha256)
    );
    assert_eq!((after.votes[0].by.clone(), after.votes[0].verdict), (bob(), Verdict::Approve));
    assert_eq!(world.state(&denied).await, State::Denied);
    let kept = world.approvals.show(&other).await.unwrap();
    assert!(kept.erased.is_none() && kept.body.preview.unwrap().text.contains("of alice"));

    assert_eq!(erase(&world, okapi()).await, Erased::default(), "again there is nothing left");
    let of_them = Filter { requester: Some(person("okapi-2", &[])), ..Filter::default() };
    assert!(world.approvals.list(&of_them).await.unwrap().is_empty());
    assert_eq!(world.approvals.list(&Filter::default()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn what_waits_is_withdrawn_and_whoever_waits_is_told() {
    let world = World::new();
    let held = world.start(marked("two-people").request());
    let waiting = world.pending().await;
    let agreed = world.send(marked("quick").request()).await.id();
    world.yes(&agreed, &bob()).await;
    assert_eq!(erase(&world, okapi()).await, Erased { approvals: 2, withdrawn: 2 });
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (403, "403 approval_denied"));
    assert_eq!(found(&world), [""; 0]);
    for id in [&waiting, &agreed] {
        assert_eq!(world.state(id).await, State::Cancelled);
        let vote = world.approvals.vote(id, &bob(), Verdict::Approve, "").await;
        assert!(matches!(vote, Err(Error::Refused(_))), "nobody can agree to it: {vote:?}");
    }
    let again = world.send(marked("quick").request()).await;
    assert_eq!(again.code(), "403 approval_pending", "what was agreed to does not pass");
    assert_ne!(again.id(), agreed);
    let cancelled = world.journal.lines().into_iter().filter(|line| line.ends_with(" dpo cancelled"));
    assert_eq!(cancelled.count(), 2, "both withdrawals are on record");
}

#[tokio::test]
async fn a_request_that_is_passing_goes_on_and_no_word_of_it_stays() {
    let world = World::new();
    let id = world.send(marked("quick").request()).await.id();
    world.yes(&id, &bob()).await;
    world.upstream.mode(Mode::Slow);
    let passing = world.start(marked("quick").request());
    while world.upstream.seen() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(erase(&world, okapi()).await, Erased { approvals: 1, withdrawn: 0 });
    world.upstream.go_on.notify_one();
    assert_eq!(passing.await.unwrap().status, 200);
    let view = world.approvals.show(&id).await.unwrap();
    assert_eq!((view.state, view.erased.is_some()), (State::Consumed, true));
    assert_eq!(found(&world), [""; 0]);
}

#[tokio::test]
async fn one_request_is_erased_by_who_asked_first_or_used_it() {
    let world = World::new();
    let ids = |view: &gatewayd_approvals::View| (view.request.unwrap(), view.used_by.unwrap());
    for by_use in [false, true] {
        let id = world.send(marked("quick").request()).await.id();
        world.yes(&id, &bob()).await;
        assert_eq!(world.send(marked("quick").request()).await.status, 200);
        let (first, used) = ids(&world.approvals.show(&id).await.unwrap());
        assert_eq!(world.approvals.requests_with(first).await.unwrap(), [used]);
        assert_eq!(world.approvals.requests_with(used).await.unwrap(), [first]);
        let whose = Whose::Request(if by_use { used } else { first });
        assert_eq!(erase(&world, whose).await, Erased { approvals: 1, withdrawn: 0 });
        assert_eq!(found(&world), [""; 0]);
    }
    assert_eq!(erase(&world, Whose::Request(RequestId::generate())).await, Erased::default());
    assert_eq!(erase(&world, Whose::Caller(alice().key())).await, Erased::default());
}

#[tokio::test]
async fn nothing_counts_as_erased_while_somebody_reads_the_old_bytes() {
    let world = World::new();
    let _id = world.send(marked("quick").request()).await.id();
    let reader = rusqlite::Connection::open(&world.path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM approval;").unwrap();
    let refused = world.approvals.erase(okapi(), &bob()).await;
    assert!(matches!(refused, Err(Error::Store(_))), "{refused:?}");
    drop(reader);
    assert_eq!(erase(&world, okapi()).await, Erased::default());
    assert_eq!(found(&world), [""; 0]);
}
