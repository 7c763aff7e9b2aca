//! Automata side by side.
//!
//! A name such as `api-key:` is one for a dozen rules, and behind it each of them may begin a secret. As long as all do
//! nothing but step, one automaton steps for all. Its states are those of its members; where one of them decides something
//! they go on by themselves.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::dfa::{Classes, Dfa, Place, Rows, Step, Table};
use super::machine::Machine;

/// The most states of one joint automaton: what does not fit steps by itself.
const MOST_STATES: usize = 8192;
/// The most states that one beginning may add.
const MOST_OF_ONE: usize = 512;

/// An automaton whose states are those of several.
#[derive(Debug, Default)]
pub(super) struct Joint {
    rows: Rows,
    /// By number of a state.
    members: Vec<Box<[Member]>>,
}

/// The automaton of a rule, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) rule: u16,
    pub(super) place: Place,
}

/// Which automata of the rules they are, and where they part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What stands before the secrets. They never part; it counts as a match where a secret of one can begin.
    Names,
    /// Secrets, for so many bytes. It counts as a match where they part.
    Secrets(usize),
}

impl Joint {
    pub(super) fn classes(&self) -> Classes {
        self.rows.classes()
    }

    /// Who is in a state, and where.
    pub(super) fn members(&self, place: Place) -> &[Member] {
        self.members.get(self.rows.number(place)).map_or(&[], |members| members)
    }

    /// A state by its number, in which it begins.
    pub(super) fn place(&self, state: usize) -> Place {
        self.rows.place(state, Step::Alive)
    }

    /// The number of a state, from zero on.
    pub(super) fn number(&self, place: Place) -> usize {
        self.rows.number(place)
    }

    /// By number of a state: its members.
    pub(super) fn states(&self) -> &[Box<[Member]>] {
        &self.members
    }

    pub(super) fn memory(&self) -> usize {
        self.members.iter().map(|members| size_of_val(members) + size_of_val(&**members)).sum()
    }
}

/// Puts automata side by side.
pub(super) struct Builder<'a> {
    table: &'a Table,
    machines: &'a [Machine],
    kind: Kind,
    /// By byte: bytes that no member tells apart have one class.
    class_of: Vec<u8>,
    /// A byte of each class.
    kinds: Vec<u8>,
    numbers: HashMap<Box<[Member]>, usize>,
    states: Vec<Box<[Member]>>,
    /// By state and class where it leads; nothing for those that nobody leaves.
    next: Vec<Option<Box<[Option<usize>]>>>,
}

impl<'a> Builder<'a> {
    /// For beginnings that have only these rules as members.
    pub(super) fn new(table: &'a Table, machines: &'a [Machine], kind: Kind, rules: &BTreeSet<u16>) -> Self {
        let mut this = Self {
            table,
            machines,
            kind,
            class_of: Vec::new(),
            kinds: Vec::new(),
            numbers: HashMap::new(),
            states: Vec::new(),
            next: Vec::new(),
        };
        let classes: BTreeSet<Classes> = rules.iter().filter_map(|rule| this.classes(*rule)).collect();
        let mut seen: HashMap<Vec<u8>, u8> = HashMap::new();
        for byte in 0..=u8::MAX {
            let key = classes.iter().map(|classes| table.class(*classes, byte)).collect();
            let new = u8::try_from(seen.len()).unwrap_or(u8::MAX);
            let class = *seen.entry(key).or_insert(new);
            this.class_of.push(class);
            if this.kinds.len() == usize::from(class) {
                this.kinds.push(byte);
            }
        }
        this
    }

    fn classes(&self, rule: u16) -> Option<Classes> {
        let machine = self.machines.get(usize::from(rule))?;
        match self.kind {
            Kind::Names => machine.context.as_ref().map(Dfa::classes),
            Kind::Secrets(_) => Some(machine.secret.classes()),
        }
    }

