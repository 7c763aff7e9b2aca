//! The automata of all rules in one table, so that a step is two loads and a test.
//!
//! The library that builds an automaton could run it too. But what a hostile text costs is steps of many automata for each
//! byte: here the candidate itself holds all that a step needs, and what a step means is read from where it leads.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::util::alphabet::Unit;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};

/// The most memory one automaton may take while it is built.
const DFA_LIMIT: usize = 8 << 20;
/// The bits of a place that say where it is; those above say what it means to be led there.
const ROW: u32 = (1 << 29) - 1;
/// Rows are no longer than this.
const WIDEST: usize = 256;

/// Where an automaton is: the place of a row in the table, and what the last byte meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u32);

/// What an automaton says after a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    /// It can go on.
    Alive,
    /// A match ended before this byte; it can go on.
    Match,
    /// A match ended before this byte, and this byte was not a part of anything longer.
    Last,
    /// A match ends with this byte, whatever comes next, and nothing can go on.
    Sure,
    /// Nothing can match any more.
    Dead,
}

/// The rows of all automata.
#[derive(Debug)]
pub(crate) struct Table {
    /// Row by row, where each class of bytes leads. The first row is where nothing matches any more.
    next: Vec<Place>,
    /// By automaton, the class of each byte; those that are the same are there once.
    classes: Vec<u8>,
}

/// Where the classes of an automaton are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Classes(u32);

/// The rows of one automaton.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows {
    classes: Classes,
    /// The first row, their length and their number.
    first: u32,
    width: u32,
    count: usize,
}

/// An automaton that reports every match end, and the states after which nothing can follow.
#[derive(Debug)]
pub(crate) struct Dfa {
    rows: Rows,
    /// Where it starts: everywhere the same, or by the byte before, the last for none.
    starts: Box<[Place]>,
    /// By number of a state: whether a match ends where the text does.
    ends: Box<[bool]>,
}

impl Place {
    /// Nothing can match any more.
    pub(crate) const DEAD: Self = Self::of(0, Step::Dead);

    const fn of(row: u32, step: Step) -> Self {
        Self(row | (step as u32) << 29)
    }

    pub(super) fn row(self) -> u32 {
        self.0 & ROW
    }

    #[inline(always)]
    pub(crate) fn is_alive(self) -> bool {
        self.0 <= ROW
    }

    #[inline(always)]
    pub(crate) fn step(self) -> Step {
        match self.0 >> 29 {
            0 => Step::Alive,
            1 => Step::Match,
            2 => Step::Last,
            3 => Step::Sure,
            _ => Step::Dead,
        }
    }

    /// A few bits that differ between most states.
    pub(crate) fn bits(self) -> u32 {
        self.row().wrapping_mul(0x9E37_79B9)
    }
}

/// Whatever led there.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.row() == other.row()
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.row().hash(state);
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { next: vec![Place::DEAD; WIDEST], classes: Vec::new() }
    }
}

impl Table {
    /// Where a byte leads. What it means, [`Place::step`] says.
    #[inline(always)]
    pub(crate) fn follow(&self, classes: Classes, place: Place, byte: u8) -> Place {
        // A row and a class in it are within the table by construction; nothing can wrap.
        let entry = (place.0 & ROW).wrapping_add(u32::from(self.class(classes, byte)));
        self.next.get(entry as usize).copied().unwrap_or(Place::DEAD)
    }

    /// The class of a byte.
    #[inline(always)]
    pub(super) fn class(&self, classes: Classes, byte: u8) -> u8 {
        let class = self.classes.get(classes.0.wrapping_add(u32::from(byte)) as usize);
        class.copied().unwrap_or_default()
    }

    /// There will be no more automata.
    pub(crate) fn shrink(&mut self) {
        self.next.shrink_to_fit();
        self.classes.shrink_to_fit();
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.next) + self.classes.len()
    }

    /// Adds an automaton: by byte its class, by class a byte of it, by state what it means to be led there, and where a
    /// byte leads from a state.
    pub(super) fn add(
        &mut self,
        class_of: impl Fn(u8) -> u8,
        kinds: &[u8],
        means: &[Step],
        leads: impl Fn(usize, u8) -> Option<usize>,
    ) -> Result<Rows, String> {
        let classes = self.classes_of(class_of)?;
        let (first, width, count) = (self.next.len(), kinds.len(), means.len());
        if first + count * width > ROW as usize {
            return Err(too_many());
        }
        let fits = |number: usize| u32::try_from(number).unwrap_or(ROW);
        let rows = Rows { classes, first: fits(first), width: fits(width), count };
        for state in 0..count {
            let to = |byte: &u8| leads(state, *byte).and_then(|to| Some((to, *means.get(to)?)));
            let places =
                kinds.iter().map(to).map(|to| to.map_or(Place::DEAD, |(to, step)| rows.place(to, step)));
            self.next.extend(places);
        }
        Ok(rows)
    }

    /// Finds or adds the classes of an automaton.
    fn classes_of(&mut self, class: impl Fn(u8) -> u8) -> Result<Classes, String> {
        let new: Vec<u8> = (0..=255).map(class).collect();
        let known = self.classes.chunks_exact(WIDEST).position(|classes| classes == new);
        let at = known.map_or(self.classes.len(), |number| number * WIDEST);
        if known.is_none() {
            self.classes.extend(new);
        }
        u32::try_from(at).map(Classes).map_err(|_| too_many())
    }
}

