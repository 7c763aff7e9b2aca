//! The measuring itself: what is slow is seen as slow, what is wrong is counted, and the upstream's own time is not.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use gatewayd_benches::client::{Call, Connection};
use gatewayd_benches::load::{OpenStreams, closed_loop};
use gatewayd_benches::upstream::{self, EVENTS, Model, PAUSE};
use gatewayd_benches::wire::UPSTREAM_TIME;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Long enough for a first answer, however busy the machine is.
const SPAN: Duration = Duration::from_millis(600);

async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(upstream::serve(listener, "the-key"));
    address
}

/// Answers every request with these bytes, after a delay.
async fn canned(answer: String, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                    tokio::time::sleep(delay).await;
                    stream.write_all(answer.as_bytes()).await.expect("the caller is there");
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_upstream_answers_and_says_whether_it_was_shown_its_key() {
    let mut connection = Connection::open(upstream().await).await.expect("it listens");
    for (token, seen) in [("the-key", true), ("another", false), ("", false)] {
        let (head, text) =
            connection.text(&Call::chat(Model::Instant, false, token)).await.expect("an answer");
        assert_eq!((head.status, head.key_seen, text.len()), (200, seen, upstream::ANSWER));
    }
}

#[tokio::test]
async fn streams_are_counted_and_each_event_is_timed() {
    let address = upstream().await;
    let call = Call::chat(Model::Instant, true, "");
    let load = closed_loop(address, &call, true, 2, SPAN).await.expect("a round");
    assert_eq!(load.failures, 0, "{:?}", load.failure);
    assert!(load.answers > 0);
    assert_eq!(load.events.count, load.answers * EVENTS);
    assert!(load.first.p50 > 0.0 && load.first.p50 <= load.total.p50);
}

#[tokio::test]
async fn the_upstreams_own_time_is_taken_off() {
    let mut connection = Connection::open(upstream().await).await.expect("it listens");
    let call = Call::chat(Model::Thinks, false, "");
    let (_, timing) = connection.exchange(&call, &mut Vec::new()).await.expect("an answer");
    assert!(timing.upstream >= upstream::THINKING && timing.upstream <= timing.total, "{timing:?}");

    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{UPSTREAM_TIME}: 400000\r\n\r\n{{}}");
    let address = canned(answer, Duration::from_millis(400)).await;
    let load =
        closed_loop(address, &Call::chat(Model::Instant, false, ""), false, 1, SPAN).await.expect("a round");
    assert!(load.answers > 0, "{load:?}");
    assert!(load.total.p50 < 400_000.0, "400 ms of the upstream are not ours: {load:?}");
}

#[tokio::test]
async fn a_slow_target_is_seen_as_slow() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned();
    let address = canned(answer, Duration::from_millis(5)).await;
    let load =
        closed_loop(address, &Call::chat(Model::Instant, false, ""), false, 1, SPAN).await.expect("a round");
    assert_eq!(load.failures, 0, "{:?}", load.failure);
    assert!(load.total.p50 >= 5_000.0, "{load:?}");
    assert!(load.rate() <= 200.0, "{load:?}");
}

#[tokio::test]
async fn refusals_and_broken_streams_are_failures_not_fast_answers() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned();
    let call = Call::chat(Model::Instant, false, "");
    let load =
        closed_loop(canned(refusal, Duration::ZERO).await, &call, false, 1, SPAN).await.expect("a round");
    assert!(load.answers == 0 && load.failures > 0, "{load:?}");
    assert_eq!(load.failure.as_deref(), Some("status 503"));

    let short = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ndata: [DONE]\n\n".to_owned();
    let call = Call::chat(Model::Instant, true, "");
    let load = closed_loop(canned(short, Duration::ZERO).await, &call, true, 1, SPAN).await.expect("a round");
    assert!(load.answers == 0 && load.failures > 0, "{load:?}");
}

#[tokio::test]
async fn open_streams_stay_open_and_bring_events() {
    let call = Call::chat(Model::Endless, true, "");
    let open = OpenStreams::open(upstream().await, &call, 5).await.expect("five streams");
    let began = Instant::now();
    open.measure(10 * PAUSE).await;
    let most = began.elapsed().div_duration_f64(PAUSE) + 2.0;
    let late = open.finish().await.expect("none broke, and each brought some");
    assert!(late.count >= 5 && late.count as f64 <= 5.0 * most, "{} in {most} pauses: {late:?}", late.count);
}

#[tokio::test]
async fn an_open_stream_that_ends_is_an_error() {
    let ended = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\ndata: [DONE]\n\n".to_owned();
    let address = canned(ended, Duration::ZERO).await;
    let open =
        OpenStreams::open(address, &Call::chat(Model::Endless, true, ""), 1).await.expect("one stream");
    open.measure(Duration::from_millis(100)).await;
    let error = open.finish().await.expect_err("it ended");
    assert!(format!("{error:#}").contains("should stay open"), "{error:#}");
}
