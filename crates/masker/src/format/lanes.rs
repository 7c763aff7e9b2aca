//! The lanes of one body.

use std::collections::HashMap;
use std::sync::Arc;

use super::FormatError;
use super::json::{Decoder, Template, TokenQueue};
use super::names::{self, Plain};
use crate::lane::{Lane, Session};
use crate::report::MaskEvent;

/// How many texts of a body may be open at once.
const MOST_LANES: usize = 1024;
/// Of so many texts that have gone on under another number what they were is kept, should they come back.
const MOST_TAKEN: u8 = 8;
/// Of so many ids it is remembered that their texts were told to begin.
const MOST_ANNOUNCED: usize = 32;
/// How many names of members are remembered at most.
const KEYS: usize = 128;

/// The lanes of one body, by name.
///
/// A [`Format`](super::Format) gives each text it finds to the lane of its name, and writes out what comes back.
#[derive(Debug)]
pub struct Lanes {
    pub(crate) session: Session,
    entries: Vec<Entry>,
    index: HashMap<u64, usize>,
    seed: u64,
    /// The plain names that nearly every body has.
    common: Arc<Plain>,
    /// Hashes of other names of members that were looked at and are plain. Empty until there is one.
    keys: Vec<u64>,
    keys_generation: u64,
    /// The ids of which it was told last that their texts begin.
    announced: Vec<u64>,
}

/// Under which name a text is kept, and which others it may go on from.
///
/// A number beside a text tells texts apart in some dialects and counts events in others. Only in a list is it certain
/// to be the former.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneKey {
    pub(crate) key: u64,
    /// The same without the numbers that may be counts, and whether it is of a message or of a delta.
    pub(crate) base: u64,
    /// The same without the numbers alone.
    pub(crate) own: u64,
    /// It goes on from none of another number: its beginning was told, or it is a copy that may follow its parts.
    pub(crate) begins: Begins,
    /// The document it is in.
    pub(crate) document: u64,
}

/// From what a new text may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// From nothing: its beginning was told.
    Anew,
    /// From one of the same path and another number.
    AfterItsLike,
    /// Also from the text of a message in a document before.
    AfterAny,
}

/// One text that goes on from event to event.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: u64,
    base: u64,
    own: u64,
    /// Its end was told: none of another number goes on from it.
    pub(crate) is_over: bool,
    /// It has gone on under another number.
    is_taken: bool,
    /// How often texts of this base have gone on under another number.
    taken: u8,
    /// A number that was left came back: numbers tell texts apart here.
    apart: bool,
    pub(crate) name: String,
    /// Which choice, item and part it belongs to.
    pub(crate) ids: Vec<u64>,
    pub(crate) lane: Lane,
    pub(crate) decoder: Decoder,
    /// The last document it appeared in.
    pub(crate) touched: u64,
    /// That document as it was written; kept while the lane holds text back.
    pub(crate) template: Option<Arc<Template>>,
    pub(crate) tokens: Option<TokenQueue>,
}

impl Lanes {
    pub(crate) fn new(mut session: Session) -> Self {
        let common = Plain::of(&mut session);
        Self {
            keys_generation: session.generation(),
            seed: session.inner.names.seed(),
            session,
            entries: Vec::new(),
            index: HashMap::new(),
            common,
            keys: Vec::new(),
            announced: Vec::new(),
        }
    }

    /// Gives the next piece of a text to its lane, and appends what may leave to `out`.
    ///
    /// # Errors
    /// When too many texts are open.
    pub fn text(&mut self, lane: &str, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        let key = LaneKey::alone(self.mix(self.seed, lane.as_bytes()));
        let at =
            self.open(key, &[], |session| Entry::new(key, lane.to_owned(), Vec::new(), Lane::new(session)))?;
        if let (Some(entry), session) = (self.entries.get_mut(at), &mut self.session) {
            entry.lane.push(bytes);
            entry.lane.advance(session, &|| entry.name.clone(), out);
        }
        Ok(())
    }

    /// The end of a text: appends the rest to `out`.
    pub fn end(&mut self, lane: &str, out: &mut Vec<u8>) {
        let key = self.mix(self.seed, lane.as_bytes());
        if let Some(at) = self.index.get(&key).copied() {
            self.finish(at, out);
        }
    }

    /// Masks a text that is at hand as a whole. `None` where there is nothing to mask.
    pub fn whole(&mut self, lane: &str, text: &[u8]) -> Option<Vec<u8>> {
        self.session.mask(text, b"", &|| lane.to_owned())
    }

    /// A text begins that a client may read as it is, or as something with escapes like those of JSON. Before it stands
    /// what is already out.
    pub(crate) fn begin_loose(&mut self, lane: &str, context: &[u8]) -> Result<(), FormatError> {
        for (key, decoder) in self.loose_keys(lane) {
            let key = LaneKey::alone(key);
            self.open(key, &[], |session| {
                let behind = Lane::behind(session, &[context]);
                Entry { decoder, ..Entry::new(key, lane.to_owned(), Vec::new(), behind) }
            })?;
        }
        Ok(())
    }

