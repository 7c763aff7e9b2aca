//! OpenTelemetry logs in OTLP/JSON, with the GenAI semantic conventions' event
//! `gen_ai.client.inference.operation.details`.

use serde_json::{Value, json};

use super::whole;
use crate::replay::Replay;
use crate::view::Bundle;

pub(super) fn export(bundle: &Bundle, replay: &Replay) -> String {
    let summary = &bundle.summary;
    let nanos = |micros: i64| (i128::from(micros) * 1_000).to_string();
    let mut attributes = vec![
        text("gen_ai.operation.name", operation(bundle)),
        text("gen_ai.provider.name", summary.dialect.unwrap_or("unknown")),
        text("http.request.method", &summary.method),
        text("gatewayd.session.id", &summary.id.to_string()),
        text("gatewayd.session.ending", summary.ending),
        number("gatewayd.session.duration_us", summary.duration_us),
        number("gatewayd.masked", summary.masked),
    ];
    if summary.status != 0 {
        attributes.push(number("http.response.status_code", u64::from(summary.status)));
    }
    let remark = super::warning(bundle);
    let optional = [
        ("gen_ai.request.model", summary.model.as_deref()),
        ("url.path", Some(summary.path.as_str())),
        ("user.id", summary.subject.as_deref()),
        ("gatewayd.upstream", summary.upstream.as_deref()),
        ("gatewayd.policy.rule", summary.rule.as_deref()),
        ("error.type", summary.refusal),
        ("gatewayd.session.remark", Some(remark.trim_start_matches(", ")).filter(|text| !text.is_empty())),
    ];
    attributes.extend(optional.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
    // As they passed. The conventions' own names are for messages taken apart, which these are not.
    let bodies = [("gatewayd.request.body", &replay.request), ("gatewayd.response.body", &replay.response)];
    for (name, frames) in bodies {
        if !frames.is_empty() {
            attributes.push(text(name, &String::from_utf8_lossy(&whole(frames))));
        }
    }
    let failed = summary.status >= 400 || !matches!(summary.ending, "complete" | "open");
    let record = json!({
        "timeUnixNano": nanos(bundle.arrived().0),
        "observedTimeUnixNano": nanos(summary.time.0),
        "severityNumber": if failed { 17 } else { 9 },
        "severityText": if failed { "ERROR" } else { "INFO" },
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": attributes,
    });
    let logs = json!({
        "resourceLogs": [{
            "resource": { "attributes": [text("service.name", "gatewayd")] },
            "scopeLogs": [{
                "scope": { "name": "gatewayd", "version": env!("CARGO_PKG_VERSION") },
                "logRecords": [record],
            }],
        }]
    });
    format!("{logs}\n")
}

/// The conventions' name of the operation, where they have one.
fn operation(bundle: &Bundle) -> &'static str {
    let route = bundle.route.as_deref().unwrap_or_default();
    match bundle.summary.action {
        Some("embed") => "embeddings",
        Some("infer") if route.ends_with("/completions") && !route.contains("chat") => "text_completion",
        Some("infer") => "chat",
        Some(other) => other,
        None => "unknown",
    }
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// OTLP/JSON writes 64-bit integers as strings.
fn number(name: &str, value: u64) -> Value {
    json!({ "key": name, "value": { "intValue": value.to_string() } })
}
