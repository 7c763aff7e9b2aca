//! Random policies and requests, against a reference that walks the rules one by one.

use std::net::IpAddr;

use gatewayd_core::{Action, Dialect, Effect, Timestamp, UpstreamName};
use gatewayd_policy::{CedarFile, Config, DEFAULT_DENY, Policy, RuleEffect, RuleSpec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::asking::{Question, caller, operation};

const GROUPS: [&str; 4] = ["a", "b", "A", "a\"b\n"];
const SUBJECTS: [&str; 3] = ["alice", "bob", "al\"ice"];
const ISSUERS: [&str; 2] = ["https://id.example", "https://other.example"];
const ACTIONS: [&str; 4] = ["infer", "train", "list-models", "unknown"];
const PATTERNS: [&str; 8] = ["*", "m", "m-*", "*-m", "M-*-x", "a*", "quote\"*", "*:8b"];
const MODELS: [&str; 12] = [
    "m",
    "M",
    " m:latest ",
    "m-1",
    "m-1-x",
    "library/m",
    "x-m",
    "a",
    "quote\"\n",
    "",
    "llama:8b",
    "m-\u{0}x",
];
const UPSTREAMS: [&str; 2] = ["llama", "vllm"];
const DIALECTS: [&str; 3] = ["openai", "ollama", "unknown"];
const ROUTES: [&str; 3] = ["/v1/*", "*/completions", "/v1/chat/completions"];
const SOURCES: [&str; 3] = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"];
const ADDRESSES: [&str; 4] = ["10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1"];

fn some<const N: usize>(all: [&'static str; N]) -> impl Strategy<Value = Option<Vec<String>>> {
    let list = subsequence(all.to_vec(), 1..=N.min(2));
    weighted(0.35, list.prop_map(|list| list.into_iter().map(str::to_owned).collect()))
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let effect = select(vec![RuleEffect::Allow, RuleEffect::Allow, RuleEffect::Approve, RuleEffect::Deny]);
    let who = (some(GROUPS), some(SUBJECTS), some(ISSUERS), some(SOURCES));
    let what = (some(ACTIONS), some(PATTERNS), some(UPSTREAMS), some(DIALECTS), some(ROUTES));
    let hours = weighted(0.2, select(vec!["00:00-12:00", "06:00-18:00", "20:00-04:00"]));
    (effect, who, what, hours).prop_map(|(effect, who, what, hours)| {
        let mut rule = RuleSpec::new("r", effect);
        (rule.groups, rule.subjects, rule.issuers, rule.sources) = who;
        (rule.actions, rule.models, rule.upstreams, rule.dialects, rule.routes) = what;
        if effect != RuleEffect::Deny && rule.groups.is_none() && rule.subjects.is_none() {
            rule.groups = Some(vec!["*".to_owned()]);
        }
        if effect == RuleEffect::Approve {
            rule.approval = Some("two-people".to_owned());
        }
        if let Some(hours) = hours {
            rule.hours = Some(vec![hours.to_owned()]);
            rule.zone = Some("UTC".to_owned());
        }
        rule
    })
}

fn rules() -> impl Strategy<Value = Vec<RuleSpec>> {
    prop::collection::vec(rule(), 0..6).prop_map(|mut rules| {
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = format!("r-{index}");
        }
        rules
    })
}

fn question() -> impl Strategy<Value = Question> {
    let who = (subsequence(GROUPS.to_vec(), 0..3), select(SUBJECTS.to_vec()), select(ISSUERS.to_vec()));
    let what = (
        select(ACTIONS.to_vec()),
        weighted(0.85, select(MODELS.to_vec())),
        select(UPSTREAMS.to_vec()),
        select(vec![Dialect::OpenAi, Dialect::Ollama, Dialect::Unknown]),
        select(vec!["/v1/chat/completions", "/api/chat", "/v1/files"]),
    );
    let place = (weighted(0.85, select(ADDRESSES.to_vec())), 0i64..48);
    (who, what, place).prop_map(|(who, what, (address, hour))| {
        let mut question = Question::new(&[], Action::Infer, None);
        question.identity = caller(&who.0);
        question.identity.subject = who.1.into();
        question.identity.issuer = who.2.into();
        question.operation = operation(Action::from_name(what.0).unwrap(), what.1);
        question.upstream = UpstreamName(what.2.into());
        question.operation.dialect = what.3;
        question.operation.route = what.4.into();
        question.source = address.map(|address| address.parse().unwrap());
        question.now = Timestamp::from_seconds(hour * 3600 + 60);
        question
    })
}

/// The effect and the name that the documentation promises.
fn reference(rules: &[RuleSpec], question: &Question) -> (Effect, String) {
    let first =
        |effect: RuleEffect| rules.iter().find(|rule| rule.effect == effect && applies(rule, question));
    for (rule_effect, effect) in [
        (RuleEffect::Deny, Effect::Deny),
        (RuleEffect::Approve, Effect::Approve),
        (RuleEffect::Allow, Effect::Allow),
    ] {
        if let Some(rule) = first(rule_effect) {
            return (effect, rule.name.clone());
        }
    }
    (Effect::Deny, DEFAULT_DENY.to_owned())
}

fn applies(rule: &RuleSpec, question: &Question) -> bool {
    let strict = rule.effect != RuleEffect::Allow;
    let action = question.operation.action.as_str();
    let any = |list: &Option<Vec<String>>, test: &dyn Fn(&str) -> bool| {
        list.as_ref().is_none_or(|list| list.iter().any(|value| test(value)))
    };
    let named_model = question.operation.model.as_deref().map(plain).filter(|name| !name.is_empty());
    let models = match &named_model {
        Some(name) => any(&rule.models, &|pattern| glob(&pattern.to_lowercase(), name)),
        None => rule.models.is_none() || strict && ["infer", "unknown"].contains(&action),
    };
    let sources = match question.source {
        Some(address) => any(&rule.sources, &|net| inside(net, address)),
        None => rule.sources.is_none() || strict,
    };
    let actions = match &rule.actions {
        Some(actions) => actions.iter().any(|name| name == action),
        None => action != "unknown" || rule.effect == RuleEffect::Deny,
    };
    let hour = question.now.seconds() / 3600 % 24;
    any(&rule.groups, &|group| group == "*" || question.identity.in_group(group))
        && any(&rule.subjects, &|subject| subject == &*question.identity.subject)
        && any(&rule.issuers, &|issuer| issuer == &*question.identity.issuer)
        && any(&rule.upstreams, &|name| name == &*question.upstream.0)
        && any(&rule.dialects, &|name| name == question.operation.dialect.as_str())
        && any(&rule.routes, &|pattern| glob(pattern, &question.operation.route))
        && any(&rule.hours, &|span| match span {
            "00:00-12:00" => hour < 12,
            "06:00-18:00" => (6..18).contains(&hour),
            _ => !(4..20).contains(&hour),
        })
        && (models && sources && actions)
}

fn plain(model: &str) -> String {
    let lower = model.trim().to_lowercase();
    let lower = lower.strip_prefix("library/").unwrap_or(&lower);
    lower.strip_suffix(":latest").unwrap_or(lower).to_owned()
}

/// A star matches anything: by recursion.
fn glob(pattern: &str, text: &str) -> bool {
    let Some(head) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[head.len_utf8()..];
    if head == '*' {
        return text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| glob(rest, &text[at..]));
    }
    text.strip_prefix(head).is_some_and(|text| glob(rest, text))
}

