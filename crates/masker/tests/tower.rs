//! The layer: heads, bodies, encodings, trailers, failures.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test that fails may panic"
)]

use std::convert::Infallible;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use gatewayd_masker::tower::{BoxError, MaskLayer, MaskedBody};
use gatewayd_masker::{Masker, rule};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tower::{Layer as _, ServiceExt as _, service_fn};

const KEY: &str = "AKIAZQ3DRSTUVWXY2345";
const MASK: &str = "[REDACTED:aws]";

fn masker() -> Masker {
    let rules = rule::parse(
        r#"
[[rule]]
id = "aws"
family = "test"
description = "A fixed shape."
anchors = ["AKIA"]
pattern = "AKIA[A-Z2-7]{16}"
left = "word"
right = "word"
positive = ["AKIAZQ3DRSTUVWXY2345", "x AKIAZQ3DRSTUVWXY2345"]
negative = ["AKIA", "AKIAZQ"]
"#,
    )
    .unwrap();
    Masker::builder().rules(rules).known_secret("the-upstream-credential").build().unwrap()
}

/// A body of the given frames; `None` is a pause.
struct Frames(Vec<Option<Result<Frame<Bytes>, BoxError>>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        match self.0.remove(0) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn data(bytes: impl Into<Bytes>) -> Option<Result<Frame<Bytes>, BoxError>> {
    Some(Ok(Frame::data(bytes.into())))
}

async fn send(layer: MaskLayer, response: Response<Frames>) -> Response<MaskedBody<Frames>> {
    let slot = Arc::new(Mutex::new(Some(response)));
    let upstream = service_fn(move |request: Request<()>| {
        assert_eq!(request.headers()["accept-encoding"], "identity");
        assert!(!request.headers().contains_key("range"));
        let response = slot.lock().unwrap().take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let request =
        Request::builder().header("range", "bytes=0-1").header("accept-encoding", "zstd").body(()).unwrap();
    layer.layer(upstream).oneshot(request).await.unwrap()
}

async fn text(response: Response<MaskedBody<Frames>>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn answer(content_type: &str, frames: Vec<Option<Result<Frame<Bytes>, BoxError>>>) -> Response<Frames> {
    Response::builder().header("content-type", content_type).body(Frames(frames)).unwrap()
}

#[tokio::test]
async fn the_head_is_masked_and_corrected() {
    let response = Response::builder()
        .status(StatusCode::FOUND)
        .header("location", format!("https://x/?k={KEY}"))
        .header("set-cookie", "a=dGhlLXVwc3RyZWFtLWNyZWRlbnRpYWw; Path=/")
        .header("content-length", "25")
        .header("etag", "\"1\"")
        .header("digest", "sha-256=x")
        .header("repr-digest", "sha-256=x")
        .header("x-ok", "fine and long enough")
        .header(KEY.to_ascii_lowercase(), "v")
        .header("x-the-upstream-credential", "v")
        .body(Frames(vec![data(format!("see {KEY}."))]))
        .unwrap();
    let response = send(MaskLayer::new(masker()), response).await;
    let headers = response.headers().clone();
    assert_eq!(headers["location"], format!("https://x/?k={MASK}"));
    assert!(!headers["set-cookie"].to_str().unwrap().contains("dGhlLXVwc3"));
    assert_eq!(headers["x-ok"], "fine and long enough");
    for gone in ["content-length", "etag", "digest", "repr-digest", "x-the-upstream-credential"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(text(response).await, format!("see {MASK}."));
}

#[tokio::test]
async fn errors_of_any_status_and_trailers_are_masked() {
    for status in [400, 401, 429, 500, 503] {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-message", HeaderValue::from_str(&format!("bad {KEY}")).unwrap());
        let frames = vec![
            data("{\"error\":\"AKIAZQ3D"),
            None,
            data("RSTUVWXY2345\"}"),
            Some(Ok(Frame::trailers(trailers))),
        ];
        let mut response = answer("application/json", frames);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let response = send(MaskLayer::new(masker()), response).await;
        assert_eq!(response.status(), status);
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-message"], format!("bad {MASK}"));
        assert_eq!(collected.to_bytes(), format!("{{\"error\":\"{MASK}\"}}"));
    }
}

#[tokio::test]
async fn frames_that_arrive_together_leave_together_and_pauses_are_kept() {
    let event =
        |text: &str| data(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"));
    let response = answer("text/event-stream", vec![event("one."), event("two."), None, event("three.")]);
    let mut body = send(MaskLayer::new(masker()), response).await.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.windows(4).any(|w| w == b"two.") && !first.windows(5).any(|w| w == b"three"));
    let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(second.windows(5).any(|w| w == b"three"));
    assert!(body.frame().await.is_none());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorWriter::new(&mut out, 4096, 5, 22).write_all(bytes).unwrap();
    out
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encodings(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip(plain)),
        ("br", brotli(plain)),
        ("deflate", deflate(plain)),
        ("deflate", zlib(plain)),
        ("zstd", zstd::stream::encode_all(plain, 3).unwrap()),
        ("gzip, br", brotli(&gzip(plain))),
        ("identity", plain.to_vec()),
        ("GZIP", [gzip(plain), gzip(plain)].concat()),
    ]
}

fn encoded(coding: &str, frames: Vec<Option<Result<Frame<Bytes>, BoxError>>>) -> Response<Frames> {
    let mut response = answer("text/plain", frames);
    response.headers_mut().insert("content-encoding", coding.parse().unwrap());
    response
}

#[tokio::test]
async fn encoded_bodies_are_decoded_and_masked() {
    let plain = format!("{} {KEY} {}", "before ".repeat(3000), "after ".repeat(3000));
    for (coding, bytes) in encodings(plain.as_bytes()) {
        for size in [1, 7, 1 << 20] {
            let frames = bytes.chunks(size).map(|chunk| data(chunk.to_vec())).collect();
            let response = send(MaskLayer::new(masker()), encoded(coding, frames)).await;
            assert!(!response.headers().contains_key("content-encoding"));
            let times = if coding == "GZIP" { 2 } else { 1 };
            assert_eq!(text(response).await, plain.replace(KEY, MASK).repeat(times), "{coding} {size}");
        }
    }
}

#[tokio::test]
async fn a_truncated_or_broken_encoding_ends_with_an_error() {
    let plain = format!("{KEY} and more to come {}", "x y z ".repeat(50));
    for (coding, bytes) in encodings(plain.as_bytes()) {
        if matches!(coding, "identity" | "GZIP") {
            continue;
        }
        let cut = bytes[..bytes.len() - 6].to_vec();
        let response = send(MaskLayer::new(masker()), encoded(coding, vec![data(cut)])).await;
        assert_eq!(response.status(), 502, "{coding} cut");
        // Where it ended is not known before the head has left.
        let cut = bytes[..bytes.len() - 6].to_vec();
        let response = send(MaskLayer::new(masker()), encoded(coding, vec![data(cut), None])).await;
        assert!(response.into_body().collect().await.is_err(), "{coding} cut, late");
    }
    let response = send(MaskLayer::new(masker()), encoded("gzip", vec![data("not gzip at all")])).await;
    assert_eq!(response.status(), 502);
    let error = text(response).await;
    assert!(error.contains("does not decode"), "{error}");
}

#[tokio::test]
async fn a_bomb_is_stopped_before_it_fills_memory() {
    let zeros = vec![b'0'; 64 << 20];
    let bombs = [
        ("zstd", zstd::stream::encode_all(&zeros[..], 19).unwrap()),
        ("br", brotli(&zeros)),
        ("gzip, gzip", gzip(&gzip(&zeros))),
    ];
    for (coding, bytes) in bombs {
        // Late, so that it does not come with the head.
        let response = send(MaskLayer::new(masker()), encoded(coding, vec![None, data(bytes)])).await;
        let mut body = response.into_body();
        let mut seen = 0;
        let error = loop {
            match body.frame().await {
                Some(Ok(frame)) => seen += frame.into_data().unwrap().len(),
                Some(Err(error)) => break error.to_string(),
                None => panic!("{coding}: nothing stopped it"),
            }
        };
        assert!(error.contains("more than is allowed"), "{coding}: {error}");
        assert!(seen < 48 << 20, "{coding}: {seen}");
    }
}

#[tokio::test]
async fn a_gzip_of_zeros_stops_at_a_hundred_times_its_size() {
    // Pieces as a connection gives them: gzip packs zeros about 1030 times.
    let bomb = gzip_of_zeros(256 << 20);
    let length = bomb.len();
    assert!(length < 512 << 10, "{length}");
    let frames = bomb.chunks(16 << 10).map(|piece| data(piece.to_vec())).collect();
    let response = send(MaskLayer::new(masker()), encoded("gzip", frames)).await;
    let mut body = response.into_body();
    let mut seen = 0;
    let error = loop {
        match body.frame().await {
            Some(Ok(frame)) => seen += frame.into_data().unwrap().len(),
            Some(Err(error)) => break error.to_string(),
            None => panic!("nothing stopped it"),
        }
    };
    assert!(error.contains("more than is allowed"), "{error}");
    assert!(seen <= (16 << 20).max(length * 100), "{seen}");
}

#[tokio::test]
async fn sixteen_mebibytes_may_be_packed_as_well_as_they_can_be() {
    let response = send(MaskLayer::new(masker()), encoded("gzip", vec![data(gzip_of_zeros(16 << 20))])).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), 16 << 20);
}

fn gzip_of_zeros(length: u64) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_cannot_be_masked_is_refused() {
    let with = |name: &str, value: &str| {
        let mut response = answer("text/plain", vec![data("AKIAZQ3DRSTUVWXY2345")]);
        response
            .headers_mut()
            .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        response
    };
    let mut partial = answer("text/plain", vec![data("IAZQ3DRSTUVWXY2345")]);
    *partial.status_mut() = StatusCode::PARTIAL_CONTENT;
    let mut upgrade = answer("text/plain", vec![]);
    *upgrade.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    for response in [
        with("content-encoding", "compress"),
        with("content-encoding", "gzip, x"),
        with("content-encoding", "gzip,gzip,gzip,gzip"),
        with("grpc-encoding", "gzip"),
        with("content-range", "bytes 0-1/2"),
        with("content-type", "text/event-stream"),
        partial,
        upgrade,
    ] {
        let response = send(MaskLayer::new(masker()), response).await;
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["error"]["code"], "masking_failed");
    }
}

#[tokio::test]
async fn the_host_hears_of_masks_and_words_the_refusals() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let layer = MaskLayer::new(masker())
        .on_mask(move |extensions, event| {
            assert!(extensions.get::<u32>().is_none());
            heard.lock().unwrap().push(format!("{} {} {}", event.rule, event.lane, event.length));
        })
        .on_refuse(|_, error| Response::new(Bytes::from(error.to_string().len().to_string())));
    let mut response = answer("text/plain", vec![data(format!("a {KEY} b"))]);
    response.headers_mut().insert("x-note", KEY.parse().unwrap());
    text(send(layer.clone(), response).await).await;
    assert_eq!(*seen.lock().unwrap(), ["aws header:x-note 20", "aws text 20"]);
    let mut response = answer("text/plain", vec![data("x")]);
    response.headers_mut().insert("content-encoding", "lzma".parse().unwrap());
    assert!(text(send(layer, response).await).await.parse::<usize>().is_ok());
}

