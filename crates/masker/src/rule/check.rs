//! What a rule must be before it may scan: named, anchored, bounded, small, shown by examples.

use std::collections::HashSet;

use regex_automata::dfa::dense;
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use super::{Judge, Rule, RuleError, syntax};

/// The largest automaton of one pattern, in bytes.
const DFA_LIMIT: usize = 2 << 20;
/// The longest match a rule may ask for.
const LONGEST: usize = 1 << 16;
/// The fewest examples of either kind.
const EXAMPLES: usize = 2;

/// Checks a rule without running its examples.
///
/// # Errors
/// Names the rule, the field and what to do.
pub fn check(rule: &Rule) -> Result<(), RuleError> {
    identity(rule)?;
    length(rule)?;
    let pattern = automaton(rule, "pattern", &rule.pattern)?;
    nonempty(rule, "pattern", &pattern)?;
    match &rule.context {
        Some(context) => {
            let context = automaton(rule, "context", context)?;
            nonempty(rule, "context", &context)?;
            anchored(rule, "context", &context)?;
        }
        None if rule.anchor_offset != [0, 0] => {
            return Err(
                rule.error("anchor_offset", "bytes before an anchor need a `context` to stand in; add one")
            );
        }
        None => anchored(rule, "pattern", &pattern)?,
    }
    for (field, regex) in [("after", &rule.after), ("commit", &rule.commit), ("until", &rule.until)] {
        if let Some(regex) = regex {
            automaton(rule, field, regex)?;
        }
    }
    Judge::new(
        &Rule { allow: super::Allow { hmacs: Vec::new(), ..rule.allow.clone() }, ..rule.clone() },
        None,
    )?;
    for (field, examples) in [("positive", &rule.positive), ("negative", &rule.negative)] {
        if examples.len() < EXAMPLES {
            return Err(rule.error(field, format!("give at least {EXAMPLES} examples; they run as tests")));
        }
    }
    rule.positives(0)?;
    rule.negatives(0)?;
    Ok(())
}

fn identity(rule: &Rule) -> Result<(), RuleError> {
    let kebab =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if rule.id.len() > 64 || !rule.id.split('-').all(kebab) {
        return Err(rule.error(
            "id",
            "use at most 64 small letters and digits with single dashes, as in `acme-api-key`",
        ));
    }
    if rule.description.trim().is_empty() {
        return Err(rule.error("description", "say in one sentence what the secret is"));
    }
    if rule.anchors.is_empty() {
        return Err(rule.error("anchors", "name at least one literal that every match begins with"));
    }
    if !rule.unless_behind.is_empty() && rule.context.is_none() {
        return Err(
            rule.error("unless_behind", "what stands before a name decides only with a `context`; add one")
        );
    }
    if let Some(word) = rule.unless_behind.iter().find(|word| !(2..=20).contains(&word.len())) {
        return Err(rule.error("unless_behind", format!("`{word}`: use words of 2 to 20 bytes")));
    }
    if let Some(anchor) = rule.anchors.iter().find(|anchor| !(3..=64).contains(&anchor.len())) {
        return Err(rule.error("anchors", format!("`{anchor}`: use literals of 3 to 64 bytes, rare ones")));
    }
    Ok(())
}

/// The longest match is known, or said, or there is a point from which it is swallowed.
fn length(rule: &Rule) -> Result<(), RuleError> {
    let parsed = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(rule.ignore_case)
        .build()
        .parse(&rule.pattern)
        .map_err(|error| rule.error("pattern", format!("not a regular expression: {error}")))?;
    let properties = parsed.properties();
    if !properties.look_set().is_empty() {
        return Err(rule.error("pattern", "use `left` and `right` in place of `^`, `$` and `\\b`"));
    }
    match rule.max.or(properties.maximum_len()) {
        Some(longest) if longest <= LONGEST => Ok(()),
        Some(_) => {
            Err(rule.error("max", format!("at most {LONGEST} bytes; give longer secrets a `commit` point")))
        }
        None if rule.commit.is_some() => Ok(()),
        None => {
            Err(rule
                .error("pattern", "the match is unbounded; say the longest in `max`, or a `commit` point"))
        }
    }
}

