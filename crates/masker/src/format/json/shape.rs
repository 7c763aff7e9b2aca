//! What the members of known event streams mean.
//!
//! All dialects are read at once, by the names of members: a stream of an unknown kind is then no special case.

/// Members whose value names something and never goes on in the next event. They are masked as wholes.
pub(crate) fn is_structural(key: &[u8]) -> bool {
    matches!(
        key,
        b"id"
            | b"object"
            | b"model"
            | b"type"
            | b"role"
            | b"name"
            | b"status"
            | b"event"
            | b"finish_reason"
            | b"stop_reason"
            | b"stop_type"
            | b"done_reason"
            | b"created_at"
            | b"item_id"
            | b"call_id"
            | b"response_id"
            | b"tool_call_id"
            | b"service_tier"
            | b"system_fingerprint"
            | b"obfuscation"
            | b"encoding"
            | b"finishReason"
            | b"modelVersion"
            | b"responseId"
    ) || index(key).is_some()
}

/// Structural members that are spelled by a model, or hold what people read: they may go on after all.
pub(crate) fn may_go_on(key: &[u8]) -> bool {
    !is_structural(key) || matches!(key, b"name" | b"status" | b"event")
}

/// Members below which every text is a whole.
pub(crate) fn is_whole(key: &[u8]) -> bool {
    matches!(key, b"error" | b"usage" | b"timings" | b"generation_settings" | b"metadata" | b"details")
}

/// Members that hold JSON as text: escapes are doubled there.
pub(crate) fn is_nested(key: &[u8]) -> bool {
    matches!(key, b"arguments" | b"partial_json" | b"input_json" | b"function_call_arguments")
}

/// Members that tell apart texts with the same path.
pub(crate) const INDEXES: [&[u8]; 5] =
    [b"index", b"output_index", b"content_index", b"summary_index", b"choice_index"];

/// Which of them a member is.
pub(crate) fn index(name: &[u8]) -> Option<usize> {
    // Nearly no member is one.
    if !name.ends_with(b"index") {
        return None;
    }
    INDEXES.iter().position(|index| *index == name)
}

/// Members that say, where they are a text, that the texts beside them are complete.
pub(crate) fn says_the_end(name: &[u8]) -> bool {
    matches!(name, b"finish_reason" | b"stop_reason" | b"finishReason")
}

/// Members of which one at the root says that a document is a part of a stream.
pub(crate) fn is_of_a_stream(name: &[u8]) -> bool {
    matches!(name, b"candidates" | b"choices" | b"delta" | b"event_type" | b"generated_text")
}

/// Whether a number is that of a token.
pub(crate) fn is_id_of_a_token(name: &[u8], parent: &[u8]) -> bool {
    name == b"token_id" || (name == b"id" && parent == b"token")
}

/// A few bits of a name, nearly always different for different names of one object.
pub(crate) fn fold(name: &[u8]) -> u64 {
    let length = name.len();
    let at = |at: usize| u64::from(name.get(at).copied().unwrap_or_default());
    at(0).wrapping_mul(31)
        ^ at(length / 2).wrapping_mul(7)
        ^ at(length.wrapping_sub(1)).wrapping_mul(3)
        ^ length as u64
}

/// Members that hold log-probabilities, or other lists of tokens.
pub(crate) fn is_logprobs(key: &[u8]) -> bool {
    matches!(
        key,
        b"completion_probabilities"
            | b"tokens"
            | b"prefill"
            | b"top_tokens"
            | b"token_strs"
            | b"prompt_tokens"
    ) || key.ends_with(b"logprobs")
}

/// Members whose numbers are tokens or bytes of a text. A mask over the text does not cover them.
pub(crate) fn is_ids(key: &[u8]) -> bool {
    matches!(key, b"tokens" | b"context" | b"bytes" | b"ids")
        || [&b"_ids"[..], b"_tokens", b"_bytes"].iter().any(|end| key.ends_with(end))
}

/// Lists of numbers beside tokens that say nothing of their text.
pub(crate) fn is_measure(key: &[u8]) -> bool {
    matches!(key, b"token_logprobs" | b"text_offset" | b"text_offsets" | b"logprob" | b"ranks")
}

/// Members of an element of log-probabilities that hold its token, the likeliest first.
pub(crate) const TOKEN_NAMES: [&[u8]; 6] =
    [b"token", b"text", b"decoded_token", b"tok_str", b"piece", b"content"];

/// What an event's `type` says about its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// Texts go on in later events.
    Delta,
    /// Texts are complete in themselves.
    Whole,
    /// As `Whole`; and texts that went on before this event end here.
    End,
}

/// The kind of an event by its `type`, as OpenAI's responses and Anthropic's messages have it.
pub(crate) fn kind_of(event: &[u8]) -> EventKind {
    match event {
        b"content_block_start" => EventKind::Delta,
        b"content_block_stop" | b"message_delta" | b"message_stop" | b"error" => EventKind::End,
        b"message_start" | b"ping" => EventKind::Whole,
        _ if event.ends_with(b".delta") => EventKind::Delta,
        _ if event.starts_with(b"response.") => {
            let ends = [&b".done"[..], b".completed", b".failed", b".incomplete", b".cancelled"];
            if ends.iter().any(|end| event.ends_with(end)) { EventKind::End } else { EventKind::Whole }
        }
        _ => EventKind::Delta,
    }
}

/// Whether an event tells that a text begins, or what texts will belong to.
pub(crate) fn begins(event: &[u8]) -> bool {
    [&b"_start"[..], b"-start", b".added", b".created"].iter().any(|end| event.ends_with(end))
}

/// Members of the root whose text tells what a document is, and of which answer: no client adds them up.
pub(crate) fn tells_whose(name: &[u8]) -> bool {
    matches!(
        name,
        b"id"
            | b"object"
            | b"model"
            | b"created_at"
            | b"event"
            | b"event_type"
            | b"item_id"
            | b"response_id"
            | b"responseId"
            | b"modelVersion"
            | b"system_fingerprint"
            | b"service_tier"
    )
}

/// Members whose number no client adds up, and some cannot do without. The number of an event in its sequence is one:
/// what is made up is a part of the event it is made after.
pub(crate) fn is_number_of_an_event(name: &[u8]) -> bool {
    matches!(name, b"created" | b"created_at" | b"timestamp" | b"sequence_number" | b"id" | b"logprob")
}

/// An event that opens a text and the ones that carry it on are one lane: the name under which it is kept.
pub(crate) fn alias<'a>(event: &'a [u8], key: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match (event, key) {
        (b"content_block_start", b"content_block") => (b"content_block_delta", b"delta"),
        (b"content_block_start", _) => (b"content_block_delta", key),
        // Texts may begin in a message and go on in deltas. That they are of one is told apart elsewhere.
        (_, b"message") => (event, b"delta"),
        _ => (event, key),
    }
}