/// Withheld before any byte has left, it is an answer that says so, not one that breaks off; what comes later breaks off.
#[tokio::test]
async fn what_cannot_be_masked_from_its_first_bytes_on_is_refused_as_long_as_the_head_is_here() {
    let layer = || {
        MaskLayer::new(masker()).on_refuse(|_, error| {
            let mut refusal = Response::new(Bytes::from(format!("refused: {error}")));
            *refusal.status_mut() = http::StatusCode::BAD_GATEWAY;
            refusal
        })
    };
    let unpacked = || {
        let mut response = answer("application/json", vec![data("\u{1f}\u{8b} is no gzip")]);
        response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        response
    };
    let wide: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for broken in [unpacked(), answer("application/json; charset=utf-16be", vec![data(wide.clone())])] {
        let response = send(layer(), broken).await;
        assert_eq!(response.status(), 502);
        assert!(text(response).await.starts_with("refused: "));
    }
    let cut = {
        let numbers: Vec<String> = (0..100_000).map(|n| (n * 7919 % 100_003).to_string()).collect();
        let mut packed = gzip(numbers.join(" ").as_bytes());
        packed.truncate(packed.len() - 6);
        packed
    };
    for frames in [vec![data(cut.clone())], vec![data(cut.clone()), None]] {
        let response = send(layer(), encoded("gzip", frames)).await;
        // More than leaves at once: what is wrong with its end is not known yet.
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err());
    }
    let late = vec![None, data(wide)];
    let response = send(layer(), answer("application/json; charset=utf-16be", late)).await;
    assert_eq!(response.status(), 200, "nobody waits for a body that is not there");
    assert!(response.into_body().collect().await.is_err());
    let broken = vec![Some(Err("the upstream is gone".into()))];
    let response = send(layer(), answer("text/plain", broken)).await;
    assert_eq!(response.status(), 200, "that is the upstream's fault, not the masker's");
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the upstream is gone");
}