    /// Adds what can follow where these begin together. `None` where that would be too much.
    pub(super) fn begin(&mut self, members: Vec<Member>) -> Option<usize> {
        let known = self.states.len();
        let most = (known + MOST_OF_ONE).min(MOST_STATES);
        let start = self.state(members);
        let mut level = vec![start];
        let mut seen = HashSet::from([start]);
        let mut led = Vec::new();
        let mut depth = 0;
        while !level.is_empty() {
            let mut behind = Vec::new();
            for state in level {
                if self.parts(state, depth) {
                    continue;
                }
                if self.lead_on(state) {
                    led.push(state);
                }
                if self.states.len() > most {
                    self.forget(known, &led);
                    return None;
                }
                let next = self.next.get(state).and_then(Option::as_deref).unwrap_or_default();
                behind.extend(next.iter().flatten().copied().filter(|next| seen.insert(*next)));
            }
            level = behind;
            depth += 1;
        }
        Some(start)
    }

    /// The number of a state.
    fn state(&mut self, mut members: Vec<Member>) -> usize {
        members.sort_unstable_by_key(|member| (member.rule, member.place.row()));
        members.dedup();
        let members: Box<[Member]> = members.into();
        *self.numbers.entry(members).or_insert_with_key(|members| {
            self.states.push(members.clone());
            self.next.push(None);
            self.states.len() - 1
        })
    }

    /// Whether its members part in a state, so many bytes from where they began.
    fn parts(&self, state: usize, depth: usize) -> bool {
        let decides = |member: &Member| member.place.step() != Step::Alive;
        match self.kind {
            Kind::Names => false,
            Kind::Secrets(most) => {
                depth >= most || self.states.get(state).is_none_or(|members| members.iter().any(decides))
            }
        }
    }

    /// Finds where all bytes lead from a state; says whether that was not known.
    fn lead_on(&mut self, state: usize) -> bool {
        if !self.next.get(state).is_some_and(Option::is_none) {
            return false;
        }
        let members = self.states.get(state).cloned().unwrap_or_default();
        let mut next = Vec::with_capacity(self.kinds.len());
        for byte in self.kinds.clone() {
            let follow = |member: &Member| {
                let place = self.table.follow(self.classes(member.rule)?, member.place, byte);
                (place.step() != Step::Dead).then_some(Member { place, ..*member })
            };
            let behind: Vec<Member> = members.iter().filter_map(follow).collect();
            next.push((!behind.is_empty()).then(|| self.state(behind)));
        }
        if let Some(slot) = self.next.get_mut(state) {
            *slot = Some(next.into());
        }
        true
    }

    /// Forgets the states from a number on, and where those lead that may lead there.
    fn forget(&mut self, from: usize, led: &[usize]) {
        for members in self.states.drain(from..) {
            self.numbers.remove(&members);
        }
        self.next.truncate(from);
        for state in led {
            if let Some(next) = self.next.get_mut(*state) {
                *next = None;
            }
        }
    }

    /// What it means to be led to a state.
    fn means(&self, state: usize, members: &[Member]) -> Step {
        let is_last = |member: &Member| member.place.step() == Step::Last;
        let begins = |member: &Member| matches!(member.place.step(), Step::Match | Step::Last);
        match self.kind {
            Kind::Names if members.iter().all(is_last) => Step::Last,
            Kind::Names if members.iter().any(begins) => Step::Match,
            Kind::Secrets(_) if self.next.get(state).is_none_or(Option::is_none) => Step::Match,
            _ => Step::Alive,
        }
    }

    /// What is to be put into the table of all automata.
    pub(super) fn finish(self) -> Plan {
        let means =
            self.states.iter().enumerate().map(|(state, members)| self.means(state, members)).collect();
        Plan { means, class_of: self.class_of, kinds: self.kinds, next: self.next, members: self.states }
    }
}

/// A joint automaton on its way into the table.
pub(super) struct Plan {
    means: Vec<Step>,
    class_of: Vec<u8>,
    kinds: Vec<u8>,
    next: Vec<Option<Box<[Option<usize>]>>>,
    members: Vec<Box<[Member]>>,
}

impl Plan {
    /// Puts it into the table.
    pub(super) fn put_into(self, table: &mut Table) -> Result<Joint, String> {
        let class_of = |byte: u8| self.class_of.get(usize::from(byte)).copied().unwrap_or_default();
        let leads = |state: usize, byte: u8| {
            let next = self.next.get(state)?.as_deref()?;
            next.get(usize::from(class_of(byte))).copied().flatten()
        };
        let rows = table.add(class_of, &self.kinds, &self.means, leads)?;
        Ok(Joint { rows, members: self.members })
    }
}
