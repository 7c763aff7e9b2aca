//! What a request asks for.

use std::sync::Arc;

use http::{HeaderMap, Uri};

/// The protocol a caller speaks; errors are answered in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// The OpenAI API and those that copy it (vLLM, llama.cpp).
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic's messages API.
    Anthropic,
    /// Ollama's own API below `/api/`.
    Ollama,
    /// vLLM's routes beside the OpenAI ones.
    Vllm,
    /// llama.cpp's routes beside the OpenAI ones.
    LlamaCpp,
    /// KServe v2 (Open Inference Protocol).
    #[serde(rename = "kserve")]
    KServe,
    /// Anything else: errors are RFC 9457 problem details.
    Unknown,
}

impl Dialect {
    /// The name used in policies, logs and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama-cpp",
            Self::KServe => "kserve",
            Self::Unknown => "unknown",
        }
    }

    /// A guess from the head alone, good enough to word an error before the operation is known.
    #[must_use]
    pub fn guess(uri: &Uri, headers: &HeaderMap) -> Self {
        let path = uri.path();
        if headers.contains_key("anthropic-version") || path.ends_with("/v1/messages") {
            Self::Anthropic
        } else if path.contains("/v2/") {
            Self::KServe
        } else if path.contains("/v1/") || path.contains("/openai/") {
            Self::OpenAi
        } else if path.contains("/api/") {
            Self::Ollama
        } else {
            Self::Unknown
        }
    }
}

/// What is to be done to the model or its surroundings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Ask a model for an answer: chat, completion, response, transcription, image.
    Infer,
    /// Turn text into vectors, or rank it.
    Embed,
    /// Turn text into tokens or back.
    Tokenize,
    /// See which models there are.
    ListModels,
    /// See health, version, metrics or settings of the model server.
    Inspect,
    /// Read stored objects: files, batches, jobs, stored responses.
    Read,
    /// Store an object such as a file.
    Write,
    /// Remove a stored object or model.
    Delete,
    /// Take data out of the model's store in bulk: file contents, saved caches.
    Export,
    /// Train or fine-tune.
    Train,
    /// Start work on many requests at once.
    Batch,
    /// Load, unload, pull, copy, put to sleep, reconfigure.
    ManageModel,
    /// Change a credential of the model server.
    RotateCredential,
    /// A route no table knows.
    Unknown,
}

impl Action {
    /// Every action, for schemas and help texts.
    pub const ALL: [Self; 14] = [
        Self::Infer,
        Self::Embed,
        Self::Tokenize,
        Self::ListModels,
        Self::Inspect,
        Self::Read,
        Self::Write,
        Self::Delete,
        Self::Export,
        Self::Train,
        Self::Batch,
        Self::ManageModel,
        Self::RotateCredential,
        Self::Unknown,
    ];

    /// The name used in policies, logs and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Embed => "embed",
            Self::Tokenize => "tokenize",
            Self::ListModels => "list-models",
            Self::Inspect => "inspect",
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Export => "export",
            Self::Train => "train",
            Self::Batch => "batch",
            Self::ManageModel => "manage-model",
            Self::RotateCredential => "rotate-credential",
            Self::Unknown => "unknown",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }

    /// True if doing it twice, or without a record, could do harm: such a request is not forwarded
    /// before its intent is durable. What is not known to be harmless counts as harmful.
    #[must_use]
    pub fn has_side_effects(self) -> bool {
        !matches!(
            self,
            Self::Infer | Self::Embed | Self::Tokenize | Self::ListModels | Self::Inspect | Self::Read
        )
    }
}

/// One request, understood.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Operation {
    /// The protocol.
    pub dialect: Dialect,
    /// What it does.
    pub action: Action,
    /// The model it names, as the caller spelled it.
    pub model: Option<Arc<str>>,
    /// Every other model it names: what a new model is made from, where a copy goes, which ones may step in.
    /// Who judges `model` must judge each of these too.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub other_models: Arc<[Arc<str>]>,
    /// True if the caller asked for a stream.
    pub streaming: bool,
    /// The route as a template, such as `/v1/fine_tuning/jobs/{id}`: bounded, so fit for metrics.
    pub route: Arc<str>,
}

/// The configured upstream that a request goes to. Chosen from configuration, never by the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize)]
pub struct UpstreamName(pub Arc<str>);
