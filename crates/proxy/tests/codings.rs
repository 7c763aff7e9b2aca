//! No answer passes in a coding that the controls in front cannot see through.

mod setup;

use gatewayd_core::{Ending, RefusalCode, Trail};
use gatewayd_testkit::{FakeUpstream, Reply};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use setup::{Setup, json, request, text};

const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03packed secret";

/// An answer as it is written to the wire.
fn raw(head: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn a_transfer_coding_beside_chunked_is_refused() {
    let chunked = [b"17\r\n", GZIP, b"\r\n0\r\n\r\n"].concat();
    for head in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: deflate,chunked\r\n",
        "Transfer-Encoding: x-zstd;level=3 , chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let upstream = FakeUpstream::raw(raw(&format!("{head}Content-Type: application/json\r\n"), &chunked));
        let sent = request(Method::POST, "/v1/chat/completions");
        let trail = sent.extensions().get::<Trail>().expect("a trail").clone();
        let answer = Setup::new(&upstream).send(sent).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{head}");
        assert_eq!(json(answer.into_body()).await["error"]["code"], "upstream_invalid", "{head}");
        assert_eq!(trail.refusal(), Some(RefusalCode::UpstreamInvalid), "{head}");
        assert_eq!(trail.ending(), Some(Ending::UpstreamCut), "{head}");
    }
    for head in ["Transfer-Encoding: chunked\r\n", "transfer-encoding: \tChunked \r\n"] {
        let upstream = FakeUpstream::raw(raw(head, b"2\r\n{}\r\n0\r\n\r\n"));
        let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
        assert_eq!(text(answer.into_body()).await, "{}", "{head}");
    }
}

#[tokio::test]
async fn a_packed_body_that_calls_itself_text_is_broken_off() {
    for kind in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: TEXT/plain; charset=utf-8\r\n",
        "Content-Type: application/problem+json\r\nContent-Encoding: identity\r\n",
        "Content-Type: application/xml\r\nContent-Encoding:\r\n",
    ] {
        for magic in [
            GZIP,
            b"\x28\xb5\x2f\xfdx",
            b"\x53\x2a\x4d\x18x",
            b"\xfd7zXZ\0",
            b"\x78\x9cx",
            b"\x04\x22\x4d\x18x",
        ] {
            let head = format!("{kind}Content-Length: {}\r\n", magic.len());
            let upstream = FakeUpstream::raw(raw(&head, magic));
            let sent = request(Method::POST, "/v1/chat/completions");
            let trail = sent.extensions().get::<Trail>().expect("a trail").clone();
            let answer = Setup::new(&upstream).send(sent).await;
            let error = answer.into_body().collect().await.expect_err("nothing of it passes");
            assert!(error.to_string().contains("compressed"), "{kind}{magic:?}: {error}");
            assert_eq!(trail.ending(), Some(Ending::UpstreamCut), "{kind}{magic:?}");
        }
    }
}

#[tokio::test]
async fn a_packed_stream_ends_in_an_error_however_it_is_cut() {
    for cut in [&GZIP[..1], &GZIP[..2], GZIP] {
        let pieces = [cut, &GZIP[cut.len()..]].map(bytes::Bytes::copy_from_slice).to_vec();
        let upstream = FakeUpstream::start(Reply::Stream {
            content_type: "text/event-stream",
            pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect(),
            delay: std::time::Duration::from_millis(30),
            ending: gatewayd_testkit::StreamEnding::Complete,
        });
        let answer = Setup::new(&upstream).send(request(Method::POST, "/v1/chat/completions")).await;
        let said = text(answer.into_body()).await;
        assert!(said.contains("upstream_invalid"), "{said:?}");
        assert!(!said.contains("packed secret"), "{said:?}");
    }
}

#[tokio::test]
async fn what_says_that_it_is_packed_passes() {
    for head in [
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: application/gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
    ] {
        let upstream = FakeUpstream::raw(raw(&format!("{head}Content-Length: {}\r\n", GZIP.len()), GZIP));
        let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/files/f/content")).await;
        let body = answer.into_body().collect().await.expect("it is whole").to_bytes();
        assert_eq!(body, GZIP, "{head}");
    }
    for plain in [&b"("[..], b"x^2", b"SOS", b"{}", b"\x04"] {
        let head = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", plain.len());
        let upstream = FakeUpstream::raw(raw(&head, plain));
        let answer = Setup::new(&upstream).send(request(Method::GET, "/v1/models")).await;
        let body = answer.into_body().collect().await.expect("it is whole").to_bytes();
        assert_eq!(body, plain);
    }
}
