//! What begins together goes together: names that end with the same byte, and the secrets that begin behind them.
//!
//! It must be as if each had gone by itself. So names go together for good, since they hold nothing back and decide nothing
//! but where a secret begins; secrets while they are young and nothing is decided.

use std::collections::BTreeSet;

use super::anchors::{Anchors, word_may_begin};
use super::candidate::{Aside, Candidate, Here, Out, Phase};
use super::crowd::YOUNG;
use super::dfa::{Place, Step, Table};
use super::joint::{Builder, Joint, Kind, Member};
use super::machine::Machine;
use super::{Machines, Scan, Window};

/// The rule number of those that go together.
pub(super) const JOINT: u16 = u16::MAX - 1;

/// The joint automata.
#[derive(Debug, Default)]
pub(super) struct Together {
    pub(super) names: Joint,
    pub(super) secrets: Joint,
    /// By number of a state of the names: the secrets that can begin with the last byte.
    begins: Vec<Beginning>,
}

/// Secrets that can begin with one byte.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The number of the state in which some begin together.
    state: Option<usize>,
    /// Who they are.
    pub(super) together: Box<[u16]>,
    pub(super) alone: Box<[u16]>,
}

impl Beginning {
    /// Behind names that are in these states.
    fn new(names: &[Member], machines: &[Machine], builder: &mut Builder<'_>) -> Self {
        let entry = |rule: u16| machines.get(usize::from(rule)).and_then(Machine::entry);
        let begun = names.iter().filter(|name| matches!(name.place.step(), Step::Match | Step::Last));
        let begun: BTreeSet<u16> = begun.map(|name| name.rule).collect();
        let member = |rule: &u16| Some(Member { rule: *rule, place: entry(*rule)? });
        let members: Vec<Member> = begun.iter().filter_map(member).collect();
        let together: Box<[u16]> = members.iter().map(|member| member.rule).collect();
        let state = if members.len() > 1 { builder.begin(members) } else { None };
        match state {
            None => Self { state, together: Box::default(), alone: begun.into_iter().collect() },
            Some(_) => {
                let alone = begun.into_iter().filter(|rule| !together.contains(rule)).collect();
                Self { state, together, alone }
            }
        }
    }
}

impl Together {
    /// Joins the names that end where the same anchors do, and what begins behind them.
    pub(super) fn new(
        table: &mut Table,
        machines: &[Machine],
        anchors: &mut Anchors,
    ) -> Result<Self, String> {
        let rules = || (0..JOINT).zip(machines);
        let named = rules().filter(|(_, machine)| machine.context.is_some()).map(|(rule, _)| rule);
        let mut builder = Builder::new(table, machines, Kind::Names, &named.collect());
        let mut groups = anchors.groups();
        for group in groups.iter_mut().flatten() {
            group.state = builder.begin(group.members.clone());
        }
        let names = builder.finish().put_into(table)?;
        anchors.join(&names, &groups);

        let young = rules().filter(|(_, machine)| machine.entry().is_some()).map(|(rule, _)| rule);
        let mut builder = Builder::new(table, machines, Kind::Secrets(YOUNG), &young.collect());
        let begins = names.states().iter().map(|name| Beginning::new(name, machines, &mut builder)).collect();
        let secrets = builder.finish().put_into(table)?;
        Ok(Self { names, secrets, begins })
    }

    /// The secrets that can begin with the byte that led to a state of the names.
    pub(super) fn begins(&self, name: Place) -> Option<&Beginning> {
        self.begins.get(self.names.number(name))
    }

    pub(super) fn memory(&self) -> usize {
        let begins = self
            .begins
            .iter()
            .map(|begins| size_of_val(begins) + size_of_val(&*begins.together) + size_of_val(&*begins.alone));
        self.names.memory() + self.secrets.memory() + begins.sum::<usize>()
    }
}

impl Scan {
    /// Decides about what goes together; says whether it still does.
    pub(super) fn decide_together(
        &mut self,
        machines: &Machines,
        here: Here<'_>,
        candidate: Candidate,
        out: &mut Out<'_>,
    ) -> bool {
        if candidate.phase == Phase::Young {
            if candidate.state.step() != Step::Dead {
                self.part(machines, here, candidate, out);
            }
            return false;
        }
        let mut aside = Aside::Nothing;
        let goes_on = candidate.decide_context(here.at, &mut aside);
        if aside == Aside::Begins
            && let Some(beginning) = machines.together.begins(candidate.state)
        {
            self.begin_together(machines, here, beginning, out);
        }
        goes_on
    }

    /// Behind a name secrets begin with the byte at hand.
    fn begin_together(
        &mut self,
        machines: &Machines,
        here: Here<'_>,
        beginning: &Beginning,
        out: &mut Out<'_>,
    ) {
        for rule in &beginning.alone {
            self.begin_behind(machines, here, *rule, out);
        }
        let Some(state) = beginning.state else { return };
        let joint = &machines.together.secrets;
        let is_word = word_may_begin(here.text.before(here.at), here.at == 0);
        if !is_word || self.is_blacked_out() {
            for rule in &beginning.together {
                self.begin_behind(machines, here, *rule, out);
            }
            return;
        }
        let state = machines.table.follow(joint.classes(), joint.place(state), here.byte);
        let young = Candidate::young(joint.classes(), state, here.at);
        match state.step() {
            Step::Alive => self.add_begun(young),
            Step::Dead => {}
            _ => self.part(machines, here, young, out),
        }
    }

    /// From the byte at hand on, over which they have stepped, they go by themselves.
    fn part(&mut self, machines: &Machines, here: Here<'_>, young: Candidate, out: &mut Out<'_>) {
        for member in machines.together.secrets.members(young.state) {
            let Some(machine) = machines.rule(member.rule) else { continue };
            let mut candidate =
                Candidate::new(machine, member.rule, Phase::Secret, (member.place, None), young.start);
            let mut aside = Aside::Nothing;
            let goes_on = !candidate.is_due(here.at) || candidate.decide(machine, here, out, &mut aside);
            let end = candidate.end(machine, aside, here.at);
            if goes_on {
                self.live.push(candidate);
            }
            if let Some(end) = end {
                self.heed(machines, here.text, end, out.spans);
            }
        }
    }

    /// All that are young go by themselves from here on.
    pub(super) fn part_all(&mut self, machines: &Machines) {
        let mut young = Vec::new();
        self.live.retain(|candidate| {
            let is_young = candidate.phase == Phase::Young;
            if is_young {
                young.push(*candidate);
            }
            !is_young
        });
        for young in young {
            let members = machines.together.secrets.members(young.state).iter().filter_map(|member| {
                let machine = machines.rule(member.rule)?;
                Some(Candidate::new(machine, member.rule, Phase::Secret, (member.place, None), young.start))
            });
            self.live.extend(members);
        }
    }
}

impl Together {
    /// Whether all secrets that begin together with the byte at `from` are over while they are young, and were none.
    pub(super) fn young_fail(
        &self,
        table: &Table,
        beginning: &Beginning,
        text: Window<'_>,
        from: usize,
    ) -> bool {
        let Some(state) = beginning.state else { return true };
        let mut place = self.secrets.place(state);
        let young = text.bytes.get(from..text.bytes.len().min(from + YOUNG + 1)).unwrap_or_default();
        for byte in young {
            place = table.follow(self.secrets.classes(), place, *byte);
            match place.step() {
                Step::Alive => {}
                Step::Dead => return true,
                _ => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
