//! The entries of the log. `docs/evidence-format.md` describes each byte.

use gatewayd_core::{Action, Dialect, Effect, Ending, EventKind, IdentityKind, RefusalCode, Timestamp};

use crate::codec::{DecodeError, Decoder, Digest, Encoder, Text};
use crate::codes;

/// The version byte that every leaf begins with.
pub(crate) const VERSION: u8 = 1;
/// No leaf is longer.
pub(crate) const MAX_LEAF: usize = 300;
/// How many claims one intent may make.
pub(crate) const MAX_CLAIMS: usize = 3;

/// Bytes that the texts of leaves may take inline.
pub(crate) const RULE: usize = 32;
pub(crate) const POLICY: usize = 16;
pub(crate) const CREDENTIAL: usize = 24;
pub(crate) const WORD: usize = 64;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) time: Timestamp,
    pub(crate) kind: Kind,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request is about to be forwarded.
    Intent(Box<Intent>),
    /// How the answer to a forwarded request ended.
    Outcome(Box<Outcome>),
    /// A request that was not forwarded.
    Refusal(Box<Refused>),
    /// Something beside requests.
    Event(Event),
    /// Something could not be recorded.
    Gap(Gap),
    /// An outcome written for a request whose end nobody saw.
    Interruption(Box<Outcome>),
    /// Stored bodies were made unreadable or dropped.
    Erasure(Erasure),
    /// A legal hold was set or released.
    Hold(Hold),
    /// A key came into use.
    Key(Key),
    /// The recorder began to write.
    Start(Start),
    /// The recorder stopped in good order.
    Stop,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) id: [u8; 16],
    pub(crate) side_effects: bool,
    pub(crate) streaming: bool,
    /// The whole request body had been seen, so that `request` is its digest.
    pub(crate) request_complete: bool,
    pub(crate) identity: IdentityKind,
    pub(crate) dialect: Dialect,
    pub(crate) action: Action,
    pub(crate) effect: Option<Effect>,
    /// Microseconds between the request's arrival and this entry.
    pub(crate) waited: u64,
    pub(crate) who: Digest,
    pub(crate) what: Digest,
    pub(crate) request_len: u64,
    pub(crate) request: Digest,
    pub(crate) rule: Text,
    pub(crate) policy: Text,
    pub(crate) credential: Text,
    pub(crate) version: Text,
    pub(crate) claims: Vec<[u8; 16]>,
}

/// Where the sealed blocks of one direction are, and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) blocks: u64,
    pub(crate) first_segment: u64,
    pub(crate) last_segment: u64,
    /// Bytes of text before compression.
    pub(crate) plain: u64,
    pub(crate) digest: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) id: [u8; 16],
    /// Index of the intent.
    pub(crate) intent: u64,
    pub(crate) ending: Ending,
    /// 0 if no response was made.
    pub(crate) status: u16,
    pub(crate) refusal: Option<RefusalCode>,
    pub(crate) bodies: Bodies,
    pub(crate) first_byte: u64,
    pub(crate) duration: u64,
    pub(crate) masks: u64,
    /// Digest of the mask counts; only where there are any.
    pub(crate) mask_digest: Option<Digest>,
}

