//! Header fields: which are stored, how, and who can read them.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod rig;

use std::path::Path;

use gatewayd_core::Body;
use gatewayd_recorder::export::{Format, export};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{Bundle, HeaderField, Reader, Target};
use http::{Request, Response, Version};
use rig::{open, request, send, stack, until};

const CREDENTIAL: &str = "Bearer gwa_0123456789abcdef";

fn value<'a>(fields: &'a [HeaderField], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name == name);
    field.unwrap_or_else(|| panic!("{name} is not there: {fields:?}")).value.as_deref()
}

fn ask() -> Request<Body> {
    let mut request = request("alice", "{}");
    *request.version_mut() = Version::HTTP_2;
    for (name, value) in [
        ("content-type", "application/json"),
        ("user-agent", "the secret client"),
        ("authorization", CREDENTIAL),
        ("x-api-key", CREDENTIAL),
        ("cookie", CREDENTIAL),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

async fn answer(_: Request<Body>) -> Response<Body> {
    let body = Body::from("data: {}\n\n");
    let told = Response::builder().header("content-type", "text/event-stream");
    told.header("set-cookie", CREDENTIAL).header("server", "secret/1").body(body).unwrap()
}

fn told(reader: &Reader, id: gatewayd_core::RequestId) -> Option<Bundle> {
    let bundle = reader.show(id).unwrap();
    (bundle.summary.ending != "open").then_some(bundle)
}

/// True if a file of the log holds the text.
fn holds(dir: &Path, text: &str) -> bool {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if std::fs::read(path).unwrap().windows(text.len()).any(|at| at == text.as_bytes()) {
                return true;
            }
        }
    }
    false
}

#[tokio::test]
async fn they_are_stored_masked_and_sealed_and_credentials_never() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, answer);
    let (id, ..) = send(&stack, ask()).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || told(&reader, id).is_some()).await;
    let bundle = told(&reader, id).unwrap();
    assert_eq!(value(&bundle.request_headers, "content-type"), Some("application/json"));
    assert_eq!(value(&bundle.request_headers, "user-agent"), Some("the ****** client"));
    for name in ["authorization", "x-api-key", "cookie"] {
        assert_eq!(value(&bundle.request_headers, name), None, "that it was there is told, its value not");
    }
    assert_eq!(value(&bundle.response_headers, "content-type"), Some("text/event-stream"));
    assert_eq!(value(&bundle.response_headers, "server"), Some("******/1"));
    assert_eq!(value(&bundle.response_headers, "set-cookie"), None);
    let replay = reader.replay(id).unwrap();
    assert_eq!(
        (&replay.request_head, &replay.response_head),
        (&bundle.request_headers, &bundle.response_headers)
    );
    assert_eq!(replay.response.concat_bytes(), b"data: {}\n\n");
    let har: serde_json::Value = serde_json::from_str(&export(&bundle, &replay, Format::Har)).unwrap();
    let entry = &har["log"]["entries"][0];
    assert_eq!(
        (bundle.http_version.as_deref(), &replay.http_version),
        (Some("HTTP/2.0"), &bundle.http_version)
    );
    assert!(["request", "response"].iter().all(|way| entry[way]["httpVersion"] == "HTTP/2.0"), "{entry}");
    assert_eq!(entry["response"]["content"]["mimeType"], "text/event-stream");
    assert_eq!(entry["request"]["headers"].as_array().unwrap().len(), bundle.request_headers.len());
    recorder.close();
    assert!(verify(dir.path(), &Options::default()).unwrap().is_intact());
    for text in [CREDENTIAL, "gwa_0123", "the ****** client"] {
        assert!(!holds(dir.path(), text), "{text} stands in a file in the clear");
    }
    std::fs::remove_file(dir.path().join("root.key")).unwrap();
    let bundle = told(&Reader::open(dir.path()).unwrap(), id).unwrap();
    assert_eq!((bundle.request_headers, bundle.summary.status), (vec![], 200), "the rest needs no key");
    assert_eq!(bundle.http_version, None);
    assert!(matches!(&bundle.missing[..], [why] if why.contains("root.key")), "{:?}", bundle.missing);
}

#[tokio::test]
async fn a_damaged_body_is_no_message_without_fields() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let (id, ..) = send(&stack(&recorder, answer), ask()).await;
    recorder.close();
    let show = || Reader::open(dir.path()).unwrap().show(id).unwrap();
    assert_eq!((show().request_headers.is_empty(), show().missing), (false, vec![]));
    let segment = dir.path().join("segments/0000000001.seg");
    let whole = std::fs::read(&segment).unwrap();
    for damage in [|bytes: &mut Vec<u8>| bytes[60] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(20)] {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(&segment, bytes).unwrap();
        let bundle = show();
        assert!(bundle.request_headers.is_empty());
        assert!(matches!(&bundle.missing[..], [why] if why.contains("damaged")), "{:?}", bundle.missing);
    }
}

trait Concat {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl Concat for Vec<gatewayd_recorder::Frame> {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|frame| frame.bytes.clone()).collect()
    }
}

#[tokio::test]
async fn they_are_there_without_a_body_and_gone_with_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let stack = stack(&recorder, |_| async {
        Response::builder().status(204).header("server", "up").body(Body::empty()).unwrap()
    });
    let bare = Request::get("/v1/models").header("x-as", "alice").header("user-agent", "curl");
    let (id, ..) = send(&stack, bare.body(Body::empty()).unwrap()).await;
    let reader = Reader::open(dir.path()).unwrap();
    until("the outcome", || told(&reader, id).is_some()).await;
    let bundle = told(&reader, id).unwrap();
    assert_eq!(value(&bundle.request_headers, "user-agent"), Some("curl"));
    assert_eq!(value(&bundle.response_headers, "server"), Some("up"));
    let replay = reader.replay(id).unwrap();
    assert_eq!((replay.request, replay.response), (vec![], vec![]));
    recorder.erase(&Target::Session(id), None, "asked for").unwrap();
    let bundle = told(&reader, id).unwrap();
    assert!(bundle.summary.erased);
    assert_eq!((bundle.request_headers, bundle.response_headers), (vec![], vec![]));
    recorder.close();
    assert!(verify(dir.path(), &Options::default()).unwrap().is_intact());
}

#[tokio::test]
async fn a_stream_that_was_cut_off_by_a_crash_has_them_too() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path());
    let (senders, mut bodies) = tokio::sync::mpsc::unbounded_channel();
    let stack = stack(&recorder, move |_| {
        let (sender, body) = rig::channel();
        senders.send(sender).unwrap();
        async { Response::builder().header("content-type", "text/event-stream").body(body).unwrap() }
    });
    use tower::ServiceExt as _;
    let response = stack.clone().oneshot(ask()).await.unwrap();
    let id = rig::id_of(&response);
    let sender = bodies.recv().await.unwrap();
    sender.send(Ok("data: 1\n\n".into())).unwrap();
    let mut body = response.into_body();
    http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    until("the first second is written", || !reader.replay(id).unwrap().response.is_empty()).await;
    let replay = reader.replay(id).unwrap();
    assert!(replay.open);
    assert_eq!(value(&replay.request_head, "content-type"), Some("application/json"));
    assert_eq!(value(&replay.response_head, "content-type"), Some("text/event-stream"));
}
