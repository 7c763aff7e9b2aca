//! The head of a response: what it says about the body, and what it must not say.

use std::sync::Arc;

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::MaskError;
use super::decode::Decode;
use crate::format::BodyKind;
use crate::lane::Session;
use crate::masker::Masker;
use crate::report::MaskEvent;

/// What the head of a response says about its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: BodyKind,
    pub(super) decode: Option<Decode>,
}

impl Head {
    pub(super) fn read(status: StatusCode, headers: &HeaderMap) -> Result<Self, MaskError> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(MaskError::Upgrade);
        }
        if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(header::CONTENT_RANGE) {
            return Err(MaskError::Partial);
        }
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let first = types.next();
        if types.any(|other| Some(other) != first) {
            return Err(MaskError::Ambiguous);
        }
        let kind = match first.map(HeaderValue::to_str) {
            None => BodyKind::Unknown,
            Some(Ok(text)) => BodyKind::of(Some(text)),
            Some(Err(_)) => return Err(MaskError::Ambiguous),
        };
        // What is called something else is read by clients as that.
        let kind = match kind {
            BodyKind::Unknown => tensors(headers)?.unwrap_or(kind),
            said => said,
        };
        if !is_sent_plainly(headers) {
            return Err(MaskError::UnknownEncoding);
        }
        let mut codings = Vec::new();
        for value in headers.get_all(header::CONTENT_ENCODING) {
            codings.extend(value.to_str().map_err(|_| MaskError::UnknownEncoding)?.split(','));
        }
        // Messages of gRPC are encoded one by one, inside of the body.
        if headers.get_all(GRPC_ENCODING).iter().any(|coding| coding != "identity") {
            return Err(MaskError::UnknownEncoding);
        }
        Ok(Self { kind, decode: Decode::new(codings.into_iter())? })
    }

    /// Whether the body is as long afterwards as before.
    pub(super) fn keeps_length(&self) -> bool {
        matches!(self.kind, BodyKind::Binary | BodyKind::Tensors(_)) && self.decode.is_none()
    }
}

/// Whether the body is packed by no transfer coding, which a client would undo and this layer does not.
fn is_sent_plainly(headers: &HeaderMap) -> bool {
    headers.get_all(header::TRANSFER_ENCODING).iter().all(|value| {
        value.to_str().is_ok_and(|codings| {
            codings.split(',').map(str::trim).all(|coding| {
                ["", "chunked", "identity"].iter().any(|plain| coding.eq_ignore_ascii_case(plain))
            })
        })
    })
}

/// Tensors behind a head of JSON, if a header says so.
fn tensors(headers: &HeaderMap) -> Result<Option<BodyKind>, MaskError> {
    let mut lengths = headers.get_all(INFERENCE_HEADER).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    let length = first.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if lengths.next().is_none() => Ok(Some(BodyKind::Tensors(length))),
        _ => Err(MaskError::Ambiguous),
    }
}

/// Headers that speak of the body as the upstream sent it.
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ETAG,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("signature"),
    HeaderName::from_static("signature-input"),
];

const INFERENCE_HEADER: HeaderName = HeaderName::from_static("inference-header-content-length");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Removes what is not true of the body any more.
pub(super) fn correct(headers: &mut HeaderMap, keeps_length: bool) {
    for name in
        OF_THE_BODY.iter().filter(|name| !(keeps_length && **name == header::CONTENT_LENGTH)).chain(&DIGESTS)
    {
        headers.remove(name);
    }
}

/// Asks the upstream for a whole answer that can be read.
pub(super) fn ask_plainly(headers: &mut HeaderMap) {
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    headers.remove(GRPC_ACCEPT_ENCODING);
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
}

/// Masks the values of headers or trailers. One whose name shows a secret is dropped.
pub(super) fn mask(masker: &Masker, headers: &mut HeaderMap, report: &mut dyn FnMut(&MaskEvent)) {
    let mut session = Session::new(Arc::clone(&masker.inner));
    let mut binary = Session::keeping_length(Arc::clone(&masker.inner));
    let shortest = session.shortest();
    let mut unspeakable = Vec::new();
    for (name, value) in headers.iter_mut() {
        let lane = || format!("header:{name}");
        let spelled = name.as_str().as_bytes();
        if spelled.len() >= shortest && !session.find(spelled).is_empty() {
            unspeakable.push(name.clone());
            continue;
        }
        if value.len() < shortest {
            continue;
        }
        if name.as_str().ends_with("-bin")
            && let Some(masked) = mask_binary(&mut binary, value, &lane)
        {
            *value = masked;
        }
        let context = [spelled, b": "].concat();
        if let Some(masked) = session.mask(value.as_bytes(), &context, &lane) {
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("[REDACTED]"));
        }
    }
    for name in unspeakable {
        headers.remove(name);
    }
    binary.take_events().iter().chain(&session.take_events()).for_each(report);
}

/// Masks what a header of gRPC holds in base64, such as `grpc-status-details-bin`: values with commas between, each
/// with padding or without. `None` where there is nothing to mask.
fn mask_binary(session: &mut Session, value: &HeaderValue, lane: &dyn Fn() -> String) -> Option<HeaderValue> {
    let mut changed = false;
    let parts: Vec<Vec<u8>> = value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(|part| {
            let masked = BINARY.decode(part.trim_ascii()).ok().and_then(|raw| session.mask(&raw, b"", lane));
            changed |= masked.is_some();
            masked.map_or_else(|| part.to_vec(), |masked| BINARY.encode(masked).into_bytes())
        })
        .collect();
    if changed { HeaderValue::from_bytes(&parts.join(&b","[..])).ok() } else { None }
}

/// Base64 as gRPC reads it: padding may be there, and is not written.
const BINARY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