/// What was stored of a request and its response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bodies {
    /// Not all of the request is stored: it is over the limit.
    pub(crate) request_cut: bool,
    pub(crate) response_cut: bool,
    /// Not all of the request is stored: it could not be masked.
    pub(crate) request_withheld: bool,
    /// Something is missing because it could not be written.
    pub(crate) lost: bool,
    pub(crate) request_len: u64,
    pub(crate) response_len: u64,
    pub(crate) request: Option<Stored>,
    pub(crate) response: Option<Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) id: [u8; 16],
    pub(crate) ending: Ending,
    pub(crate) status: u16,
    pub(crate) refusal: Option<RefusalCode>,
    pub(crate) identity: Option<IdentityKind>,
    pub(crate) dialect: Option<Dialect>,
    pub(crate) action: Option<Action>,
    pub(crate) effect: Option<Effect>,
    pub(crate) who: Digest,
    pub(crate) what: Digest,
    pub(crate) rule: Text,
    pub(crate) policy: Text,
    pub(crate) bodies: Bodies,
    pub(crate) duration: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) event: EventKind,
    /// Digest of the actor; zeros for the gateway itself.
    pub(crate) who: Digest,
    pub(crate) object: Text,
    pub(crate) outcome: Text,
    pub(crate) request: Option<[u8; 16]>,
}

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapReason {
    /// The machine lost what had not reached the disk; the log is shorter than a checkpoint it published.
    RolledBack,
    /// Entries could not be written for a while; what they were for was refused.
    WriteFailed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) reason: GapReason,
    /// How many things are missing, as far as known.
    pub(crate) count: u64,
    pub(crate) note: Text,
}

/// What an erasure took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Session,
    Subject,
    Segment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) scope: Scope,
    /// For a segment: its number.
    pub(crate) segment: u64,
    /// How many sessions lost their key.
    pub(crate) sessions: u64,
    /// SHA-256 over the numbers of these sessions, ascending, 8 bytes each.
    pub(crate) list: Digest,
    pub(crate) who: Digest,
    pub(crate) reason: Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) released: bool,
    /// SHA-256 of the hold's row: what is held and why.
    pub(crate) target: Digest,
    pub(crate) who: Digest,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRole {
    /// Signs checkpoints.
    Log,
    /// Wraps the keys of subjects; named by its digest only.
    Root,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) role: KeyRole,
    /// The public key, or the name of a secret one.
    pub(crate) key: Digest,
    pub(crate) name: Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// True if entries reach the disk before they are acknowledged.
    pub(crate) durable: bool,
    /// How many requests were closed as interrupted.
    pub(crate) interrupted: u64,
    pub(crate) software: Text,
}

impl Leaf {
    /// The bytes that are hashed into the tree.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(256);
        out.u8(VERSION);
        out.u8(self.kind.code());
        out.i64(self.time.0);
        match &self.kind {
            Kind::Intent(intent) => intent.encode(&mut out),
            Kind::Outcome(outcome) | Kind::Interruption(outcome) => outcome.encode(&mut out),
            Kind::Refusal(refused) => refused.encode(&mut out),
            Kind::Event(event) => event.encode(&mut out),
            Kind::Gap(gap) => gap.encode(&mut out),
            Kind::Erasure(erasure) => erasure.encode(&mut out),
            Kind::Hold(hold) => hold.encode(&mut out),
            Kind::Key(key) => key.encode(&mut out),
            Kind::Start(start) => start.encode(&mut out),
            Kind::Stop => {}
        }
        debug_assert!(out.0.len() <= MAX_LEAF, "a leaf of {} bytes", out.0.len());
        out.0
    }

    /// Reads one entry; anything but its one encoding is refused.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_LEAF {
            return Err(DecodeError::Trailing(bytes.len() - MAX_LEAF));
        }
        let mut from = Decoder(bytes);
        let version = from.u8()?;
        if version != VERSION {
            return Err(DecodeError::Unknown { what: "the version", code: version });
        }
        let code = from.u8()?;
        let time = Timestamp(from.i64()?);
        let kind = match code {
            1 => Kind::Intent(Box::new(Intent::decode(&mut from)?)),
            2 => Kind::Outcome(Box::new(Outcome::decode(&mut from)?)),
            3 => Kind::Refusal(Box::new(Refused::decode(&mut from)?)),
            4 => Kind::Event(Event::decode(&mut from)?),
            5 => Kind::Gap(Gap::decode(&mut from)?),
            6 => Kind::Interruption(Box::new(Outcome::decode(&mut from)?)),
            7 => Kind::Erasure(Erasure::decode(&mut from)?),
            8 => Kind::Hold(Hold::decode(&mut from)?),
            9 => Kind::Key(Key::decode(&mut from)?),
            10 => Kind::Start(Start::decode(&mut from)?),
            11 => Kind::Stop,
            code => return Err(DecodeError::Unknown { what: "the kind of entry", code }),
        };
        from.end()?;
        Ok(Self { time, kind })
    }
}