#[tokio::test]
async fn a_stream_of_events_that_breaks_says_so() {
    let mut frames = vec![data("data: {\"a\":\"fine.\"}\n\n"), None];
    frames.extend((0..17).flat_map(|_| [data(vec![b'x'; 1 << 20])]));
    let response = send(MaskLayer::new(masker()), answer("text/event-stream", frames)).await;
    let out = text(response).await;
    assert!(out.starts_with("data: {\"a\":\"fine.\"}\n\n"), "{}", out.len());
    assert!(out.ends_with("\"code\":\"masking_failed\"}}\n\n"));
    assert!(out.len() < 1000);
}

#[tokio::test]
async fn an_error_of_the_upstream_comes_after_what_was_clean() {
    let frames = vec![data("clean. AKIAZQ3D"), Some(Err("connection reset".into()))];
    let mut body = send(MaskLayer::new(masker()), answer("text/plain", frames)).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "clean. ");
    assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "connection reset");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_body_is_masked_as_what_it_is() {
    let events = "data: {\"choices\":[{\"delta\":{\"content\":\"AKIAZQ3D\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"RSTUVWXY2345.\"}}]}\n\n";
    for said in ["application/json", "text/plain", "text/event-stream", "application/x-ndjson"] {
        let out = text(send(MaskLayer::new(masker()), answer(said, vec![data(events)])).await).await;
        assert!(out.contains(MASK) && !out.contains("ZQ3D"), "{said}: {out}");
    }
    let error = "{\"error\":\"\\u0041KIAZQ3DRSTUVWXY2345\"}";
    let out =
        text(send(MaskLayer::new(masker()), answer("text/event-stream", vec![data(error)])).await).await;
    assert_eq!(out, format!("{{\"error\":\"{MASK}\"}}"));
}