impl Rows {
    pub(super) fn classes(self) -> Classes {
        self.classes
    }

    /// A state by its number, led to by this.
    pub(super) fn place(self, number: usize, step: Step) -> Place {
        let row = number as u64 * u64::from(self.width) + u64::from(self.first);
        Place::of(u32::try_from(row).unwrap_or_default() & ROW, step)
    }

    /// The number of a state, from zero on; the greatest where nothing matches any more.
    pub(super) fn number(self, place: Place) -> usize {
        let rows = place.row().checked_sub(self.first).and_then(|row| row.checked_div(self.width));
        rows.map_or(usize::MAX, |rows| rows as usize)
    }
}

fn too_many() -> String {
    "the automata of all rules are too large together; split the rules over maskers".to_owned()
}

impl Dfa {
    /// Builds the automaton of a pattern and puts it into the table.
    pub(super) fn new(
        table: &mut Table,
        pattern: &str,
        ignore_case: bool,
        anchored: bool,
    ) -> Result<Self, String> {
        let starts = if anchored { StartKind::Anchored } else { StartKind::Unanchored };
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(starts)
            .accelerate(false)
            .dfa_size_limit(Some(DFA_LIMIT))
            .determinize_size_limit(Some(4 * DFA_LIMIT));
        let built = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false).case_insensitive(ignore_case))
            .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
            .build(pattern)
            .map_err(|error| {
                if error.is_size_limit_exceeded() {
                    "the automaton is too large; replace large bounded repeats such as {64,8192} by {64,} and set `max`".to_owned()
                } else {
                    source_message(&error)
                }
            })?;
        Built::new(&built, if anchored { Anchored::Yes } else { Anchored::No }).put_into(table)
    }

    /// The state before the first byte, behind another or none.
    pub(crate) fn start(&self, before: Option<u8>) -> Place {
        let place = match &*self.starts {
            [one] => Some(one),
            all => before.map_or(all.last(), |byte| all.get(usize::from(byte))),
        };
        place.copied().unwrap_or(Place::DEAD)
    }

    /// The state behind some bytes, where it is the same whatever stands before them, and nothing was decided.
    pub(crate) fn behind(&self, table: &Table, bytes: &[u8]) -> Option<Place> {
        let [start] = *self.starts else { return None };
        let mut place = start;
        let undecided = bytes.iter().all(|byte| self.step(table, &mut place, *byte) == Step::Alive);
        undecided.then_some(place)
    }

    #[inline]
    pub(crate) fn step(&self, table: &Table, place: &mut Place, byte: u8) -> Step {
        *place = table.follow(self.rows.classes, *place, byte);
        place.step()
    }

    pub(crate) fn classes(&self) -> Classes {
        self.rows.classes
    }

    /// Whether a match ends at the end of the text.
    pub(crate) fn matches_at_end(&self, place: Place) -> bool {
        self.ends.get(self.number(place)).copied().unwrap_or_default()
    }

    /// Whether a match can hold one of some bytes.
    pub(crate) fn goes_on_behind(&self, table: &Table, byte: impl Fn(u8) -> bool) -> bool {
        let bytes = || (0..=255).filter(|b| byte(*b));
        self.places().any(|place| {
            bytes().any(|byte| !matches!(self.step(table, &mut { place }, byte), Step::Dead | Step::Last))
        })
    }

    /// Whether a match can end with this byte.
    pub(crate) fn matches_behind(&self, table: &Table, byte: u8) -> bool {
        self.places().any(|place| self.matches_at_end(table.follow(self.rows.classes, place, byte)))
    }

    /// The number of a state, from zero on; the greatest where nothing matches any more.
    pub(crate) fn number(&self, place: Place) -> usize {
        self.rows.number(place)
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.rows.count).map(|number| self.rows.place(number, Step::Alive))
    }

    /// By number of a state: how many bytes a match needs at least from there.
    pub(crate) fn missing(&self, table: &Table) -> Vec<u16> {
        let mut missing = vec![u16::MAX; self.rows.count];
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.rows.count];
        let mut level = Vec::new();
        for (number, place) in self.places().enumerate() {
            let from = place.row() as usize;
            let row = table.next.get(from..from + self.rows.width as usize).unwrap_or_default();
            for next in row {
                if let Some(list) = before.get_mut(self.number(*next)) {
                    list.push(number);
                }
            }
            if self.matches_at_end(place) {
                level.push(number);
            }
        }
        for distance in 0.. {
            let mut next = Vec::new();
            for number in std::mem::take(&mut level) {
                if let Some(slot) = missing.get_mut(number).filter(|slot| **slot == u16::MAX) {
                    *slot = distance;
                    next.extend_from_slice(before.get(number).map(Vec::as_slice).unwrap_or_default());
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        missing
    }

    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.starts) + self.ends.len()
    }
}