type Dfa = dense::DFA<Vec<u32>>;

/// The anchored automaton of a pattern, within limits.
fn automaton(rule: &Rule, field: &'static str, pattern: &str) -> Result<Dfa, RuleError> {
    dense::Builder::new()
        .syntax(syntax(rule.ignore_case))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(DFA_LIMIT)))
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Anchored)
                .match_kind(MatchKind::All)
                .dfa_size_limit(Some(DFA_LIMIT))
                .determinize_size_limit(Some(DFA_LIMIT * 4)),
        )
        .build(pattern)
        .map_err(|error| {
            let mut cause = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                cause = format!("{cause}: {source}");
            }
            rule.error(
                field,
                format!("no automaton of at most {DFA_LIMIT} bytes ({cause}); write {{n,}} for long repeats and say `max`"),
            )
        })
}

fn start(dfa: &Dfa) -> Option<StateID> {
    dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()
}

fn nonempty(rule: &Rule, field: &'static str, dfa: &Dfa) -> Result<(), RuleError> {
    match start(dfa) {
        Some(state) if dfa.is_match_state(dfa.next_eoi_state(state)) => {
            Err(rule.error(field, "it matches the empty text; ask for at least one byte"))
        }
        _ => Ok(()),
    }
}

/// Every match begins with an anchor, after as many bytes as `anchor_offset` says: walks the automaton and the
/// anchors side by side until each way has met an anchor or died.
fn anchored(rule: &Rule, field: &'static str, dfa: &Dfa) -> Result<(), RuleError> {
    let [least, most] = rule.anchor_offset;
    if least > most || most > 64 {
        return Err(rule.error("anchor_offset", "write [least, most] with least <= most <= 64"));
    }
    let fold = |byte: u8| if rule.ignore_case { byte.to_ascii_lowercase() } else { byte };
    let anchors: Vec<Vec<u8>> =
        rule.anchors.iter().map(|anchor| anchor.bytes().map(fold).collect()).collect();
    let mut seen = HashSet::new();
    let mut queue: Vec<(StateID, Walk, Vec<u8>)> = Vec::new();
    queue.extend(start(dfa).map(|state| (state, Walk::default(), Vec::new())));
    while let Some((state, walk, read)) = queue.pop() {
        if !seen.insert((state, walk.clone())) {
            continue;
        }
        if seen.len() > 100_000 || dfa.is_match_state(dfa.next_eoi_state(state)) {
            return Err(unanchored(rule, field, &read));
        }
        for byte in 0..=u8::MAX {
            let next = dfa.next_state(state, byte);
            if dfa.is_dead_state(next) || (rule.ignore_case && byte.is_ascii_uppercase()) {
                continue;
            }
            let read = || [read.as_slice(), &[byte]].concat();
            match walk.step(fold(byte), &anchors, least, most) {
                Step::Met => {}
                Step::Possible(walk) => queue.push((next, walk, read())),
                Step::Missed => return Err(unanchored(rule, field, &read())),
            }
        }
    }
    Ok(())
}

/// How far each anchor has come on one way through an automaton.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Walk {
    /// Bytes read, up to one more than the largest offset.
    read: usize,
    /// The anchors that are under way, by number, and how many bytes of each are read.
    under_way: Vec<(usize, usize)>,
}

enum Step {
    Met,
    Possible(Walk),
    Missed,
}

impl Walk {
    fn step(&self, byte: u8, anchors: &[Vec<u8>], least: usize, most: usize) -> Step {
        let may_start = (least..=most).contains(&self.read);
        let starting = (0..anchors.len()).filter(|_| may_start).map(|number| (number, 0));
        let mut under_way = Vec::new();
        for (number, done) in self.under_way.iter().copied().chain(starting) {
            let Some(anchor) = anchors.get(number) else { continue };
            if anchor.get(done) == Some(&byte) {
                if done + 1 == anchor.len() {
                    return Step::Met;
                }
                under_way.push((number, done + 1));
            }
        }
        let read = (self.read + 1).min(most + 1);
        if under_way.is_empty() && read > most {
            return Step::Missed;
        }
        Step::Possible(Self { read, under_way })
    }
}