#[tokio::test]
async fn binary_keeps_length_and_header() {
    let mut response = answer("audio/wav", vec![data(format!("\0\0{KEY}\0"))]);
    response.headers_mut().insert("content-length", "23".parse().unwrap());
    let response = send(MaskLayer::new(masker()), response).await;
    assert_eq!(response.headers()["content-length"], "23");
    assert_eq!(text(response).await, format!("\0\0{}\0", "*".repeat(20)));
}

#[tokio::test]
async fn tensors_behind_a_head_keep_every_length() {
    let head = "{\"outputs\":[{\"name\":\"t\",\"parameters\":{\"binary_data_size\":24}}]}";
    let tensor = [&20_u32.to_le_bytes()[..], KEY.as_bytes()].concat();
    let body = [head.as_bytes(), &tensor].concat();
    let answer = |said: &str, length: &str| {
        let mut response = answer(said, vec![data(body.clone())]);
        response.headers_mut().append("inference-header-content-length", length.parse().unwrap());
        response.headers_mut().insert("content-length", body.len().into());
        response
    };
    let length = head.len().to_string();
    let response = send(MaskLayer::new(masker()), answer("application/octet-stream", &length)).await;
    assert_eq!(response.headers()["content-length"], body.len().to_string());
    let masked = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(masked, [head.as_bytes(), &20_u32.to_le_bytes(), "*".repeat(20).as_bytes()].concat());
    // A length that cannot be read is refused; and what is called text is read as text.
    let response = send(MaskLayer::new(masker()), answer("application/octet-stream", "-1")).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let response = send(MaskLayer::new(masker()), answer("text/event-stream", "0")).await;
    assert!(!response.headers().contains_key("content-length"));
    assert!(!text(response).await.contains(KEY));
}

