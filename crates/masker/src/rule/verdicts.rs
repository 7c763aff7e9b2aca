//! What the checks have said of the value looked at last.
//!
//! Several rules may find the same value, since a name such as `API_KEY` is a name of several rules. What one of them has
//! asked, the others need not ask again.

use super::validator::{Validator, Verdict};

/// So many answers about a value are kept. Few rules ask more.
const KEPT: usize = 4;

/// What the checks have said of one value, and how many bytes of values have been looked at.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// Where in the text the value is.
    place: (u64, u64),
    answers: [Option<(Validator, Verdict)>; KEPT],
    looked_at: LookedAt,
}

/// Of a longer value one byte in so many counts. A token of some kilobytes that a few rules look at is ordinary; what is made
/// to be dear has many short values.
const LONG: u64 = 1024;
const COUNTED: u64 = 8;

/// What checks have looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LookedAt {
    /// Where the first of the values begins.
    pub(crate) from: u64,
    /// The bytes of all of them, as far as they count.
    pub(crate) bytes: u64,
}

impl LookedAt {
    /// One value.
    pub(crate) fn value((start, end): (u64, u64)) -> Self {
        let length = end - start;
        Self { from: start, bytes: length.min(LONG) + length.saturating_sub(LONG) / COUNTED }
    }

    fn add(&mut self, other: Self) {
        let from = if self.bytes == 0 { other.from } else { self.from.min(other.from) };
        *self = Self { from, bytes: self.bytes + other.bytes };
    }
}

impl Verdicts {
    /// Turns to the value between two positions of the text.
    pub(crate) fn turn_to(&mut self, place: (u64, u64)) {
        if self.place != place {
            self.place = place;
            self.answers = [None; KEPT];
            self.looked_at.add(LookedAt::value(place));
        }
    }

    /// Which values have been looked at, those that several rules have found once.
    pub(crate) fn looked_at(&self) -> LookedAt {
        self.looked_at
    }

    /// What a check says of the value at hand.
    pub(super) fn ask(&mut self, validator: Validator, value: &[u8]) -> Verdict {
        let known = self.answers.iter().flatten().find(|(asked, _)| *asked == validator);
        if let Some((_, verdict)) = known {
            return *verdict;
        }
        let verdict = validator.check(value);
        if let Some(free) = self.answers.iter_mut().find(|answer| answer.is_none()) {
            *free = Some((validator, verdict));
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_asked_of_a_value_is_remembered_and_forgotten_with_it() {
        let mut verdicts = Verdicts::default();
        verdicts.turn_to((3, 9));
        assert_eq!(verdicts.ask(Validator::Digits(2), b"abc12d"), Verdict::Plausible);
        assert_eq!(verdicts.ask(Validator::Digits(2), b"not asked"), Verdict::Plausible, "of the same value");
        assert_eq!(verdicts.ask(Validator::Digits(3), b"abc12d"), Verdict::Refuted, "another check");
        verdicts.turn_to((3, 9));
        assert_eq!(verdicts.looked_at(), LookedAt { from: 3, bytes: 6 }, "once");
        verdicts.turn_to((4, 9));
        assert_eq!(verdicts.ask(Validator::Digits(2), b"bc1xx"), Verdict::Refuted, "of another value");
        assert_eq!(verdicts.looked_at(), LookedAt { from: 3, bytes: 11 });
        verdicts.turn_to((1, 1 + LONG + 80));
        assert_eq!(verdicts.looked_at(), LookedAt { from: 1, bytes: 11 + LONG + 10 }, "a long value");
    }
}