fn inside(net: &str, address: IpAddr) -> bool {
    match (net, address.to_canonical()) {
        ("10.0.0.0/8", IpAddr::V4(four)) => four.octets()[0] == 10,
        ("192.0.2.7", IpAddr::V4(four)) => four.octets() == [192, 0, 2, 7],
        ("2001:db8::/32", IpAddr::V6(six)) => six.segments()[..2] == [0x2001, 0xdb8],
        _ => false,
    }
}

fn compile(rules: Vec<RuleSpec>) -> Policy {
    Policy::new(&Config { rules, approvals: vec!["two-people".to_owned()], ..Config::default() }).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn decides_as_the_reference_does(rules in rules(), questions in prop::collection::vec(question(), 1..8)) {
        let policy = compile(rules.clone());
        for question in &questions {
            let decision = question.put(&policy);
            let expected = reference(&rules, question);
            prop_assert_eq!((decision.effect, decision.rule.to_string()), expected);
            // The reasons given fit what Cedar said, rule by rule.
            let explained = policy.explain(
                &question.identity, &question.operation, &question.upstream, question.source, question.now,
            );
            for (rule, trace) in rules.iter().zip(&explained.rules) {
                let matched = trace.outcome == gatewayd_policy::RuleOutcome::Matched;
                prop_assert_eq!(matched, applies(rule, question), "{:?}", trace);
                let vague = format!("{:?}", trace.outcome).contains("do not hold");
                prop_assert!(!vague, "every TOML rule says which key did not match");
            }
        }
    }

    /// A star means to Cedar what it means to the matcher, whatever stands beside it.
    #[test]
    fn patterns_match_as_cedar_matches_them(pattern in "[ab*é\u{0}\n\\\\\"?.\u{1f600}]{1,6}", name in "[abé\u{0}\n\\\\\"?.\u{1f600}*]{0,8}") {
        let mut rules = vec![RuleSpec::new("star", RuleEffect::Deny), RuleSpec::new("all", RuleEffect::Allow)];
        rules[0].models = Some(vec![format!("x{pattern}x")]);
        rules[0].routes = Some(vec![format!("/{pattern}")]);
        rules[1].groups = Some(vec!["*".to_owned()]);
        let policy = compile(rules);
        for name in [name.clone(), pattern.clone(), pattern.replace('*', "")] {
            let mut question = Question::new(&[], Action::Infer, Some(&format!("x{name}x")));
            question.operation.route = format!("/{name}").into();
            let effect = if glob(&pattern, &name) { Effect::Deny } else { Effect::Allow };
            prop_assert_eq!(question.put(&policy).effect, effect);
            let explained = policy.explain(
                &question.identity, &question.operation, &question.upstream, question.source, question.now,
            );
            let found = explained.rules[0].outcome == gatewayd_policy::RuleOutcome::Matched;
            prop_assert_eq!(found, effect == Effect::Deny, "Cedar alone: {:?}", explained.rules[0]);
        }
    }

    #[test]
    fn the_order_of_rules_changes_no_effect(rules in rules(), question in question(), seed in any::<usize>()) {
        let mut shuffled = rules.clone();
        for index in (1..shuffled.len()).rev() {
            let other = (seed >> (index * 7)) % (index + 1);
            shuffled.swap(index, other);
        }
        let effect = question.put(&compile(rules.clone())).effect;
        prop_assert_eq!(question.put(&compile(shuffled)).effect, effect);
        // One more deny never opens, whatever it says.
        let mut stricter = rules;
        stricter.push(RuleSpec::new("last", RuleEffect::Deny));
        prop_assert_eq!(question.put(&compile(stricter)).effect, Effect::Deny);
    }

    #[test]
    fn any_text_anywhere_is_decided_without_panic(
        texts in prop::collection::vec(any::<String>(), 10),
        action in select(Action::ALL.to_vec()),
        now in any::<i64>(),
    ) {
        let mut rule = RuleSpec::new("r", RuleEffect::Allow);
        rule.groups = Some(vec![texts[0].clone()]);
        rule.subjects = Some(vec![texts[1].clone()]);
        rule.models = Some(vec![texts[2].clone()]);
        rule.upstreams = Some(vec![texts[3].clone()]);
        rule.routes = Some(vec![format!("/{}", texts[4])]);
        rule.zone = Some(texts[5].clone()).filter(|zone| zone.len() % 2 == 0);
        let _may_be_refused = Policy::new(&Config { rules: vec![rule], ..Config::default() });
        let policy = compile(vec![]);
        let mut question = Question::new(&[&texts[6]], action, Some(&texts[7]));
        question.upstream = UpstreamName(texts[8].as_str().into());
        question.identity.subject = texts[9].as_str().into();
        question.now = Timestamp(now);
        prop_assert_eq!(question.put(&policy).effect, Effect::Deny);
    }
}

proptest! {
    // Each case reads the schema anew.
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A Cedar file is always asked about whole. The same rules in TOML, of which most are passed over before
    /// Cedar is asked, decide the same.
    #[test]
    fn no_rule_is_passed_over_that_cedar_would_find(
        mut rules in rules(),
        questions in prop::collection::vec(question(), 1..8),
    ) {
        for rule in &mut rules {
            (rule.hours, rule.zone) = (None, None);
            // What cannot be seen is refused in a Cedar file.
            rule.groups.iter_mut().flatten().for_each(|group| group.retain(|c| c != '\n'));
        }
        let passing_over = compile(rules);
        let approvals = vec!["two-people".to_owned()];
        let text = passing_over.to_cedar();
        let cedar = vec![CedarFile { name: "same.cedar".to_owned(), text }];
        let whole = Policy::new(&Config { cedar, approvals, ..Config::default() }).unwrap();
        for question in &questions {
            let (ours, theirs) = (question.put(&passing_over), question.put(&whole));
            prop_assert_eq!((ours.effect, ours.rule, ours.approval), (theirs.effect, theirs.rule, theirs.approval));
        }
    }
}