    /// Takes a piece of such a text: masks it as it is, and what is left as what its escapes mean.
    pub(crate) fn loose_text(
        &mut self,
        lane: &str,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        let [_, (spelled, _)] = self.loose_keys(lane);
        let mut masked = Vec::with_capacity(bytes.len());
        self.text(lane, bytes, &mut masked)?;
        if let Some(at) = self.place_of(spelled)
            && let (Some(entry), session) = (self.entries.get_mut(at), &mut self.session)
        {
            entry.decoder.push(&masked, &mut entry.lane);
            entry.lane.advance(session, &|| entry.name.clone(), out);
        } else {
            out.append(&mut masked);
        }
        Ok(())
    }

    /// The end of such a text.
    pub(crate) fn end_loose(&mut self, lane: &str, out: &mut Vec<u8>) {
        let [_, (spelled, _)] = self.loose_keys(lane);
        let mut masked = Vec::new();
        self.end(lane, &mut masked);
        let Some(at) = self.place_of(spelled) else { return out.append(&mut masked) };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.decoder.push(&masked, &mut entry.lane);
        }
        self.finish(at, out);
    }

    /// Masks such a text that is at hand as a whole: what is behind `mark`.
    pub(crate) fn mask_loose(&mut self, lane: &str, text: &mut Vec<u8>, mark: usize) {
        let whole = text.get(mark..).unwrap_or_default();
        let mut masked = self.whole(lane, whole);
        let plain = masked.as_deref().unwrap_or(whole);
        if memchr::memchr(b'\\', plain).is_some() {
            let masks = self.session.masks();
            let (mut decoder, mut other) = (Decoder::outer(), Lane::new(&self.session));
            let mut out = Vec::with_capacity(plain.len());
            decoder.push(plain, &mut other);
            decoder.finish(&mut other);
            other.finish(&mut self.session, &|| lane.to_owned(), &mut out);
            if self.session.masks() != masks {
                masked = Some(out);
            }
        }
        if let Some(masked) = masked {
            text.truncate(mark);
            text.extend_from_slice(&masked);
        }
    }

    fn loose_keys(&self, lane: &str) -> [(u64, Decoder); 2] {
        let plain = self.mix(self.seed, lane.as_bytes());
        [(plain, Decoder::new()), (self.mix(plain, b"spelled"), Decoder::outer())]
    }

    /// What has been masked since the last call.
    pub fn take_events(&mut self) -> Vec<MaskEvent> {
        self.session.take_events()
    }

    /// Takes notice of known secrets that were added or withdrawn. Call it before each piece.
    pub(crate) fn refresh(&mut self) {
        self.session.refresh();
        if self.keys_generation != self.session.generation() {
            self.keys_generation = self.session.generation();
            self.keys.clear();
            self.common = Plain::of(&mut self.session);
        }
    }

    /// The place of a lane, made if it is new and goes on from no other. The ids are those it belongs to.
    pub(crate) fn open(
        &mut self,
        key: LaneKey,
        ids: &[u64],
        make: impl FnOnce(&mut Session) -> Entry,
    ) -> Result<usize, FormatError> {
        if let Some(at) = self.place_of(key.key) {
            if self.entries.get_mut(at).is_some_and(|entry| std::mem::take(&mut entry.is_taken)) {
                self.entries.iter_mut().filter(|entry| entry.base == key.base).for_each(|e| e.apart = true);
            }
            return Ok(at);
        }
        if let Some(at) = self.forerunner(key) {
            return Ok(self.take_over(at, key, ids));
        }
        self.insert(make)
    }

    /// The text that was last of those from which a new one may go on.
    fn forerunner(&self, key: LaneKey) -> Option<usize> {
        let may = |entry: &Entry| match key.begins {
            Begins::Anew => false,
            Begins::AfterItsLike => entry.own == key.own,
            Begins::AfterAny => entry.own == key.own || entry.touched < key.document,
        };
        let alike = self.entries.iter().enumerate().filter(|(_, entry)| entry.base == key.base);
        let last = alike.filter(|(_, entry)| !entry.is_taken).max_by_key(|(_, entry)| entry.touched);
        last.filter(|(_, entry)| may(entry) && !entry.is_over && !entry.apart).map(|(at, _)| at)
    }

    /// A text goes on under another number, with what is held of it. The first times, what it was is kept under the old one:
    /// numbers that come back did not count.
    fn take_over(&mut self, at: usize, key: LaneKey, ids: &[u64]) -> usize {
        let Some(entry) = self.entries.get_mut(at) else { return at };
        entry.taken = entry.taken.saturating_add(1);
        let left = (entry.taken <= MOST_TAKEN).then(|| entry.left_behind());
        let old = std::mem::replace(&mut entry.key, key.key);
        entry.own = key.own;
        entry.ids = ids.to_vec();
        entry.template = None;
        self.index.remove(&old);
        self.index.insert(key.key, at);
        if let Some(left) = left
            && self.entries.len() < MOST_LANES
        {
            self.index.insert(left.key, self.entries.len());
            self.entries.push(left);
        }
        at
    }

    fn insert(&mut self, make: impl FnOnce(&mut Session) -> Entry) -> Result<usize, FormatError> {
        if self.entries.len() >= MOST_LANES {
            self.entries.retain(|entry| !entry.is_idle());
            self.index = self.entries.iter().enumerate().map(|(at, entry)| (entry.key, at)).collect();
            if self.entries.len() >= MOST_LANES / 2 {
                return Err(FormatError::TooManyLanes(MOST_LANES));
            }
        }
        let mut entry = make(&mut self.session);
        entry.apart = self.entries.iter().any(|other| other.base == entry.base && other.apart);
        self.index.insert(entry.key, self.entries.len());
        self.entries.push(entry);
        Ok(self.entries.len() - 1)
    }

    /// Where the lane of a key is, if there is one.
    pub(crate) fn place_of(&self, key: u64) -> Option<usize> {
        // A handful of lanes is found faster by looking at each.
        if self.entries.len() <= 8 {
            self.entries.iter().position(|entry| entry.key == key)
        } else {
            self.index.get(&key).copied()
        }
    }

    pub(crate) fn entry(&mut self, at: usize) -> Option<(&mut Entry, &mut Session)> {
        Some((self.entries.get_mut(at)?, &mut self.session))
    }

    /// The beginning of the texts of an id is told: they go on from none of another.
    pub(crate) fn announce(&mut self, id: u64) {
        if !self.announced.contains(&id) {
            if self.announced.len() == MOST_ANNOUNCED {
                self.announced.remove(0);
            }
            self.announced.push(id);
        }
    }

    pub(crate) fn is_announced(&self, id: u64) -> bool {
        self.announced.contains(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The end of one text: appends the rest, and makes the lane new.
    pub(crate) fn finish(&mut self, at: usize, out: &mut Vec<u8>) {
        if let (Some(entry), session) = (self.entries.get_mut(at), &mut self.session) {
            entry.decoder.finish(&mut entry.lane);
            entry.lane.finish(session, &|| entry.name.clone(), out);
            entry.lane = Lane::new(session);
            entry.decoder = Decoder::new();
            entry.template = None;
        }
    }

    /// Whether a member of this name is clean and no context for what follows.
    pub(crate) fn key_is_plain(&self, spelled: &[u8]) -> bool {
        if !names::is_short(spelled) {
            return false;
        }
        let hash = names::hash(self.seed, spelled);
        self.common.has(hash)
            || names::slots(hash, KEYS).iter().any(|slot| self.keys.get(*slot) == Some(&hash))
    }

    /// Remembers that the name of a member is plain: clean, and no context for what follows.
    pub(crate) fn remember_plain_key(&mut self, spelled: &[u8]) {
        if names::is_short(spelled) {
            self.keys.resize(KEYS, 0);
            names::remember(&mut self.keys, names::hash(self.seed, spelled));
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Mixes bytes into a key of a lane.
    pub(crate) fn mix(&self, key: u64, bytes: &[u8]) -> u64 {
        names::mix(self.seed, key, bytes)
    }
}

impl LaneKey {
    /// The key of a text that is told from all others.
    pub(crate) fn alone(key: u64) -> Self {
        Self { key, base: key, own: key, begins: Begins::Anew, document: 0 }
    }

    /// The key of something beside that text.
    pub(crate) fn beside(self, lanes: &Lanes, name: &[u8]) -> Self {
        let mix = |key| lanes.mix(key, name);
        Self { key: mix(self.key), base: mix(self.base), own: mix(self.own), ..self }
    }
}

impl Entry {
    pub(crate) fn new(key: LaneKey, name: String, ids: Vec<u64>, lane: Lane) -> Self {
        let LaneKey { key, base, own, .. } = key;
        Self {
            key,
            base,
            own,
            is_over: false,
            is_taken: false,
            taken: 0,
            apart: false,
            name,
            ids,
            lane,
            decoder: Decoder::new(),
            touched: 0,
            template: None,
            tokens: None,
        }
    }

    /// What is kept of a text that goes on under another number: what was seen of it, and nothing to put out.
    fn left_behind(&self) -> Self {
        let mut decoder = self.decoder.clone();
        let mut lane = self.lane.clone();
        decoder.finish(&mut lane);
        lane.disown();
        Self {
            is_taken: true,
            name: self.name.clone(),
            ids: self.ids.clone(),
            lane,
            decoder,
            template: None,
            tokens: self.tokens.as_ref().map(|_| TokenQueue::default()),
            ..*self
        }
    }

    /// Whether something waits for more text.
    pub(crate) fn is_holding(&self) -> bool {
        self.lane.is_holding()
            || self.decoder.is_holding()
            || self.tokens.as_ref().is_some_and(TokenQueue::is_holding)
    }

    fn is_idle(&self) -> bool {
        !self.is_holding() && self.lane.is_idle()
    }
}
