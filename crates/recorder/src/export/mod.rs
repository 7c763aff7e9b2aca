//! A recorded session in the formats of other tools.
//!
//! | format | for |
//! |---|---|
//! | [`Format::JsonLines`] | everything that is known, one object a line: the session, then each frame |
//! | [`Format::Har`] | HTTP archive 1.2: browsers' developer tools, proxies |
//! | [`Format::Asciicast`] | asciicast v3: terminal players such as asciinema |
//! | [`Format::Otel`] | OpenTelemetry logs (OTLP/JSON) with a GenAI event: observability back ends |
//!
//! What is exported is what is stored: masked, as the caller saw it.

mod asciicast;
mod har;
mod json_lines;
mod otel;

use gatewayd_core::{Timestamp, inert_json};

use crate::replay::{Frame, Replay};
use crate::view::Bundle;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// One JSON object a line.
    JsonLines,
    /// HTTP archive 1.2.
    Har,
    /// asciicast v3.
    Asciicast,
    /// OpenTelemetry logs, OTLP/JSON.
    Otel,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::JsonLines, Self::Har, Self::Asciicast, Self::Otel];

    /// The name used on command lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Har => "har",
            Self::Asciicast => "asciicast",
            Self::Otel => "otel",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }

    /// The media type of its text.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::JsonLines => "application/x-ndjson",
            Self::Har | Self::Otel => "application/json",
            Self::Asciicast => "application/x-asciicast",
        }
    }
}

/// The session in this format; the text ends with a new line.
#[must_use]
pub fn export(bundle: &Bundle, replay: &Replay, format: Format) -> String {
    // The model or its caller chose the text, and an export is looked at in terminals. All formats are JSON.
    inert_json(match format {
        Format::JsonLines => json_lines::export(bundle, replay),
        Format::Har => har::export(bundle, replay),
        Format::Asciicast => asciicast::export(bundle, replay),
        Format::Otel => otel::export(bundle, replay),
    })
}

/// What an export says of a recording that is not what was signed, or does not hold all that passed.
fn warning(bundle: &Bundle) -> String {
    let altered = bundle.summary.altered.then_some("ALTERED: this is not what was signed; run `verify`");
    let remarks = altered.into_iter().chain(bundle.missing.iter().map(String::as_str));
    remarks.map(|remark| format!(", {remark}")).collect()
}

/// All bytes of a body.
fn whole(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect()
}

/// RFC 3339 in UTC, to the millisecond.
fn rfc3339(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(time.0).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
