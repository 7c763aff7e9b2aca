//! The numbers that stand for the shared vocabulary inside leaves. They never change and are never used
//! again for something else; 0 means "not known".

use gatewayd_core::{Action, Dialect, Effect, Ending, EventKind, IdentityKind, RefusalCode};

macro_rules! codes {
    ($to:ident, $from:ident, $type:ty, { $($variant:path = $code:literal,)* }) => {
        pub(crate) fn $to(value: $type) -> u8 {
            match value { $($variant => $code,)* }
        }
        pub(crate) fn $from(code: u8) -> Option<$type> {
            match code { $($code => Some($variant),)* _ => None }
        }
    };
}

codes!(dialect_code, dialect_of, Dialect, {
    Dialect::OpenAi = 1,
    Dialect::Anthropic = 2,
    Dialect::Ollama = 3,
    Dialect::Vllm = 4,
    Dialect::LlamaCpp = 5,
    Dialect::KServe = 6,
    Dialect::Unknown = 7,
});

codes!(action_code, action_of, Action, {
    Action::Infer = 1,
    Action::Embed = 2,
    Action::Tokenize = 3,
    Action::ListModels = 4,
    Action::Inspect = 5,
    Action::Read = 6,
    Action::Write = 7,
    Action::Delete = 8,
    Action::Export = 9,
    Action::Train = 10,
    Action::Batch = 11,
    Action::ManageModel = 12,
    Action::RotateCredential = 13,
    Action::Unknown = 14,
});

codes!(effect_code, effect_of, Effect, {
    Effect::Allow = 1,
    Effect::Deny = 2,
    Effect::Approve = 3,
});

codes!(ending_code, ending_of, Ending, {
    Ending::Complete = 1,
    Ending::Refused = 2,
    Ending::ClientGone = 3,
    Ending::UpstreamCut = 4,
    Ending::Limit = 5,
    Ending::Withheld = 6,
    Ending::Interrupted = 7,
});

codes!(identity_code, identity_of, IdentityKind, {
    IdentityKind::Oidc = 1,
    IdentityKind::Saml = 2,
    IdentityKind::GatewayToken = 3,
    IdentityKind::LocalAdmin = 4,
});

codes!(event_code, event_of, EventKind, {
    EventKind::ApprovalRequested = 1,
    EventKind::ApprovalVote = 2,
    EventKind::ApprovalState = 3,
    EventKind::CredentialRotated = 4,
    EventKind::PolicyChanged = 5,
    EventKind::ConfigurationChanged = 6,
    EventKind::TokenCreated = 7,
    EventKind::TokenRevoked = 8,
    EventKind::AdminRead = 9,
    EventKind::HeadRefused = 10,
    EventKind::ConfigurationRefused = 11,
    EventKind::StrangersCounted = 12,
});

codes!(refusal_code, refusal_of, RefusalCode, {
    RefusalCode::MissingCredentials = 1,
    RefusalCode::InvalidToken = 2,
    RefusalCode::IdentityProviderUnavailable = 3,
    RefusalCode::PolicyDenied = 4,
    RefusalCode::ApprovalPending = 5,
    RefusalCode::ApprovalDenied = 6,
    RefusalCode::ApprovalExpired = 7,
    RefusalCode::ApprovalConsumed = 8,
    RefusalCode::InvalidRequest = 9,
    RefusalCode::NotFound = 10,
    RefusalCode::BodyTooLarge = 11,
    RefusalCode::HeadersTooLarge = 12,
    RefusalCode::RequestTimeout = 13,
    RefusalCode::TooManyRequests = 14,
    RefusalCode::UpstreamUnavailable = 15,
    RefusalCode::UpstreamInvalid = 16,
    RefusalCode::UpstreamTimeout = 17,
    RefusalCode::MaskingFailed = 18,
    RefusalCode::RecorderUnavailable = 19,
    RefusalCode::CredentialUnavailable = 20,
    RefusalCode::ShuttingDown = 21,
    RefusalCode::Misconfigured = 22,
});
