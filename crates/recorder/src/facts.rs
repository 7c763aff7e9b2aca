//! The words behind a leaf's digests: who asked, what was asked. They stand in the database, salted and
//! hashed into the leaf, so that they can be checked against the log and erased without breaking it.

use std::net::SocketAddr;

use aws_lc_rs::rand;
use gatewayd_core::{Identity, MaskCount, MaskPlace, Peer, Trail};

use crate::codec::{DecodeError, Decoder, Digest, Encoder, sha256};
use crate::leaf::{Kind, WORD};

/// Sixteen random bytes that keep a digest from being guessed; erased with the words.
pub(crate) type Salt = [u8; 16];

/// A fresh salt.
pub(crate) fn salt() -> Result<Salt, aws_lc_rs::error::Unspecified> {
    let mut salt = [0; 16];
    rand::fill(&mut salt)?;
    Ok(salt)
}

/// Which words a digest is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Who = 1,
    What = 2,
    Request = 3,
    Masks = 4,
    Hold = 5,
}

/// `SHA-256(kind || salt || words)`.
pub(crate) fn digest(kind: Words, salt: &Salt, words: &[u8]) -> Digest {
    sha256(&[&[kind as u8], salt, words])
}

/// The words behind one session's digests, ready to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) salt: Salt,
    pub(crate) who: Vec<u8>,
    pub(crate) what: Vec<u8>,
    /// Label of the subject, whose key wraps the session's.
    pub(crate) subject: std::sync::Arc<str>,
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Who {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) peer: Option<String>,
    pub(crate) tls: bool,
}

impl Who {
    /// Encodes without building the strings first: this is on the way of every request.
    pub(crate) fn encode(identity: Option<&Identity>, peer: Option<Peer>) -> Vec<u8> {
        let mut out = Encoder::with_capacity(96);
        out.optional(identity.map(|i| &*i.issuer));
        out.optional(identity.map(|i| &*i.subject));
        out.optional(identity.and_then(|i| i.name.as_deref()).map(clip));
        let groups = identity.map_or(&[][..], |i| &*i.groups);
        let mut room = MAX_GROUPS;
        let fits = |group: &&std::sync::Arc<str>| {
            room = room.saturating_sub(group.len() + MORE.len());
            room > 0
        };
        let kept = groups.iter().take_while(fits).count();
        out.varint(kept as u64 + u64::from(kept < groups.len()));
        for group in groups.iter().take(kept) {
            out.string(group);
        }
        if kept < groups.len() {
            out.string(MORE);
        }
        match peer {
            None => out.u8(0),
            Some(peer) => {
                out.u8(1);
                address(&mut out, peer.address);
            }
        }
        out.u8(u8::from(peer.is_some_and(|p| p.tls)));
        out.0
    }

    pub(crate) fn decode(words: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder(words);
        let mut who = Self {
            issuer: from.optional()?,
            subject: from.optional()?,
            name: from.optional()?,
            ..Self::default()
        };
        for _ in 0..from.varint()? {
            who.groups.push(from.string()?);
        }
        who.peer = from.optional()?;
        who.tls = from.u8()? == 1;
        from.end()?;
        Ok(who)
    }

    /// The label of the subject that owns the session's key; the same as [`Identity::key`].
    pub(crate) fn subject_key(&self) -> String {
        match (&self.issuer, &self.subject) {
            (Some(issuer), Some(subject)) => format!("{}:{issuer}|{subject}", issuer.len()),
            _ => String::new(),
        }
    }
}

/// Writes an address as a string, with the length before it.
fn address(out: &mut Encoder, address: SocketAddr) {
    use std::io::Write as _;
    let mut text = [0_u8; 64];
    let mut rest = &mut text[..];
    // The longest address, IPv6 with a scope and a port, has 58 characters.
    write!(rest, "{address}").expect("an address is shorter than 64 bytes");
    let len = 64 - rest.len();
    out.varint(len as u64);
    out.bytes(text.split_at(len).0);
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct What {
    pub(crate) method: String,
    /// Path and query, masked.
    pub(crate) path: String,
    pub(crate) route: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) request_type: Option<String>,
    pub(crate) rule: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) credential: Option<String>,
    pub(crate) version: Option<String>,
    /// Kind and identifier of each claim.
    pub(crate) claims: Vec<(String, String)>,
}

