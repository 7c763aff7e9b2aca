//! Texts that are spelled as numbers: a list of small ones may be the bytes of a text.

use std::collections::VecDeque;

use crate::lane::{Lane, Session};

/// What stands for a byte that is masked: the number of `*`.
const STAR: &[u8] = b"42";

/// A list of numbers, of which runs that could be bytes are masked as the text they spell.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    /// The text, once it is long enough to be one.
    lane: Option<Box<Lane>>,
    /// Numbers that are not yet decided, as they are spelled, each with what stands behind it.
    held: Vec<u8>,
    numbers: VecDeque<Number>,
    /// How many numbers the run has.
    count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Number {
    byte: u8,
    /// Where it is in the text.
    at: u64,
    length: usize,
    /// With what stands behind it.
    whole: usize,
}

impl Bytes {
    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.lane.is_none()
    }

    /// Takes the next number of the list.
    pub(super) fn number(
        &mut self,
        session: &mut Session,
        spelled: &[u8],
        name: &dyn Fn() -> String,
        out: &mut Vec<u8>,
    ) {
        let Some(byte) = byte_of(spelled) else {
            if !self.numbers.is_empty() {
                self.finish(session, name, out);
            }
            out.extend_from_slice(spelled);
            return;
        };
        self.held.extend_from_slice(spelled);
        self.numbers.push_back(Number { byte, at: self.count, length: spelled.len(), whole: spelled.len() });
        self.count += 1;
        if let Some(lane) = &mut self.lane {
            lane.push(&[byte]);
        } else if self.numbers.len() >= session.shortest() {
            let mut lane = Box::new(Lane::listing_drops(session));
            self.numbers.iter().for_each(|number| lane.push(&[number.byte]));
            self.lane = Some(lane);
        }
    }

    /// Takes what stands between two numbers. Says whether it is held with the one before it.
    pub(super) fn holds(&mut self, between: &[u8]) -> bool {
        let Some(last) = self.numbers.back_mut() else { return false };
        last.whole += between.len();
        self.held.extend_from_slice(between);
        true
    }

    /// Puts out what is decided.
    pub(super) fn advance(&mut self, session: &mut Session, name: &dyn Fn() -> String, out: &mut Vec<u8>) {
        if let Some(lane) = &mut self.lane {
            lane.advance(session, name, &mut Vec::new());
            self.give_out(out);
        }
    }

    /// The end of the run: puts out the rest.
    pub(super) fn finish(&mut self, session: &mut Session, name: &dyn Fn() -> String, out: &mut Vec<u8>) {
        if let Some(lane) = &mut self.lane {
            lane.finish(session, name, &mut Vec::new());
            self.give_out(out);
            self.lane = None;
        }
        out.append(&mut self.held);
        self.numbers.clear();
        self.count = 0;
    }

    fn give_out(&mut self, out: &mut Vec<u8>) {
        let Some(lane) = &mut self.lane else { return };
        let (decided, _) = lane.progress();
        let drops = lane.drops();
        let (mut used, mut passed) = (0, 0);
        while let Some(number) = self.numbers.pop_front_if(|number| number.at < decided) {
            let spelled = self.held.get(used..used + number.whole).unwrap_or_default();
            used += number.whole;
            let rest = drops.get(passed..).unwrap_or_default();
            passed += rest.iter().take_while(|(_, to)| *to <= number.at).count();
            if drops.get(passed).is_some_and(|(from, _)| *from <= number.at) {
                out.extend_from_slice(STAR);
                out.extend_from_slice(spelled.get(number.length..).unwrap_or_default());
            } else {
                out.extend_from_slice(spelled);
            }
        }
        self.held.drain(..used);
        drops.retain(|(_, to)| *to > decided);
    }
}

/// The byte that a number may stand for: `65`, or `65.0`.
fn byte_of(spelled: &[u8]) -> Option<u8> {
    // Nearly all numbers are no bytes.
    if !matches!(spelled, [_] | [_, _] | [_, _, _] | [_, b'.', ..] | [_, _, b'.', ..] | [_, _, _, b'.', ..]) {
        return None;
    }
    let point = spelled.iter().take(4).position(|byte| *byte == b'.').unwrap_or(spelled.len());
    let whole = spelled.get(..point).filter(|whole| (1..=3).contains(&whole.len()))?;
    let zeros = spelled.get(point + 1..).unwrap_or_default();
    if !zeros.iter().all(|byte| *byte == b'0') {
        return None;
    }
    whole.iter().try_fold(0_u8, |number, digit| {
        digit.is_ascii_digit().then_some(())?;
        number.checked_mul(10)?.checked_add(digit - b'0')
    })
}
