//! HTTP archive 1.2.
//!
//! Values of header fields that may hold a credential are not recorded: there the value is empty, with a comment.
//! The sizes of heads are unknown (-1), as the format allows.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::{rfc3339, whole};
use crate::head::{self, HeaderField};
use crate::replay::Replay;
use crate::view::Bundle;

/// What stands in no address as it is.
const NOT_IN_ADDRESS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

pub(super) fn export(bundle: &Bundle, replay: &Replay) -> String {
    let summary = &bundle.summary;
    let millis = |micros: u64| json!(std::time::Duration::from_micros(micros).as_secs_f64() * 1e3);
    let first_byte = bundle.first_byte_us.min(summary.duration_us);
    let scheme = if bundle.tls { "https" } else { "http" };
    let version = replay.http_version.as_deref().unwrap_or("unknown");
    let host =
        head::value(&replay.request_head, "host").filter(|host| is_host(host)).unwrap_or("unknown.invalid");
    let mut request = json!({
        "method": summary.method,
        "url": format!("{scheme}://{host}{}", in_address(&summary.path)),
        "httpVersion": version,
        "cookies": [],
        "headers": fields(&replay.request_head),
        "queryString": query(&summary.path),
        "headersSize": -1,
        "bodySize": summary.request_bytes,
    });
    if !replay.request.is_empty()
        && let Some(members) = request.as_object_mut()
    {
        let media_type = bundle.request_type.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(&whole(&replay.request)).into_owned();
        members.insert("postData".to_owned(), json!({ "mimeType": media_type, "text": text }));
    }
    let entry = json!({
        "startedDateTime": rfc3339(bundle.arrived()),
        "time": millis(summary.duration_us),
        "request": request,
        "response": {
            "status": summary.status,
            "statusText": "",
            "httpVersion": version,
            "cookies": [],
            "headers": fields(&replay.response_head),
            "content": content(summary.response_bytes, replay),
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": summary.response_bytes,
        },
        "cache": {},
        "timings": {
            "send": 0,
            "wait": millis(first_byte),
            "receive": millis(summary.duration_us - first_byte),
        },
        "comment": format!("session {}, ended {}{}", summary.id, summary.ending, super::warning(bundle)),
    });
    let log = json!({
        "log": {
            "version": "1.2",
            "creator": { "name": "gatewayd", "version": env!("CARGO_PKG_VERSION") },
            "entries": [entry],
        }
    });
    format!("{log}\n")
}

/// A host and port, as far as it cannot be taken for more of an address.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

/// Path and query as an address may hold them: they are stored decoded where something was masked in them.
fn in_address(path: &str) -> String {
    let escaped = utf8_percent_encode(path, NOT_IN_ADDRESS).to_string();
    let mut pieces = escaped.split('%');
    let mut address = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let is_escape = piece.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
        address.push_str(if is_escape { "%" } else { "%25" });
        address.push_str(piece);
    }
    address
}

fn fields(head: &[HeaderField]) -> Vec<Value> {
    let field = |field: &HeaderField| match &field.value {
        Some(value) => json!({ "name": field.name, "value": value }),
        None => json!({ "name": field.name, "value": "", "comment": "the value is not recorded" }),
    };
    head.iter().map(field).collect()
}

fn content(size: u64, replay: &Replay) -> Value {
    use base64::Engine as _;
    let body = whole(&replay.response);
    // After a crash nobody counted what passed.
    let size = size.max(body.len() as u64);
    let media_type = head::value(&replay.response_head, "content-type");
    match String::from_utf8(body) {
        Ok(text) => json!({ "size": size, "mimeType": media_type.unwrap_or("text/plain"), "text": text }),
        Err(error) => json!({
            "size": size,
            "mimeType": media_type.unwrap_or("application/octet-stream"),
            "encoding": "base64",
            "text": base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
        }),
    }
}

/// The query's members, as they were sent.
fn query(path: &str) -> Vec<Value> {
    let Some((_, query)) = path.split_once('?') else { return Vec::new() };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            json!({ "name": name, "value": value })
        })
        .collect()
}
