//! A "no" in the caller's own dialect.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::{Body, Dialect, RequestId, Trail};

/// OpenAI's SDKs send 409, 429 and 503 again unless this header says no.
const X_SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// The request's name, so that a caller can quote it.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why a request was refused. The names are stable: clients, policies and dashboards may match on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// No credential was presented.
    MissingCredentials,
    /// The presented credential does not hold: malformed, forged, expired, revoked, for someone else.
    InvalidToken,
    /// The identity provider's keys cannot be had, so the credential cannot be judged.
    IdentityProviderUnavailable,
    /// Policy does not permit it.
    PolicyDenied,
    /// Policy asks for approval and nobody decided yet.
    ApprovalPending,
    /// An approver said no.
    ApprovalDenied,
    /// The approval ended before it was used.
    ApprovalExpired,
    /// The approval was used by another request.
    ApprovalConsumed,
    /// The request cannot be understood: bad JSON, duplicate keys, broken framing.
    InvalidRequest,
    /// The route is no route of this gateway, or names no upstream.
    NotFound,
    /// The request's body is over the limit.
    BodyTooLarge,
    /// The request's head is over the limit.
    HeadersTooLarge,
    /// The request's body did not arrive in time.
    RequestTimeout,
    /// Too many requests at once.
    TooManyRequests,
    /// The upstream cannot be reached, or broke off before an answer.
    UpstreamUnavailable,
    /// The upstream's answer is not HTTP, or not what its headers say.
    UpstreamInvalid,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The answer could not be masked, so it is withheld.
    MaskingFailed,
    /// The evidence cannot be written, so nothing passes.
    RecorderUnavailable,
    /// The upstream's credential cannot be had.
    CredentialUnavailable,
    /// The gateway is shutting down.
    ShuttingDown,
    /// A control did not find what an outer one must establish: the stack is assembled wrongly.
    Misconfigured,
}

impl RefusalCode {
    /// The name shown to callers and used in records and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingCredentials => "missing_credentials",
            Self::InvalidToken => "invalid_token",
            Self::IdentityProviderUnavailable => "identity_provider_unavailable",
            Self::PolicyDenied => "policy_denied",
            Self::ApprovalPending => "approval_pending",
            Self::ApprovalDenied => "approval_denied",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalConsumed => "approval_consumed",
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::BodyTooLarge => "body_too_large",
            Self::HeadersTooLarge => "headers_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::TooManyRequests => "too_many_requests",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::MaskingFailed => "masking_failed",
            Self::RecorderUnavailable => "recorder_unavailable",
            Self::CredentialUnavailable => "credential_unavailable",
            Self::ShuttingDown => "shutting_down",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The HTTP status it is answered with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::MissingCredentials | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            // 403, not 202: OpenAI's SDKs take 202 for success.
            Self::PolicyDenied | Self::ApprovalPending | Self::ApprovalDenied | Self::ApprovalExpired => {
                StatusCode::FORBIDDEN
            }
            Self::ApprovalConsumed => StatusCode::CONFLICT,
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::UpstreamUnavailable | Self::UpstreamInvalid | Self::MaskingFailed => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::IdentityProviderUnavailable
            | Self::RecorderUnavailable
            | Self::CredentialUnavailable
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The name of that code.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }

    /// True if the same request may succeed when it is simply sent again.
    fn may_be_sent_again(self) -> bool {
        matches!(
            self,
            Self::IdentityProviderUnavailable
                | Self::TooManyRequests
                | Self::RecorderUnavailable
                | Self::CredentialUnavailable
                | Self::ShuttingDown
        )
    }

    /// OpenAI's `error.type`.
    fn openai_type(self) -> &'static str {
        match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// Anthropic's `error.type`.
    fn anthropic_type(self) -> &'static str {
        match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }
}

/// A refusal: a code, a sentence for the caller, and what the caller may need to go on.
///
/// The sentence says what to do next. It must hold no secret and nothing of an upstream's error text.
#[derive(Debug, Clone)]
pub struct Refusal {
    code: RefusalCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    request_id: Option<RequestId>,
    details: Vec<(&'static str, String)>,
    challenge: Option<String>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: RefusalCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            request_id: None,
            details: Vec::new(),
            challenge: None,
        }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        self.code
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Adds `Retry-After` (RFC 9110), rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a member to the error object, such as `approval_id` or `rule`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Replaces the `WWW-Authenticate` challenge of a 401 (RFC 9110, RFC 6750).
    #[must_use]
    pub fn challenge(mut self, challenge: impl Into<String>) -> Self {
        self.challenge = Some(challenge.into());
        self
    }