fn unanchored(rule: &Rule, field: &'static str, read: &[u8]) -> RuleError {
    let read = read.escape_ascii();
    rule.error(
        field,
        format!("a match can begin with `{read}`, which is no anchor; every match must begin with one of `anchors`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Rule {
        Rule {
            id: "acme-key".into(),
            description: "Acme's key".into(),
            anchors: vec!["acme_".into()],
            pattern: "acme_[a-z0-9]{20}".into(),
            positive: vec!["«acme_‹b36 20›»".into(), "k=«acme_‹b36 20›»".into()],
            negative: vec!["acme_".into(), "acme".into()],
            ..Rule::default()
        }
    }

    fn problem(change: impl FnOnce(&mut Rule)) -> String {
        let mut rule = rule();
        change(&mut rule);
        check(&rule).expect_err("refused").to_string()
    }

    #[test]
    fn a_good_rule_passes() {
        check(&rule()).expect("good");
    }

    #[test]
    fn each_mistake_names_the_rule_the_field_and_the_remedy() {
        let all = [
            (problem(|r| r.id = "Acme Key".into()), "id", "small letters"),
            (problem(|r| r.id = "acme--key".into()), "id", "single dashes"),
            (problem(|r| r.description = " ".into()), "description", "one sentence"),
            (problem(|r| r.anchors.clear()), "anchors", "at least one"),
            (problem(|r| r.anchors = vec!["a".into()]), "anchors", "3 to 64"),
            (problem(|r| r.pattern = "acme_(".into()), "pattern", "not a regular expression"),
            (problem(|r| r.pattern = "(?:acme_)?[a-z]{20}".into()), "pattern", "no anchor"),
            (problem(|r| r.pattern = "acme[_-][a-z]{20}".into()), "pattern", "no anchor"),
            (problem(|r| r.pattern = "acme_[a-z]{20,}".into()), "pattern", "unbounded"),
            (problem(|r| r.pattern = "acme_[a-z]*".into()), "pattern", "unbounded"),
            (problem(|r| r.pattern = "acme_x\\b".into()), "pattern", "`left` and `right`"),
            (problem(|r| r.pattern = "acme_.{0,40}(?:[a-f].{0,40}){9}".into()), "pattern", "automaton"),
            (problem(|r| r.max = Some(1 << 20)), "max", "commit"),
            (problem(|r| r.context = Some("x?".into())), "context", "empty"),
            (problem(|r| r.context = Some("key=".into())), "context", "no anchor"),
            (problem(|r| r.anchor_offset = [1, 2]), "anchor_offset", "context"),
            (problem(|r| r.unless_behind = vec!["public".into()]), "unless_behind", "context"),
            (
                problem(|r| (r.context, r.unless_behind) = (Some("acme_".into()), vec!["x".into()])),
                "unless_behind",
                "2 to 20",
            ),
            (problem(|r| r.after = Some("(".into())), "after", "automaton"),
            (problem(|r| r.validators = vec!["luck".into()]), "validators", "entropy:N"),
            (problem(|r| r.positive = vec!["x".into()]), "positive", "at least 2"),
            (problem(|r| r.negative.clear()), "negative", "at least 2"),
            (problem(|r| r.positive = vec!["«".into(), "x".into()]), "positive", "do not pair"),
        ];
        for (message, field, remedy) in all {
            assert!(message.contains(field) && message.contains(remedy), "{field}, {remedy}: {message}");
        }
    }

    #[test]
    fn anchors_may_stand_inside_a_context() {
        let mut rule = rule();
        rule.anchors = vec![":AA".into()];
        rule.context = Some("[0-9]{2,4}:AA".into());
        rule.anchor_offset = [2, 4];
        check(&rule).expect("two to four digits stand before the anchor");
        rule.anchor_offset = [2, 3];
        assert!(check(&rule).is_err(), "four digits are possible");
    }
}