impl Kind {
    fn code(&self) -> u8 {
        match self {
            Self::Intent(_) => 1,
            Self::Outcome(_) => 2,
            Self::Refusal(_) => 3,
            Self::Event(_) => 4,
            Self::Gap(_) => 5,
            Self::Interruption(_) => 6,
            Self::Erasure(_) => 7,
            Self::Hold(_) => 8,
            Self::Key(_) => 9,
            Self::Start(_) => 10,
            Self::Stop => 11,
        }
    }

    /// The name used in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::Outcome(_) => "outcome",
            Self::Refusal(_) => "refusal",
            Self::Event(_) => "event",
            Self::Gap(_) => "gap",
            Self::Interruption(_) => "interruption",
            Self::Erasure(_) => "erasure",
            Self::Hold(_) => "hold",
            Self::Key(_) => "key",
            Self::Start(_) => "start",
            Self::Stop => "stop",
        }
    }
}

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
    fn encode(&self, out: &mut Encoder) {
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

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(stored: Option<&Self>, out: &mut Encoder) {
        let Some(stored) = stored else { return out.u8(0) };
        out.varint(stored.blocks);
        out.varint(stored.first_segment);
        out.varint(stored.last_segment - stored.first_segment);
        out.varint(stored.plain);
        out.bytes(&stored.digest);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Option<Self>, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
        out.u8(flags([self.request_cut, self.response_cut, self.request_withheld, self.lost]));
        out.varint(self.request_len);
        out.varint(self.response_len);
        Stored::encode(self.request.as_ref(), out);
        Stored::encode(self.response.as_ref(), out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
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

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
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

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
        out.u8(codes::event_code(self.event));
        out.bytes(&self.who);
        out.text(&self.object);
        out.text(&self.outcome);
        out.u8(u8::from(self.request.is_some()));
        if let Some(request) = &self.request {
            out.bytes(request);
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
        out.u8(match self.reason {
            GapReason::RolledBack => 1,
            GapReason::WriteFailed => 2,
        });
        out.varint(self.count);
        out.text(&self.note);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let reason = match from.u8()? {
            1 => GapReason::RolledBack,
            2 => GapReason::WriteFailed,
            code => return Err(DecodeError::Unknown { what: "the reason of a gap", code }),
        };
        Ok(Self { reason, count: from.varint()?, note: from.text(WORD)? })
    }
}

impl Erasure {
    fn encode(&self, out: &mut Encoder) {
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

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
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
    fn encode(&self, out: &mut Encoder) {
        out.u8(u8::from(self.released));
        out.bytes(&self.target);
        out.bytes(&self.who);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [released] = unflag(from.u8()?)?;
        Ok(Self { released, target: from.array()?, who: from.array()? })
    }
}

impl Key {
    fn encode(&self, out: &mut Encoder) {
        out.u8(match self.role {
            KeyRole::Log => 1,
            KeyRole::Root => 2,
        });
        out.bytes(&self.key);
        out.text(&self.name);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let role = match from.u8()? {
            1 => KeyRole::Log,
            2 => KeyRole::Root,
            code => return Err(DecodeError::Unknown { what: "the role of a key", code }),
        };
        Ok(Self { role, key: from.array()?, name: from.text(WORD)? })
    }
}

impl Start {
    fn encode(&self, out: &mut Encoder) {
        out.u8(u8::from(self.durable));
        out.varint(self.interrupted);
        out.text(&self.software);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let [durable] = unflag(from.u8()?)?;
        Ok(Self { durable, interrupted: from.varint()?, software: from.text(WORD)? })
    }
}
