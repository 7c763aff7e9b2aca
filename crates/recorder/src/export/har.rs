//! HTTP archive 1.2.
//!
//! Headers are not recorded, so the lists of headers are empty and their sizes unknown (-1), as the format
//! allows.

use serde_json::{Value, json};

use super::{rfc3339, whole};
use crate::replay::Replay;
use crate::view::Bundle;

pub(super) fn export(bundle: &Bundle, replay: &Replay) -> String {
    let summary = &bundle.summary;
    let millis = |micros: u64| json!(std::time::Duration::from_micros(micros).as_secs_f64() * 1e3);
    let first_byte = bundle.first_byte_us.min(summary.duration_us);
    let mut request = json!({
        "method": summary.method,
        // The host is not recorded; the upstream's name stands for it.
        "url": format!("http://{}{}", summary.upstream.as_deref().unwrap_or("unknown.invalid"), summary.path),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": [],
        "queryString": query(&summary.path),
        "headersSize": -1,
        "bodySize": summary.request_bytes,
    });
    if !replay.request.is_empty()
        && let Some(members) = request.as_object_mut()
    {
        let media_type = bundle.request_type.as_deref().unwrap_or_default();
        let text = String::from_utf8_lossy(&whole(&replay.request)).into_owned();
        members.insert("postData".to_owned(), json!({ "mimeType": media_type, "params": [], "text": text }));
    }
    let entry = json!({
        "startedDateTime": rfc3339(summary.time),
        "time": millis(summary.duration_us),
        "request": request,
        "response": {
            "status": summary.status,
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": [],
            "content": content(summary.response_bytes, &whole(&replay.response)),
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
        "comment": format!("session {}, ended {}", summary.id, summary.ending),
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

fn content(size: u64, body: &[u8]) -> Value {
    use base64::Engine as _;
    // The answer's media type is not recorded; what it looks like is good enough for a viewer.
    match std::str::from_utf8(body) {
        Ok(text) if text.trim_start().starts_with(['{', '[']) => {
            json!({ "size": size, "mimeType": "application/json", "text": text })
        }
        Ok(text) if ["data:", "event:", "id:", ":"].iter().any(|field| text.starts_with(field)) => {
            json!({ "size": size, "mimeType": "text/event-stream", "text": text })
        }
        Ok(text) => json!({ "size": size, "mimeType": "text/plain", "text": text }),
        Err(_) => json!({
            "size": size,
            "mimeType": "application/octet-stream",
            "encoding": "base64",
            "text": base64::engine::general_purpose::STANDARD.encode(body),
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