    /// Notes the reason on the trail, and the request's name in the answer.
    #[must_use]
    pub fn on(mut self, trail: &Trail) -> Self {
        trail.refuse(self.code);
        self.request_id = Some(trail.id());
        self
    }

    /// The error object's text in the caller's dialect; also fit for the `data:` of an event in mid-stream.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> String {
        let mut extra = serde_json::Map::new();
        for (name, value) in &self.details {
            extra.insert((*name).to_owned(), json!(value));
        }
        if let Some(id) = &self.request_id {
            extra.insert("request_id".to_owned(), json!(id.to_string()));
        }
        let code = self.code.as_str();
        let message = &*self.message;
        let merge = |mut object: serde_json::Value| {
            if let Some(map) = object.as_object_mut() {
                map.extend(extra.clone());
            }
            object
        };
        let value = match dialect {
            Dialect::OpenAi | Dialect::Vllm | Dialect::LlamaCpp => json!({
                "error": merge(json!({
                    "message": message, "type": self.code.openai_type(), "param": null, "code": code,
                }))
            }),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": merge(json!({"type": self.code.anthropic_type(), "message": message, "code": code})),
            }),
            Dialect::Ollama | Dialect::KServe => merge(json!({"error": message, "code": code})),
            Dialect::Unknown => merge(json!({
                "type": "about:blank",
                "title": self.code.status().canonical_reason().unwrap_or("Error"),
                "status": self.code.status().as_u16(),
                "detail": message,
                "code": code,
            })),
        };
        value.to_string()
    }

    /// The response in the caller's dialect.
    #[must_use]
    pub fn response(&self, dialect: Dialect) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body(dialect)));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        let media_type = match dialect {
            Dialect::Unknown => "application/problem+json",
            _ => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if !self.code.may_be_sent_again() {
            headers.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            let challenge = self.challenge.as_deref().unwrap_or("Bearer");
            let value =
                HeaderValue::from_str(challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if let Some(id) = self.request_id
            && let Ok(value) = HeaderValue::from_str(&id.to_string())
        {
            headers.insert(X_REQUEST_ID, value);
        }
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: &Refusal, dialect: Dialect) -> serde_json::Value {
        serde_json::from_str(&refusal.body(dialect)).expect("an error body is JSON")
    }

    #[test]
    fn each_dialect_gets_its_own_shape() {
        let refusal = Refusal::new(RefusalCode::PolicyDenied, "no").with("rule", "r1");
        assert_eq!(body(&refusal, Dialect::OpenAi)["error"]["code"], "policy_denied");
        assert_eq!(body(&refusal, Dialect::OpenAi)["error"]["rule"], "r1");
        assert_eq!(body(&refusal, Dialect::Anthropic)["type"], "error");
        assert_eq!(body(&refusal, Dialect::Anthropic)["error"]["type"], "permission_error");
        assert_eq!(body(&refusal, Dialect::Ollama)["error"], "no");
        assert_eq!(body(&refusal, Dialect::Unknown)["status"], 403);
    }

    #[test]
    fn a_message_cannot_break_out_of_its_string() {
        let refusal = Refusal::new(RefusalCode::InvalidRequest, "a\"},\r\n\u{0}evil");
        assert_eq!(body(&refusal, Dialect::OpenAi)["error"]["message"], "a\"},\r\n\u{0}evil");
        assert!(!refusal.body(Dialect::OpenAi).contains('\n'), "an event's data must stay on one line");
    }

    #[test]
    fn retry_is_said_to_clients_that_would_retry_by_themselves() {
        let pending = Refusal::new(RefusalCode::ApprovalConsumed, "used").response(Dialect::OpenAi);
        assert_eq!(pending.headers()["x-should-retry"], "false");
        let busy = Refusal::new(RefusalCode::RecorderUnavailable, "busy")
            .retry_after(Duration::from_millis(1500))
            .response(Dialect::OpenAi);
        assert!(busy.headers().get("x-should-retry").is_none());
        assert_eq!(busy.headers()["retry-after"], "2");
    }

    #[test]
    fn every_code_has_its_name() {
        for code in
            [RefusalCode::MissingCredentials, RefusalCode::ApprovalConsumed, RefusalCode::Misconfigured]
        {
            assert_eq!(RefusalCode::from_name(code.as_str()), Some(code));
        }
    }
}
