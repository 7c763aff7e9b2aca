//! The bytes of each kind of entry.

use super::{
    Bodies, CREDENTIAL, Erasure, Event, Gap, GapReason, Hold, Intent, Key, KeyRole, MAX_CLAIMS, Outcome,
    POLICY, RULE, Refused, Scope, Start, Stored, WORD,
};
use crate::codec::{DecodeError, Decoder, Encoder};
use crate::codes;

/// A code that must be known.
fn known<T>(what: &'static str, code: u8, of: fn(u8) -> Option<T>) -> Result<T, DecodeError> {
    of(code).ok_or(DecodeError::Unknown { what, code })
}

/// A code that may be 0.
fn maybe<T>(what: &'static str, code: u8, of: fn(u8) -> Option<T>) -> Result<Option<T>, DecodeError> {
    if code == 0 { Ok(None) } else { known(what, code, of).map(Some) }
}

fn flags<const N: usize>(flags: [bool; N]) -> u8 {
    flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag))
}

fn unflag<const N: usize>(byte: u8) -> Result<[bool; N], DecodeError> {
    if N < 8 && byte >> N != 0 {
        return Err(DecodeError::Unknown { what: "a flag", code: byte });
    }
    let mut out = [false; N];
    for (bit, flag) in out.iter_mut().enumerate() {
        *flag = byte >> bit & 1 == 1;
    }
    Ok(out)
}

impl Intent {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.id);
        out.u8(flags([self.side_effects, self.streaming, self.request_complete]));
        out.u8(codes::identity_code(self.identity));
        out.u8(codes::dialect_code(self.dialect));
        out.u8(codes::action_code(self.action));
        out.u8(self.effect.map_or(0, codes::effect_code));
        out.varint(self.waited);
        out.bytes(&self.who);
        out.bytes(&self.what);
        out.varint(self.request_len);
        out.bytes(&self.request);
        out.text(&self.rule);
        out.text(&self.policy);
        out.text(&self.credential);
        out.text(&self.version);
        out.u8(u8::try_from(self.claims.len()).expect("an intent makes at most three claims"));
        for claim in &self.claims {
            out.bytes(claim);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let id = from.array()?;
        let [side_effects, streaming, request_complete] = unflag(from.u8()?)?;
        Ok(Self {
            id,
            side_effects,
            streaming,
            request_complete,
            identity: known("the kind of identity", from.u8()?, codes::identity_of)?,
            dialect: known("the dialect", from.u8()?, codes::dialect_of)?,
            action: known("the action", from.u8()?, codes::action_of)?,
            effect: maybe("the effect", from.u8()?, codes::effect_of)?,
            waited: from.varint()?,
            who: from.array()?,
            what: from.array()?,
            request_len: from.varint()?,
            request: from.array()?,
            rule: from.text(RULE)?,
            policy: from.text(POLICY)?,
            credential: from.text(CREDENTIAL)?,
            version: from.text(CREDENTIAL)?,
            claims: {
                let count = from.u8()?;
                if usize::from(count) > MAX_CLAIMS {
                    return Err(DecodeError::Unknown { what: "the number of claims", code: count });
                }
                (0..count).map(|_| from.array()).collect::<Result<_, _>>()?
            },
        })
    }
}

impl Stored {
    pub(super) fn encode(stored: Option<&Self>, out: &mut Encoder) {
        let Some(stored) = stored else { return out.u8(0) };
        out.varint(stored.blocks);
        out.varint(stored.first_segment);
        out.varint(stored.last_segment - stored.first_segment);
        out.varint(stored.plain);
        out.bytes(&stored.digest);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Option<Self>, DecodeError> {
        let blocks = from.varint()?;
        if blocks == 0 {
            return Ok(None);
        }
        let first_segment = from.varint()?;
        let span = from.varint()?;
        let last_segment = first_segment.checked_add(span).ok_or(DecodeError::NotCanonical("a segment"))?;
        Ok(Some(Self { blocks, first_segment, last_segment, plain: from.varint()?, digest: from.array()? }))
    }
}

impl Bodies {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(flags([self.request_cut, self.response_cut, self.request_withheld, self.lost]));
        out.varint(self.request_len);
        out.varint(self.response_len);
        Stored::encode(self.request.as_ref(), out);
        Stored::encode(self.response.as_ref(), out);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [request_cut, response_cut, request_withheld, lost] = unflag(from.u8()?)?;
        Ok(Self {
            request_cut,
            response_cut,
            request_withheld,
            lost,
            request_len: from.varint()?,
            response_len: from.varint()?,
            request: Stored::decode(from)?,
            response: Stored::decode(from)?,
        })
    }
}