/// An automaton as the library built it, on its way into the table.
struct Built<'a> {
    dfa: &'a dense::DFA<Vec<u32>>,
    /// By the byte before, the last for none.
    starts: Vec<StateID>,
    /// All states that some text leads to.
    states: Vec<StateID>,
    /// A byte of each class.
    kinds: Vec<u8>,
}

impl<'a> Built<'a> {
    fn new(dfa: &'a dense::DFA<Vec<u32>>, anchored: Anchored) -> Self {
        let start = |before: Option<u8>| {
            let config = start::Config::new().anchored(anchored).look_behind(before);
            // There is a start of this kind: it was asked for.
            dfa.start_state(&config).unwrap_or_default()
        };
        let starts: Vec<StateID> = (0..=255).map(Some).chain([None]).map(start).collect();
        let kinds: Vec<u8> = dfa.byte_classes().representatives(0..=255).filter_map(Unit::as_u8).collect();
        let mut states = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut todo = starts.clone();
        while let Some(state) = todo.pop() {
            if is_dead(dfa, state) || !seen.insert(state) {
                continue;
            }
            states.push(state);
            todo.extend(kinds.iter().map(|byte| dfa.next_state(state, *byte)));
        }
        Self { dfa, starts, states, kinds }
    }

    fn put_into(self, table: &mut Table) -> Result<Dfa, String> {
        let Self { dfa, starts, states, kinds } = &self;
        let numbers: HashMap<StateID, usize> = states.iter().copied().zip(0..).collect();
        let means: Vec<Step> = states.iter().map(|state| self.means(*state)).collect();
        let leads = |state: usize, byte| {
            numbers.get(&dfa.next_state(states.get(state).copied().unwrap_or_default(), byte)).copied()
        };
        let rows = table.add(|byte| dfa.byte_classes().get(byte), kinds, &means, leads)?;
        // What leads to a start says nothing.
        let start = |state: &StateID| numbers.get(state).map(|number| rows.place(*number, Step::Alive));
        let mut starts: Vec<Place> = starts.iter().map(|state| start(state).unwrap_or(Place::DEAD)).collect();
        if starts.windows(2).all(|pair| matches!(pair, [one, other] if one == other)) {
            starts.truncate(1);
        }
        let ends = states.iter().map(|state| self.matches_at_end(*state)).collect();
        Ok(Dfa { rows, starts: starts.into(), ends })
    }

    /// What it means that a byte leads to this state.
    fn means(&self, state: StateID) -> Step {
        if self.dfa.is_match_state(state) {
            if self.is_terminal(state) { Step::Last } else { Step::Match }
        } else if self.matches_at_end(state)
            && self.kinds.iter().all(|byte| self.is_terminal(self.dfa.next_state(state, *byte)))
        {
            // Matches are reported one byte late; this makes up for it.
            Step::Sure
        } else {
            Step::Alive
        }
    }

    /// A match state that leads nowhere.
    fn is_terminal(&self, state: StateID) -> bool {
        let mut next = self.kinds.iter().map(|byte| self.dfa.next_state(state, *byte));
        self.dfa.is_match_state(state)
            && next.all(|next| is_dead(self.dfa, next))
            && self.dfa.is_dead_state(self.dfa.next_eoi_state(state))
    }

    fn matches_at_end(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }
}

fn is_dead(dfa: &dense::DFA<Vec<u32>>, state: StateID) -> bool {
    dfa.is_dead_state(state) || dfa.is_quit_state(state)
}

/// The innermost message of an error: the one that names the place in the pattern.
fn source_message(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
