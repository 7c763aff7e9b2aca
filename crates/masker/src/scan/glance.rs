//! A glance ahead: whether what begins with an anchor comes to nothing.
//!
//! Most anchors in ordinary text are names of secrets with none behind them: `the token is`. What begins there costs far
//! more than its bytes, and leaves nothing. Where enough of the text is at hand to see that, it need not begin.
//!
//! It must be as if it had begun. So a glance says yes only if nothing would have been decided, nor counted as a part of
//! a crowd.

use super::anchors::{Hit, LONGEST};
use super::automaton::State;
use super::candidate::{CONTEXT_CAP, Phase};
use super::crowd::YOUNG;
use super::dfa::{Dfa, Place, Step, Table};
use super::machine::Machine;
use super::together::JOINT;
use super::{Machines, Window};

/// How far behind its anchor a name of a secret is looked at: no farther than it may reach.
const NEAR: usize = 64;
const _: () = assert!((NEAR + LONGEST) as u64 <= CONTEXT_CAP, "it would be looked at beyond its end");

impl Machines {
    /// Whether all that begins with the anchor that ends with the byte at `at` is over before it could mean anything:
    /// most names of secrets in ordinary text. Everything is then as if it had not begun.
    pub(super) fn comes_to_nothing(&self, text: Window<'_>, at: usize, state: State) -> bool {
        let seen = text.bytes.get(..=at).unwrap_or_default();
        self.anchors.hits(state, seen).all(|hit| self.fails(hit, text, at))
    }

    /// The same for one rule that begins there, or those that do so together.
    pub(super) fn fails(&self, hit: &Hit, text: Window<'_>, at: usize) -> bool {
        if let Some(ready) = hit.ready.filter(|ready| ready.phase == Phase::Context) {
            return self.name_fails(hit.rule, ready.state, text, at + 1);
        }
        let Some(machine) = self.rule(hit.rule) else { return false };
        let mut starts = (hit.back.0..=hit.back.1).map_while(|back| (at + 1).checked_sub(back));
        starts.all(|start| {
            let last = start.checked_sub(1).and_then(|last| text.bytes.get(last)).copied();
            if let Some(context) = &machine.context {
                return self.name_fails(hit.rule, context.start(last), text, start);
            }
            let before = text.bytes.get(..start).unwrap_or_default();
            let ready = hit.ready.map(|ready| (at + 1, (ready.state, ready.commit)));
            let (from, states) = ready.unwrap_or_else(|| (start, machine.start(last)));
            !machine.may_begin(before, text.base == 0 && start == 0)
                || machine.secret_fails(&self.table, states, text, start, from)
        })
    }

    /// Whether a name of a secret in `state`, behind which the byte at `from` stands, is followed by none.
    pub(super) fn name_fails(&self, rule: u16, mut state: Place, text: Window<'_>, from: usize) -> bool {
        let context = self.rule(rule).and_then(|machine| machine.context.as_ref());
        let classes = context.map_or_else(|| self.together.names.classes(), Dfa::classes);
        for (at, byte) in text.bytes.iter().enumerate().skip(from).take(NEAR) {
            state = self.table.follow(classes, state, *byte);
            let step = state.step();
            if matches!(step, Step::Match | Step::Last) && !self.fail_behind(rule, state, text, at) {
                return false;
            }
            if matches!(step, Step::Last | Step::Dead) {
                return true;
            }
        }
        false
    }

    /// Whether no secret begins with the byte at `at`, which has led a name to this state.
    fn fail_behind(&self, rule: u16, state: Place, text: Window<'_>, at: usize) -> bool {
        let fails =
            |rule: &u16| self.rule(*rule).is_some_and(|machine| machine.fails_at(&self.table, text, at));
        if rule != JOINT {
            return fails(&rule);
        }
        let Some(beginning) = self.together.begins(state) else { return false };
        let together = || {
            self.together.young_fail(&self.table, beginning, text, at) || beginning.together.iter().all(fails)
        };
        beginning.alone.iter().all(fails) && together()
    }
}

impl Machine {
    /// Whether no secret begins with the byte at `at`.
    fn fails_at(&self, table: &Table, text: Window<'_>, at: usize) -> bool {
        let (before, rest) = text.bytes.split_at_checked(at).unwrap_or_default();
        rest.first().is_some_and(|byte| !self.can_begin_with(*byte))
            || !self.may_begin(before, text.base == 0 && at == 0)
            || self.secret_fails(table, self.start(before.last().copied()), text, at, at)
    }

    /// Whether a secret that has begun at `start`, and is in these states before the byte at `from`, is over while it is
    /// young and was none.
    fn secret_fails(
        &self,
        table: &Table,
        (mut state, mut commit): (Place, Option<Place>),
        text: Window<'_>,
        start: usize,
        from: usize,
    ) -> bool {
        let young = text.bytes.get(..text.bytes.len().min(start + YOUNG + 1)).unwrap_or_default();
        if self.max <= YOUNG as u64 {
            return false;
        }
        for byte in young.get(from..).unwrap_or_default() {
            if let Some((machine, state)) = self.commit.as_ref().zip(commit.as_mut()) {
                match machine.step(table, state, *byte) {
                    Step::Alive => {}
                    Step::Dead => commit = None,
                    _ => return false,
                }
            }
            match self.secret.step(table, &mut state, *byte) {
                Step::Alive => {}
                Step::Dead if commit.is_some() => {}
                Step::Dead => return true,
                _ => return false,
            }
        }
        false
    }
}
