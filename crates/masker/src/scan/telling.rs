//! How much of a secret gives it away where the text ends inside of it.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::dfa::{Dfa, Table};
use crate::rule::Rule;

/// The least that tells of a secret behind its anchor.
const LEAST: usize = 6;
/// The least that tells where the anchor stands before the secret: what follows it may be anything.
const LEAST_NAMED: usize = 12;

/// How much of a secret must be there to be masked where the text ends inside of it: three quarters of what stands
/// behind the anchor. What is missing then can still be guessed.
///
/// Where the anchor stands before the secret, three quarters of the secret, with all literals that the pattern asks
/// for: 32 digits are no key of an issuer that writes `-us1` behind them. Rules that wait for what stands behind the
/// secret, or for a point of no doubt, take nothing less than the whole.
#[derive(Debug)]
pub(super) struct Telling {
    least: u64,
    anchor: u64,
    /// By state of the automaton: how many bytes the shortest secret still needs.
    missing: Vec<u16>,
}

impl Telling {
    pub(super) fn new(table: &Table, rule: &Rule, pattern: &Hir, secret: &Dfa) -> Option<Self> {
        if rule.after.is_some() || rule.commit.is_some() {
            return None;
        }
        let (least, anchor) = match rule.context {
            Some(_) => (LEAST_NAMED.max(last_literal(pattern)), 0),
            None => {
                let anchor = rule.anchors.iter().map(String::len).max().unwrap_or_default();
                (anchor + LEAST, anchor)
            }
        };
        Some(Self { least: least as u64, anchor: anchor as u64, missing: secret.missing(table) })
    }

    /// Whether `read` bytes, after which the automaton is in `state`, give most of a secret away.
    pub(super) fn tells(&self, read: u64, state: usize) -> bool {
        let missing = u64::from(self.missing.get(state).copied().unwrap_or(u16::MAX));
        read >= self.least && missing * 4 <= (read + missing).saturating_sub(self.anchor)
    }

    pub(super) fn memory(&self) -> usize {
        self.missing.len() * size_of::<u16>()
    }
}

/// Where the last literal ends that a match holds, in the shortest match; zero where there is none. Of several ways to
/// match, the one that takes longest counts.
fn last_literal(pattern: &Hir) -> usize {
    let mut last = 0;
    walk(pattern, 0, &mut last);
    last
}

/// Walks the parts of a match, from `from` on; gives where they end.
fn walk(part: &Hir, from: usize, last: &mut usize) -> usize {
    let end = from + part.properties().minimum_len().unwrap_or_default();
    match part.kind() {
        HirKind::Concat(parts) => {
            return parts.iter().fold(from, |from, part| walk(part, from, last));
        }
        HirKind::Capture(capture) => return walk(&capture.sub, from, last),
        HirKind::Literal(_) => *last = end,
        HirKind::Alternation(ways) if ways.iter().all(is_literal) => *last = end,
        HirKind::Alternation(ways) => {
            for way in ways {
                let mut here = 0;
                walk(way, from, &mut here);
                *last = here.max(*last);
            }
        }
        HirKind::Class(class) if is_one_letter(class) => *last = end,
        _ => {}
    }
    end
}

fn is_literal(part: &Hir) -> bool {
    match part.kind() {
        HirKind::Literal(_) => true,
        HirKind::Class(class) => is_one_letter(class),
        HirKind::Concat(parts) => parts.iter().all(is_literal),
        _ => false,
    }
}

/// A letter whose case does not matter.
fn is_one_letter(class: &Class) -> bool {
    match class {
        Class::Bytes(class) => {
            class.ranges().len() <= 2 && class.ranges().iter().all(|range| range.len() == 1)
        }
        Class::Unicode(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of `secret` tell.
    fn least(anchors: &[&str], context: Option<&str>, pattern: &str, secret: &str) -> Option<usize> {
        let rule = Rule {
            anchors: anchors.iter().map(|anchor| (*anchor).to_owned()).collect(),
            context: context.map(str::to_owned),
            pattern: pattern.to_owned(),
            ..Rule::default()
        };
        let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
        let mut table = Table::default();
        let dfa = Dfa::new(&mut table, pattern, false, true).expect("a pattern");
        let telling =
            Telling::new(&table, &rule, &parsed.expect("a pattern"), &dfa).expect("nothing behind it");
        let mut state = dfa.start(None);
        let mut read = 0;
        secret.bytes().position(|byte| {
            dfa.step(&table, &mut state, byte);
            read += 1;
            telling.tells(read, dfa.number(state))
        })
    }

    #[test]
    fn most_of_the_shortest_secret_is_wanted() {
        let many = "a".repeat(100);
        let ghp = format!("ghp_{many}");
        assert_eq!(least(&["ghp_"], None, "ghp_[A-Za-z0-9]{36,}", &ghp), Some(4 + 27 - 1));
        let akia = format!("AKIA{}", "A".repeat(16));
        assert_eq!(least(&["AKIA", "ASIA"], None, "(?:AKIA|ASIA)[A-Z0-9]{16}", &akia), Some(4 + 12 - 1));
        assert_eq!(least(&["key="], Some("key="), "[a-f0-9]{32}", &many), Some(24 - 1));
    }

    #[test]
    fn each_way_to_match_has_its_own_length() {
        let pattern = "aa_[a-z]{12}|bb_[a-z]{40}";
        let read = |head: &str| least(&["aa_", "bb_"], None, pattern, &format!("{head}{}", "x".repeat(40)));
        assert_eq!((read("aa_"), read("bb_")), (Some(3 + 9 - 1), Some(3 + 30 - 1)));
    }

    #[test]
    fn behind_a_name_every_literal_is_wanted() {
        let key = format!("{}-us12", "a".repeat(32));
        assert_eq!(least(&["key="], Some("key="), "[a-f0-9]{32}-us[0-9]{1,2}", &key), Some(35 - 1));
        let literal = |pattern: &str| {
            let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
            last_literal(&parsed.expect("a pattern"))
        };
        assert_eq!(literal("[a-f0-9]{32}[Jj][Qq](?:(?:aa|bb)[0-9]{4})?"), 34);
        assert_eq!(literal("[a-f0-9]{52}(?:(JQ)(?:QA|QB))[0-9]{2,9}"), 56);
        assert_eq!(literal("[a-f0-9]{32}AB|[a-f0-9]{42}CD[0-9]{10}"), 44);
    }
}