/// The same, borrowed, for writing.
#[derive(Debug, Default)]
pub(crate) struct WhatRef<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) route: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) request_type: Option<&'a str>,
    pub(crate) rule: Option<&'a str>,
    pub(crate) policy: Option<&'a str>,
    pub(crate) credential: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    pub(crate) claims: &'a [gatewayd_core::Claim],
}

/// No word of a request is longer: the caller chooses some of them.
const MAX_WORD: usize = 1024;
/// Not more text is kept of a caller's groups.
const MAX_GROUPS: usize = 64 * 1024;
/// Stands for the groups that did not fit.
const MORE: &str = "...";
/// No word of an event is longer.
const MAX_EVENT: usize = 64 * 1024;

fn clip(text: &str) -> &str {
    clip_to(text, MAX_WORD)
}

fn clip_to(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

/// A word of an event, an erasure or a hold, as much of it as is kept.
pub(crate) fn clip_event(text: &str) -> &str {
    clip_to(text, MAX_EVENT)
}

impl WhatRef<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::with_capacity(160);
        out.string(self.method);
        out.string(self.path);
        let clipped = [self.route, self.model, self.upstream, self.request_type].map(|text| text.map(clip));
        let why = [self.rule, self.policy, self.credential, self.version];
        for text in clipped.into_iter().chain(why) {
            out.optional(text);
        }
        out.varint(self.claims.len() as u64);
        for claim in self.claims {
            out.string(claim.kind);
            out.string(&claim.id);
        }
        out.0
    }
}

impl What {
    pub(crate) fn decode(words: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder(words);
        let mut what = Self {
            method: from.string()?,
            path: from.string()?,
            route: from.optional()?,
            model: from.optional()?,
            upstream: from.optional()?,
            request_type: from.optional()?,
            rule: from.optional()?,
            policy: from.optional()?,
            credential: from.optional()?,
            version: from.optional()?,
            claims: Vec::new(),
        };
        for _ in 0..from.varint()? {
            what.claims.push((from.string()?, from.string()?));
        }
        from.end()?;
        Ok(what)
    }
}

/// The 16 bytes by which a leaf names a claim.
pub(crate) fn claim_digest(kind: &str, id: &str) -> [u8; 16] {
    let mut out = Encoder::with_capacity(64);
    out.string(kind);
    out.string(id);
    crate::codec::short_digest(&out.0)
}

/// What was masked in an answer: how often by which rule, and where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Masks {
    /// Sorted by rule.
    pub(crate) counts: Vec<MaskCount>,
    pub(crate) places: Vec<MaskPlace>,
}

/// Of the name of a masked text so many bytes are kept.
const LANE: usize = 128;

impl Masks {
    pub(crate) fn of(trail: &Trail) -> Self {
        let mut counts = trail.masks();
        counts.sort_by(|a, b| a.rule.cmp(&b.rule));
        Self { counts, places: trail.mask_places() }
    }

    /// How many spans were masked.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, mask| sum.saturating_add(mask.count))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.varint(self.counts.len() as u64);
        for mask in &self.counts {
            out.string(&mask.rule);
            out.varint(mask.count);
        }
        // A place whose rule was not counted cannot be: the trail counts what it places.
        let number = |place: &MaskPlace| self.counts.iter().position(|mask| mask.rule == place.rule);
        let places: Vec<_> =
            self.places.iter().filter_map(|place| number(place).map(|at| (at, place))).collect();
        out.varint(places.len() as u64);
        for (rule, place) in places {
            out.varint(rule as u64);
            out.string(place.lane.get(..place.lane.floor_char_boundary(LANE)).unwrap_or_default());
            out.varint(place.offset);
            out.varint(place.length);
            out.optional(place.fingerprint.as_deref());
        }
        out.0
    }

    pub(crate) fn decode(words: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Decoder(words);
        let mut masks = Self::default();
        for _ in 0..from.varint()? {
            masks.counts.push(MaskCount { rule: from.string()?.into(), count: from.varint()? });
        }
        for _ in 0..from.varint()? {
            let rule = usize::try_from(from.varint()?).ok().and_then(|rule| masks.counts.get(rule));
            masks.places.push(MaskPlace {
                rule: rule.ok_or(DecodeError::NotCanonical("a mask of no rule"))?.rule.clone(),
                lane: from.string()?,
                offset: from.varint()?,
                length: from.varint()?,
                fingerprint: from.optional()?,
            });
        }
        from.end()?;
        Ok(masks)
    }
}