impl Outcome {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.id);
        out.varint(self.intent);
        out.u8(codes::ending_code(self.ending));
        out.u16(self.status);
        out.u8(self.refusal.map_or(0, codes::refusal_code));
        self.bodies.encode(out);
        out.varint(self.first_byte);
        out.varint(self.duration);
        out.varint(self.masks);
        if let Some(digest) = &self.mask_digest {
            out.bytes(digest);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut outcome = Self {
            id: from.array()?,
            intent: from.varint()?,
            ending: known("the ending", from.u8()?, codes::ending_of)?,
            status: from.u16()?,
            refusal: maybe("the refusal", from.u8()?, codes::refusal_of)?,
            bodies: Bodies::decode(from)?,
            first_byte: from.varint()?,
            duration: from.varint()?,
            masks: from.varint()?,
            mask_digest: None,
        };
        if outcome.masks > 0 {
            outcome.mask_digest = Some(from.array()?);
        }
        Ok(outcome)
    }
}

impl Refused {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.bytes(&self.id);
        out.u8(codes::ending_code(self.ending));
        out.u16(self.status);
        out.u8(self.refusal.map_or(0, codes::refusal_code));
        out.u8(self.identity.map_or(0, codes::identity_code));
        out.u8(self.dialect.map_or(0, codes::dialect_code));
        out.u8(self.action.map_or(0, codes::action_code));
        out.u8(self.effect.map_or(0, codes::effect_code));
        out.bytes(&self.who);
        out.bytes(&self.what);
        out.text(&self.rule);
        out.text(&self.policy);
        self.bodies.encode(out);
        out.varint(self.duration);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: from.array()?,
            ending: known("the ending", from.u8()?, codes::ending_of)?,
            status: from.u16()?,
            refusal: maybe("the refusal", from.u8()?, codes::refusal_of)?,
            identity: maybe("the kind of identity", from.u8()?, codes::identity_of)?,
            dialect: maybe("the dialect", from.u8()?, codes::dialect_of)?,
            action: maybe("the action", from.u8()?, codes::action_of)?,
            effect: maybe("the effect", from.u8()?, codes::effect_of)?,
            who: from.array()?,
            what: from.array()?,
            rule: from.text(RULE)?,
            policy: from.text(POLICY)?,
            bodies: Bodies::decode(from)?,
            duration: from.varint()?,
        })
    }
}

impl Event {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(codes::event_code(self.event));
        out.bytes(&self.who);
        out.text(&self.object);
        out.text(&self.outcome);
        out.u8(u8::from(self.request.is_some()));
        if let Some(request) = &self.request {
            out.bytes(request);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            event: known("the kind of event", from.u8()?, codes::event_of)?,
            who: from.array()?,
            object: from.text(WORD)?,
            outcome: from.text(WORD)?,
            request: match from.u8()? {
                0 => None,
                1 => Some(from.array()?),
                code => return Err(DecodeError::Unknown { what: "a flag", code }),
            },
        })
    }
}

impl Gap {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(match self.reason {
            GapReason::RolledBack => 1,
            GapReason::WriteFailed => 2,
        });
        out.varint(self.count);
        out.text(&self.note);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let reason = match from.u8()? {
            1 => GapReason::RolledBack,
            2 => GapReason::WriteFailed,
            code => return Err(DecodeError::Unknown { what: "the reason of a gap", code }),
        };
        Ok(Self { reason, count: from.varint()?, note: from.text(WORD)? })
    }
}

impl Erasure {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(match self.scope {
            Scope::Session => 1,
            Scope::Subject => 2,
            Scope::Segment => 3,
        });
        out.varint(self.segment);
        out.varint(self.sessions);
        out.bytes(&self.list);
        out.bytes(&self.who);
        out.text(&self.reason);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let scope = match from.u8()? {
            1 => Scope::Session,
            2 => Scope::Subject,
            3 => Scope::Segment,
            code => return Err(DecodeError::Unknown { what: "the scope of an erasure", code }),
        };
        Ok(Self {
            scope,
            segment: from.varint()?,
            sessions: from.varint()?,
            list: from.array()?,
            who: from.array()?,
            reason: from.text(WORD)?,
        })
    }
}

impl Hold {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(u8::from(self.released));
        out.bytes(&self.target);
        out.bytes(&self.who);
        out.bytes(&self.what);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [released] = unflag(from.u8()?)?;
        Ok(Self { released, target: from.array()?, who: from.array()?, what: from.array()? })
    }
}

impl Key {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(match self.role {
            KeyRole::Log => 1,
            KeyRole::Root => 2,
        });
        out.bytes(&self.key);
        out.text(&self.name);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let role = match from.u8()? {
            1 => KeyRole::Log,
            2 => KeyRole::Root,
            code => return Err(DecodeError::Unknown { what: "the role of a key", code }),
        };
        Ok(Self { role, key: from.array()?, name: from.text(WORD)? })
    }
}

impl Start {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(u8::from(self.durable));
        out.varint(self.interrupted);
        out.text(&self.software);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [durable] = unflag(from.u8()?)?;
        Ok(Self { durable, interrupted: from.varint()?, software: from.text(WORD)? })
    }
}
