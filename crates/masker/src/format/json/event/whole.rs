//! Texts that are at hand as a whole, and names of members.

use super::decoder_for;
use super::walk::{At, Texts, Walk, spell};
use crate::format::json::escape::text_of;
use crate::format::json::shape;
use crate::format::json::tape::Token;
use crate::format::{FormatError, Lanes};
use crate::lane::Lane;

/// So many texts of a document that should be complete are watched for going on in the next.
const MOST_WATCHED: usize = 32;
/// So many undecided bytes of such a text, once it has gone on, are not shown.
const DOUBTFUL: u64 = 6;
/// So many texts of a document are remembered, if each is not longer than this with its name.
const MOST_REMEMBERED: usize = 32;
const LONGEST_REMEMBERED: usize = 256;

/// Texts of the last document that were found clean. Events repeat most of theirs: comparing is cheaper than scanning.
#[derive(Debug, Default)]
pub(super) struct Memo {
    texts: Vec<Text>,
    generation: u64,
    /// How many texts of this document have been seen.
    seen: usize,
}

/// A text that was found clean, and the name of its member.
#[derive(Debug, Default, Clone)]
struct Text {
    key: Vec<u8>,
    text: Vec<u8>,
}

impl Memo {
    /// A document begins, masked with the known secrets of a generation.
    pub(super) fn begin(&mut self, generation: u64) {
        self.seen = 0;
        if self.generation != generation {
            self.generation = generation;
            self.texts.clear();
        }
    }

    /// Takes the next text. Says whether it is what stood at its place in the last document.
    fn is_known(&mut self, key: &[u8], inside: &[u8]) -> bool {
        self.seen += 1;
        self.texts.get(self.seen - 1).is_some_and(|memo| memo.text == inside && memo.key == key)
    }

    fn remember(&mut self, key: &[u8], inside: &[u8]) {
        let at = self.seen - 1;
        if key.len() + inside.len() > LONGEST_REMEMBERED || at >= MOST_REMEMBERED {
            return;
        }
        if self.texts.len() <= at {
            self.texts.resize(at + 1, Text::default());
        }
        if let Some(memo) = self.texts.get_mut(at) {
            memo.key.clear();
            memo.key.extend_from_slice(key);
            memo.text.clear();
            memo.text.extend_from_slice(inside);
        }
    }
}

impl<'a> Walk<'a> {
    /// Masks a text that is complete in itself.
    pub(super) fn whole(&mut self, token: Token, at: At<'a>) -> Result<(), FormatError> {
        let inside = self.text(token);
        if inside.is_empty() || self.is_refill() {
            return Ok(());
        }
        let may_go_on = !self.are(Texts::End) && shape::may_go_on(at.key);
        // A text that goes on may do so with the same letters.
        if self.memo.is_known(at.key, inside) && !may_go_on {
            return Ok(());
        }
        let is_short = inside.len() < self.lanes.session.shortest();
        let names = &self.names;
        let masked = match is_short {
            true => None,
            false => mask_string(self.lanes, inside, at.key, &|| spell(names)),
        };
        let is_watched = may_go_on && self.memo.seen <= MOST_WATCHED;
        let masked = match masked {
            None if is_watched => self.behind_the_last(inside, at)?,
            masked => masked,
        };
        match masked {
            Some(masked) => self.edits.replace(token.start, token.end, &masked),
            None if !may_go_on => self.memo.remember(at.key, inside),
            None => {}
        }
        Ok(())
    }

    /// Masks a text that should be complete in itself as if it went on from the one at the same place before.
    fn behind_the_last(&mut self, inside: &[u8], at: At<'a>) -> Result<Option<Vec<u8>>, FormatError> {
        let key = self.lane_key(at).beside(self.lanes, b"whole");
        let place = self.open(key, at.key)?;
        let masks = self.lanes.session.masks();
        let Some((entry, session)) = self.lanes.entry(place) else { return Ok(None) };
        let mut out = Vec::new();
        let goes_on = entry.lane.pushed() > 0;
        entry.decoder.push(inside, &mut entry.lane);
        entry.decoder.finish(&mut entry.lane);
        let doubtful = if goes_on { DOUBTFUL } else { u64::MAX };
        entry.lane.let_all_go(session, doubtful, &|| entry.name.clone(), &mut out);
        Ok((session.masks() != masks).then_some(out))
    }

    /// Masks the name of a member. Says whether there was something to mask.
    pub(super) fn key(&mut self, spelled: &'a [u8], token: Token) -> bool {
        if spelled.len() < self.lanes.session.shortest()
            || self.lanes.key_is_plain(spelled)
            || self.is_refill()
        {
            return false;
        }
        let names = &self.names;
        let name = || format!("{}{{key}}", spell(names));
        match mask_string(self.lanes, spelled, b"", &name) {
            Some(masked) => {
                self.edits.replace(token.start, token.end, &masked);
                true
            }
            None => {
                if !self.lanes.session.primes(&text_of(spelled), b"\": \"") {
                    self.lanes.remember_plain_key(spelled);
                }
                false
            }
        }
    }
}

/// Masks the inside of a JSON string that is at hand, behind the name of its member. `None` where it is clean.
pub(super) fn mask_string(
    lanes: &mut Lanes,
    inside: &[u8],
    key: &[u8],
    name: &dyn Fn() -> String,
) -> Option<Vec<u8>> {
    let context = if key.is_empty() || lanes.key_is_plain(key) {
        Vec::new()
    } else {
        [&text_of(key), &b"\": \""[..]].concat()
    };
    if memchr::memchr(b'\\', inside).is_none() {
        return lanes.session.mask(inside, &context, name);
    }
    let session = &mut lanes.session;
    let mut lane = Lane::behind(session, &[&context]);
    let mut decoder = decoder_for(key);
    decoder.push(inside, &mut lane);
    decoder.finish(&mut lane);
    let mut out = Vec::with_capacity(inside.len());
    let before = session.masks();
    lane.finish(session, name, &mut out);
    (session.masks() != before).then_some(out)
}
