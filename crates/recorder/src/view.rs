//! What people are shown of a session.

use gatewayd_core::{MaskCount, MaskPlace, RequestId, Timestamp};
use serde::Serialize;

use crate::head::HeaderField;

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The request's name.
    pub id: RequestId,
    /// Index of its first entry in the log.
    pub number: u64,
    /// When that entry was made, in microseconds since 1970.
    pub time: Timestamp,
    /// Who vouches for the caller.
    pub issuer: Option<String>,
    /// The caller.
    pub subject: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// The caller's groups.
    pub groups: Vec<String>,
    /// HTTP method.
    pub method: String,
    /// Path and query, masked.
    pub path: String,
    /// The dialect, if the operation was known.
    pub dialect: Option<&'static str>,
    /// The action, if the operation was known.
    pub action: Option<&'static str>,
    /// The model that the request names.
    pub model: Option<String>,
    /// The upstream that was chosen.
    pub upstream: Option<String>,
    /// What policy decided.
    pub effect: Option<&'static str>,
    /// The rule that decided.
    pub rule: Option<String>,
    /// HTTP status of the answer; 0 if there was none (yet).
    pub status: u16,
    /// How it ended; `open` if it has not.
    pub ending: &'static str,
    /// Why it was refused, if so.
    pub refusal: Option<&'static str>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// From arrival to the end, in microseconds.
    pub duration_us: u64,
    /// How many spans were masked in the answer.
    pub masked: u64,
    /// Words and bodies were erased.
    pub erased: bool,
    /// What is shown is not what was signed: somebody changed words, entries or how they hang together. Run `verify`.
    pub altered: bool,
}

/// Everything known of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bundle {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: Summary,
    /// How the caller proved who they are.
    pub identity_kind: Option<&'static str>,
    /// Address of the other end of the connection.
    pub peer: Option<String>,
    /// The connection was protected by TLS.
    pub tls: bool,
    /// The route as a template.
    pub route: Option<String>,
    /// The caller asked for a stream.
    pub streaming: bool,
    /// The operation has side effects, so that it was not forwarded before its intent was durable.
    pub side_effects: bool,
    /// Version of the policy that decided.
    pub policy_version: Option<String>,
    /// Approvals that this request used, as `kind:id`.
    pub claims: Vec<String>,
    /// Name of the injected credential.
    pub credential: Option<String>,
    /// Version of the injected credential; says nothing of its value.
    pub credential_version: Option<String>,
    /// `Content-Type` of the request.
    pub request_type: Option<String>,
    /// The version of HTTP that the caller spoke. `None` where it cannot be read, like the header fields.
    pub http_version: Option<String>,
    /// Header fields of the request. Empty where they cannot be read: no root key, or erased.
    pub request_headers: Vec<HeaderField>,
    /// Header fields of the answer, likewise.
    pub response_headers: Vec<HeaderField>,
    /// Salted SHA-256 of the request's body as the caller sent it, and whether all of it had been seen.
    pub request_digest: Option<String>,
    /// How often each rule masked something in the answer.
    pub masks: Vec<MaskCount>,
    /// Where the first of them are. Never what they hide.
    pub mask_places: Vec<MaskPlace>,
    /// From arrival to the intent, in microseconds: waiting for approval is in here.
    pub waited_us: u64,
    /// From arrival to the first byte of the answer's body, in microseconds.
    pub first_byte_us: u64,
    /// Index of the entry that closed it.
    pub outcome: Option<u64>,
    /// What is stored of the request's body.
    pub stored_request: StoredBody,
    /// What is stored of the answer's body.
    pub stored_response: StoredBody,
    /// What passed and is not in the recording, in words for people; empty if all of it is there.
    pub missing: Vec<String>,
    /// What else the log holds of this request: votes, reads.
    pub events: Vec<EventView>,
}

impl Bundle {
    /// When the request arrived; [`Summary::time`] is that of its first entry.
    #[must_use]
    pub fn arrived(&self) -> Timestamp {
        // The entry of a refusal is made at its end.
        let since = if self.is_refusal() { self.summary.duration_us } else { self.waited_us };
        Timestamp(self.summary.time.0.saturating_sub_unsigned(since))
    }

    /// Its first entry is its last.
    fn is_refusal(&self) -> bool {
        self.outcome == Some(self.summary.number)
    }
}

/// What is stored of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StoredBody {
    /// Sealed blocks.
    pub blocks: u64,
    /// Bytes of text in them; 0 where nobody counted, after an interruption.
    pub bytes: u64,
    /// SHA-256 of the sealed blocks, hex.
    pub digest: Option<String>,
    /// Not all of it is stored: too long.
    pub cut: bool,
    /// Not all of it is stored: it could not be masked.
    pub withheld: bool,
    /// Not all of it is stored: it could not be written.
    pub lost: bool,
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HoldView {
    /// Its number, by which it is released.
    pub number: i64,
    /// When it was set.
    pub time: Timestamp,
    /// The session it covers, if it covers one.
    pub session: Option<RequestId>,
    /// The caller whose sessions it covers, as [`Identity::key`](gatewayd_core::Identity::key), otherwise.
    pub subject: Option<String>,
    /// Who set it: subject, or `gatewayd`.
    pub by: String,
    /// Who vouches for them; `None` is the gateway itself, whatever somebody may be called.
    pub issuer: Option<String>,
    /// Why.
    pub reason: String,
    /// When it was released, if it was.
    pub released: Option<Timestamp>,
    /// What is shown is not what was signed.
    pub altered: bool,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Index of the entry.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: &'static str,
    /// Who did it: subject, or `gatewayd`.
    pub actor: String,
    /// Who vouches for them; `None` is the gateway itself, whatever somebody may be called.
    pub issuer: Option<String>,
    /// To what.
    pub object: String,
    /// What came of it.
    pub outcome: String,
    /// The request it belongs to.
    pub request: Option<RequestId>,
    /// What is shown is not what was signed: somebody changed it. Run `verify`.
    pub altered: bool,
}
