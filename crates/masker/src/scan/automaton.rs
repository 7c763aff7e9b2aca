//! The automaton over all anchors: which of them end with the bytes read so far.
//!
//! The library that builds it could run it too. A table of our own can be read at several places at once, tells a state
//! in which an anchor ends by its number alone, and has rows that are no longer than they need to be.

use std::collections::HashMap;

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind, dfa};

/// Where the automaton is: the place of a row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(u32);

/// A table of states by classes of bytes. It ignores case.
#[derive(Debug)]
pub(crate) struct Automaton {
    /// Bytes that no anchor tells apart have one class.
    classes: Box<[u8; 256]>,
    /// Row by row, where each class of bytes leads.
    next: Box<[State]>,
    /// The length of a row.
    width: u32,
    /// The rows of states in which an anchor ends come first; here they end.
    hits: u32,
    /// By row of those: the numbers of the anchors, longest first.
    matches: Box<[Box<[u32]>]>,
    start: State,
}

impl Automaton {
    pub(crate) fn new(literals: &[Vec<u8>]) -> Result<Self, BuildError> {
        let built = dfa::Builder::new()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .ascii_case_insensitive(true)
            .prefilter(false)
            .build(literals)?;
        // There is a start of this kind: it was asked for.
        Ok(built.start_state(Anchored::No).map(|start| Self::of(&built, start, literals)).unwrap_or_default())
    }

    fn of(built: &dfa::DFA, start: StateID, literals: &[Vec<u8>]) -> Self {
        let (classes, kinds) = classes(literals);
        let follow = |state: StateID, byte: u8| built.next_state(Anchored::No, state, byte);
        let mut states = reachable(built, start, &kinds);
        states.sort_by_key(|state| !built.is_match(*state));
        let width = u32::try_from(kinds.len()).unwrap_or(256);
        let rows = (0u32..).step_by(kinds.len().max(1)).map(State);
        let row: HashMap<StateID, State> = states.iter().copied().zip(rows).collect();
        let to = |state: StateID| row.get(&state).copied().unwrap_or(State(0));
        let ended: Vec<StateID> = states.iter().copied().filter(|state| built.is_match(*state)).collect();
        let of = |state: &StateID| {
            (0..built.match_len(*state)).map(|index| built.match_pattern(*state, index).as_u32()).collect()
        };
        Self {
            classes,
            next: states
                .iter()
                .flat_map(|state| kinds.iter().map(|byte| to(follow(*state, *byte))))
                .collect(),
            width,
            hits: u32::try_from(ended.len()).unwrap_or(u32::MAX).saturating_mul(width),
            matches: ended.iter().map(of).collect(),
            start: to(start),
        }
    }

    pub(crate) fn start(&self) -> State {
        self.start
    }

    #[inline(always)]
    pub(crate) fn step(&self, state: State, byte: u8) -> State {
        // A row and a class in it are within the table by construction; nothing can wrap.
        let class = self.classes.get(usize::from(byte)).copied().unwrap_or_default();
        self.next.get(state.0.wrapping_add(u32::from(class)) as usize).copied().unwrap_or(self.start)
    }

    /// Whether an anchor ends here.
    #[inline(always)]
    pub(crate) fn is_hit(&self, state: State) -> bool {
        state.0 < self.hits
    }

    /// By number of a state in which an anchor ends: the numbers of those that do, longest first.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &[u32]> {
        self.matches.iter().map(|all| &**all)
    }

    /// States are numbered from zero.
    pub(crate) fn number(&self, state: State) -> usize {
        state.0.checked_div(self.width).unwrap_or_default() as usize
    }

    /// How many states there are.
    pub(crate) fn count(&self) -> usize {
        self.next.len().checked_div(self.width as usize).unwrap_or_default()
    }

    pub(crate) fn memory(&self) -> usize {
        let matches: usize = self.matches.iter().map(|all| size_of_val(&**all) + size_of_val(all)).sum();
        size_of_val(&*self.next) + 256 + matches
    }
}

/// An automaton over no anchors.
impl Default for Automaton {
    fn default() -> Self {
        let next = [State(0)].into();
        Self {
            classes: Box::new([0; 256]),
            next,
            width: 1,
            hits: 0,
            matches: Box::default(),
            start: State(0),
        }
    }
}

/// All states that some text leads to, the nearest first.
fn reachable(built: &dfa::DFA, start: StateID, bytes: &[u8]) -> Vec<StateID> {
    let mut states = vec![start];
    let mut seen: std::collections::HashSet<StateID> = [start].into();
    let mut index = 0;
    while let Some(state) = states.get(index).copied() {
        let next = bytes.iter().map(|byte| built.next_state(Anchored::No, state, *byte));
        let fresh: Vec<StateID> = next.filter(|state| seen.insert(*state)).collect();
        states.extend(fresh);
        index += 1;
    }
    states
}

/// The class of each byte, and a byte of each class: those of the anchors by themselves, all others together.
fn classes(literals: &[Vec<u8>]) -> (Box<[u8; 256]>, Vec<u8>) {
    let mut used = [false; 256];
    for byte in literals.iter().flatten() {
        if let Some(used) = used.get_mut(usize::from(byte.to_ascii_lowercase())) {
            *used = true;
        }
    }
    let is_used = |byte: &u8| used.get(usize::from(byte.to_ascii_lowercase())).is_some_and(|used| *used);
    let other = (0..=255).find(|byte| !is_used(byte));
    let own = (0..=255).filter(|byte: &u8| !byte.is_ascii_uppercase() && is_used(byte));
    let kinds: Vec<u8> = other.into_iter().chain(own).collect();
    let class =
        |byte: u8| kinds.iter().position(|kind| *kind == byte.to_ascii_lowercase()).unwrap_or_default();
    let mut classes = Box::new([0; 256]);
    for (slot, byte) in classes.iter_mut().zip(0..=255) {
        *slot = u8::try_from(class(byte)).unwrap_or_default();
    }
    (classes, kinds)
}