/// The full words of an event, longer than what its leaf can hold.
pub(crate) fn encode_event(object: &str, outcome: &str) -> Vec<u8> {
    let mut out = Encoder::default();
    out.string(object);
    out.string(outcome);
    out.0
}

/// How the words of each event of that object begin.
pub(crate) fn encode_object(object: &str) -> Vec<u8> {
    let mut out = Encoder::default();
    out.string(object);
    out.0
}

pub(crate) fn decode_event(words: &[u8]) -> Result<(String, String), DecodeError> {
    let mut from = Decoder(words);
    let event = (from.string()?, from.string()?);
    from.end()?;
    Ok(event)
}

/// True if these are the words of an event, an erasure or a hold.
pub(crate) fn is_event(entry: &Kind, salt: &Salt, who: Option<&[u8]>, words: &[u8]) -> bool {
    let Ok((object, outcome)) = decode_event(words) else { return false };
    let (by, same) = match entry {
        Kind::Event(event) => {
            (event.who, event.object.gives(Some(&object), WORD) && event.outcome.gives(Some(&outcome), WORD))
        }
        Kind::Erasure(erasure) => {
            (erasure.who, object == erasure.scope.object() && erasure.reason.gives(Some(&outcome), WORD))
        }
        Kind::Hold(hold) => (hold.who, digest(Words::What, salt, words) == hold.what),
        _ => return false,
    };
    same && who.map_or([0; 32], |who| digest(Words::Who, salt, who)) == by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let identity = Identity {
            kind: gatewayd_core::IdentityKind::Oidc,
            issuer: "https://idp".into(),
            subject: "alice".into(),
            name: Some("Alice".into()),
            groups: ["a".into(), "b".into()].into(),
            expires: None,
        };
        let peer = Peer { address: "[::1]:80".parse().unwrap(), tls: true };
        let who = Who::decode(&Who::encode(Some(&identity), Some(peer))).unwrap();
        assert_eq!(who.subject_key(), identity.key());
        assert_eq!(who.groups, ["a", "b"]);
        assert_eq!(who.peer.as_deref(), Some("[::1]:80"));
        let nobody = Who::decode(&Who::encode(None, None)).unwrap();
        assert_eq!(nobody, Who::default());
        let what = WhatRef { method: "POST", path: "/v1/x?y", model: Some("m"), ..WhatRef::default() };
        let what = What::decode(&what.encode()).unwrap();
        assert_eq!((what.path.as_str(), what.model.as_deref()), ("/v1/x?y", Some("m")));
    }

    #[test]
    fn masks_come_back_with_their_places() {
        let trail =
            Trail::new(gatewayd_core::RequestId::from_bytes([1; 16]), gatewayd_core::Timestamp(0), None);
        let place = |rule: &str, lane: String| MaskPlace {
            rule: rule.into(),
            lane,
            offset: 300,
            length: 20,
            fingerprint: (rule == "jwt").then(|| "00ff".into()),
        };
        trail.masked_at(place("pem", "ä".repeat(100)));
        trail.masked_at(place("jwt", "text".into()));
        trail.mask(&"jwt".into(), 1);
        let masks = Masks::of(&trail);
        let mut read = Masks::decode(&masks.encode()).unwrap();
        assert_eq!(std::mem::replace(&mut read.places[0].lane, "ä".repeat(100)), "ä".repeat(64));
        assert_eq!((read.total(), &read), (3, &masks));
        assert!(Masks::decode(b"\x01\x03jwt\x01\x01\x01\x04text\x00\x01\x00").is_err(), "no such rule");
    }

    #[test]
    fn a_digest_says_what_it_is_of() {
        assert_ne!(digest(Words::Who, &[0; 16], b"x"), digest(Words::What, &[0; 16], b"x"));
    }
}