#[tokio::test]
async fn every_header_is_masked_whatever_it_is_for() {
    for name in [
        "www-authenticate",
        "location",
        "set-cookie",
        "link",
        "x-request-id",
        "warning",
        "server-timing",
        "grpc-message",
    ] {
        let mut response = answer("text/plain", vec![]);
        response
            .headers_mut()
            .append(http::HeaderName::from_static(name), format!("a \"{KEY}\"").parse().unwrap());
        response
            .headers_mut()
            .append(http::HeaderName::from_static(name), "the-upstream-credential".parse().unwrap());
        let response = send(MaskLayer::new(masker()), response).await;
        let values: Vec<_> =
            response.headers().get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect();
        assert_eq!(values, [format!("a \"{MASK}\""), "[REDACTED:known-secret]".to_owned()], "{name}");
    }
}

#[tokio::test]
async fn what_is_packed_twice_and_says_so_once_is_refused() {
    let plain = format!("{{\"a\":\"{KEY}\"}}");
    for said in ["application/json", "text/plain", "text/event-stream"] {
        let mut response = encoded("gzip", vec![data(gzip(&gzip(plain.as_bytes())))]);
        response.headers_mut().insert("content-type", said.parse().unwrap());
        let out = send(MaskLayer::new(masker()), response).await.into_body().collect().await;
        let out = out.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
        // Events end with an event that says so, other bodies with an error.
        assert!(out.is_err() || out.unwrap().contains("masking_failed"), "{said}");
    }
}

#[tokio::test]
async fn what_a_transfer_coding_packs_is_refused() {
    for (coding, status) in [("gzip, chunked", 502), ("GZIP", 502), ("Chunked", 200)] {
        let mut response = answer("application/octet-stream", vec![data(gzip(KEY.as_bytes()))]);
        response.headers_mut().insert("transfer-encoding", coding.parse().unwrap());
        assert_eq!(send(MaskLayer::new(masker()), response).await.status(), status, "{coding}");
    }
}

#[tokio::test]
async fn binary_headers_of_grpc_are_masked_inside_of_their_base64_and_trailers_bear_no_digest() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    let details = |secret: &str| [b"\x08\x10\x12\x1c", format!("no key {secret}").as_bytes()].concat();
    for secret in [KEY, "the-upstream-credential"] {
        let clean = STANDARD_NO_PAD.encode(details(&"*".repeat(secret.len())));
        for sent in [STANDARD.encode(details(secret)), STANDARD_NO_PAD.encode(details(secret))] {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status-details-bin", format!("AAAA,{sent}").parse().unwrap());
            trailers.insert("digest", "sha-256=AAAA".parse().unwrap());
            trailers.insert("content-digest", "sha-256=:AAAA:".parse().unwrap());
            let mut response = answer("text/plain", vec![data(KEY), Some(Ok(Frame::trailers(trailers)))]);
            response.headers_mut().insert("x-details-bin", sent.parse().unwrap());
            let response = send(MaskLayer::new(masker()), response).await;
            assert_eq!(response.headers()["x-details-bin"], clean);
            let body = response.into_body().collect().await.unwrap();
            let trailers = body.trailers().unwrap();
            assert_eq!(trailers["grpc-status-details-bin"], format!("AAAA,{clean}"));
            assert_eq!(trailers.len(), 1, "{trailers:?}");
        }
    }
}

#[tokio::test]
async fn text_of_two_bytes_a_letter_is_refused_whatever_it_is_called() {
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let cases = [
        ("text/plain", "A key: "),
        ("text/html; charset=utf-8", "\n"),
        ("application/json", "é "),
        ("application/octet-stream", " \n"),
        ("text/plain; charset=unicode", "中文 "),
        ("text/plain; charset = utf-16", "中文 "),
        ("text/plain; charset=\" UTF-16LE\"", "中文 "),
        ("text/plain; charset='utf-16'", "中文 "),
        ("text/plain; charset=iso-10646-ucs-2", "中文 "),
    ];
    for (content_type, before) in cases {
        for bytes in [little(&format!("{before}{KEY}")), big(&format!("{before}{KEY}"))] {
            let response = answer(content_type, vec![data(bytes)]);
            let response = send(MaskLayer::new(masker()), response).await;
            assert_eq!(response.status(), 502, "{content_type} {before:?}");
        }
    }
}
