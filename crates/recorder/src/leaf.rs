//! The entries of the log. `docs/evidence-format.md` describes each byte.

use gatewayd_core::{Action, Dialect, Effect, Ending, EventKind, IdentityKind, RefusalCode, Timestamp};

use crate::codec::{DecodeError, Decoder, Digest, Encoder, Text};

mod wire;

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

impl Scope {
    /// What the erasure's event names as its object.
    pub(crate) fn object(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Segment => "segment",
        }
    }
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
    /// Digest of the words of its event.
    pub(crate) what: Digest,
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(max: usize, long: bool) -> Text {
        Text::new(Some(&"x".repeat(if long { max + 1 } else { max })), max)
    }

    fn stored(n: u64) -> Option<Stored> {
        Some(Stored { blocks: n, first_segment: n, last_segment: 2 * n, plain: n << 20, digest: [9; 32] })
    }

    /// Entries of every kind, as long as they get.
    pub(crate) fn longest() -> Vec<Leaf> {
        // More than any disk holds: 2^34 blocks, 2^54 bytes.
        let bodies = Bodies {
            request_cut: true,
            response_cut: false,
            request_withheld: true,
            lost: false,
            request_len: 1 << 54,
            response_len: 1 << 54,
            request: stored(1 << 34),
            response: stored(1 << 34),
        };
        let outcome = Outcome {
            id: [1; 16],
            intent: u64::MAX,
            ending: Ending::Withheld,
            status: 599,
            refusal: Some(RefusalCode::Misconfigured),
            bodies: bodies.clone(),
            first_byte: u64::MAX,
            duration: u64::MAX,
            masks: u64::MAX,
            mask_digest: Some([3; 32]),
        };
        let intent = Intent {
            id: [1; 16],
            side_effects: true,
            streaming: false,
            request_complete: true,
            identity: IdentityKind::LocalAdmin,
            dialect: Dialect::Unknown,
            action: Action::Unknown,
            effect: Some(Effect::Approve),
            waited: 1 << 54,
            who: [4; 32],
            what: [5; 32],
            request_len: 1 << 54,
            request: [6; 32],
            rule: text(RULE, false),
            policy: text(POLICY, true),
            credential: text(CREDENTIAL, false),
            version: text(CREDENTIAL, false),
            claims: vec![[7; 16]; MAX_CLAIMS],
        };
        let refused = Refused {
            id: [1; 16],
            ending: Ending::Refused,
            status: 403,
            refusal: Some(RefusalCode::PolicyDenied),
            identity: Some(IdentityKind::Saml),
            dialect: None,
            action: Some(Action::Train),
            effect: None,
            who: [1; 32],
            what: [2; 32],
            rule: text(RULE, false),
            policy: text(POLICY, true),
            bodies,
            duration: 1 << 54,
        };
        let event = Event {
            event: EventKind::AdminRead,
            who: [1; 32],
            object: text(WORD, false),
            outcome: text(WORD, false),
            request: Some([2; 16]),
        };
        let erasure = Erasure {
            scope: Scope::Segment,
            segment: u64::MAX,
            sessions: u64::MAX,
            list: [1; 32],
            who: [2; 32],
            reason: text(WORD, false),
        };
        let gap = Gap { reason: GapReason::WriteFailed, count: u64::MAX, note: text(WORD, false) };
        let kinds = [
            Kind::Intent(Box::new(intent)),
            Kind::Outcome(Box::new(outcome.clone())),
            Kind::Refusal(Box::new(refused)),
            Kind::Event(event),
            Kind::Gap(gap),
            Kind::Interruption(Box::new(outcome)),
            Kind::Erasure(erasure),
            Kind::Hold(Hold { released: true, target: [1; 32], who: [2; 32], what: [3; 32] }),
            Kind::Key(Key { role: KeyRole::Root, key: [1; 32], name: Text::Absent }),
            Kind::Start(Start { durable: true, interrupted: u64::MAX, software: text(WORD, true) }),
            Kind::Stop,
        ];
        kinds.into_iter().map(|kind| Leaf { time: Timestamp(-1), kind }).collect()
    }

    #[test]
    fn the_longest_entries_fit_and_come_back() {
        for leaf in longest() {
            let bytes = leaf.encode();
            assert!(bytes.len() <= MAX_LEAF, "{} has {} bytes", leaf.kind.name(), bytes.len());
            assert_eq!(Leaf::decode(&bytes), Ok(leaf));
        }
    }

    proptest! {
        /// What is read at all is written the same again: there is no second spelling of an entry.
        #[test]
        fn an_entry_has_one_spelling(kind in 0_usize..11, edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4), cut in 0_usize..4) {
            let mut bytes = longest()[kind].encode();
            for (at, value) in edits {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(bytes.len() - cut);
            if let Ok(leaf) = Leaf::decode(&bytes) {
                prop_assert_eq!(leaf.encode(), bytes);
            }
        }

        #[test]
        fn noise_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..320)) {
            if let Ok(leaf) = Leaf::decode(&bytes) {
                prop_assert_eq!(leaf.encode(), bytes);
            }
        }
    }
}
