//! What the members of an object say of its place: which choice, item and part it is, and whether it ends.

use super::walk::Walk;
use crate::format::json::escape::text_of;
use crate::format::json::shape;
use crate::format::json::tape::Kind;

/// What one look at the names of an object's members shows.
#[derive(Default)]
pub(super) struct Sight {
    /// The texts of this object end with its document.
    pub(super) ends: bool,
    /// Values behind which another follows under the same name.
    pub(super) overridden: Vec<usize>,
}

/// In an id: it is that of the first place, and makes no difference to a lane: it may as well be left out.
pub(super) const FIRST: u64 = 1;
/// In an id: it stands outside of lists, and may be a count.
pub(super) const LOOSE: u64 = 2;

/// Of so many members each is compared with each, to find equal names.
const FEW: usize = 16;

impl<'a> Walk<'a> {
    /// Looks at the names of an object's members, and notes its ids.
    pub(super) fn look_at(&mut self, index: usize, key: &[u8], listed: bool) -> Sight {
        let mut sight = Sight::default();
        let mut places = [None; shape::INDEXES.len()];
        let (mut has_places, mut seen, mut is_double) = (false, 0_u64, false);
        for (name, value) in self.members(index) {
            let bit = 1 << (shape::fold(name) & 63);
            is_double |= seen & bit != 0;
            seen |= bit;
            if let Some(known) = shape::index(name) {
                // Of members with one name the last counts.
                if let Some(place) = places.get_mut(known) {
                    *place = Some(value);
                }
                has_places = true;
            } else if shape::says_the_end(name) {
                let token = self.token(value);
                sight.ends |=
                    token.is_some_and(|token| token.kind == Kind::String && token.end > token.start);
            }
        }
        if has_places {
            let mut ids = std::mem::take(&mut self.ids);
            self.push_places(places, key, listed, &mut ids);
            self.ids = ids;
        }
        // Strings found in a heap go on by the names they have.
        if is_double && self.is_strict {
            sight.overridden = self.overridden(index);
        }
        sight
    }

    /// The values of an object's members that another value follows under the same name.
    fn overridden(&self, index: usize) -> Vec<usize> {
        let members: Vec<_> = self.members(index).map(|(name, value)| (text_of(name), value)).collect();
        if members.len() <= FEW {
            let later = |at: usize| members.get(at + 1..).unwrap_or_default();
            let is_overridden = |at: usize, name| later(at).iter().any(|(other, _)| other == name);
            let found = members.iter().enumerate().filter(|(at, (name, _))| is_overridden(*at, name));
            return found.map(|(_, (_, value))| *value).collect();
        }
        let mut last = std::collections::HashMap::new();
        members.iter().filter_map(|(name, value)| last.insert(name, *value)).collect()
    }

    /// The ids of an object that is a member, or an element of a member, called `key`.
    pub(super) fn push_ids(&self, at: usize, key: &[u8], ids: &mut Vec<u64>) {
        let mut places = [None; shape::INDEXES.len()];
        for (name, value) in self.members(at) {
            if let Some(place) = shape::index(name).and_then(|known| places.get_mut(known)) {
                *place = Some(value);
            }
        }
        self.push_places(places, key, false, ids);
    }

    fn push_places(
        &self,
        places: [Option<usize>; shape::INDEXES.len()],
        key: &[u8],
        listed: bool,
        ids: &mut Vec<u64>,
    ) {
        for (name, value) in shape::INDEXES.iter().zip(places) {
            let Some(token) = value.and_then(|value| self.token(value)) else { continue };
            if !matches!(token.kind, Kind::Scalar | Kind::String) {
                continue;
            }
            let text = text_of(self.text(token));
            let number = std::str::from_utf8(&text).ok().and_then(|text| text.trim().parse::<f64>().ok());
            let id = match number {
                Some(number) => self.place(key, name, number),
                None if *text == *b"null" => self.place(key, name, 0.0),
                None => self.lanes.mix(self.lanes.mix(self.lanes.mix(3, key), name), &text) & !FIRST,
            };
            ids.push(if listed { id & !LOOSE } else { id | LOOSE });
        }
    }

    /// The id of a place in a list, however its number is spelled.
    pub(super) fn place(&self, key: &[u8], name: &[u8], number: f64) -> u64 {
        let id = self.lanes.mix(self.lanes.mix(1, key), name);
        let id = self.lanes.mix(id, &(number + 0.0).to_bits().to_be_bytes());
        (if number == 0.0 { id | FIRST } else { id & !FIRST }) & !LOOSE
    }
}
