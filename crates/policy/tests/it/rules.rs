//! What rules mean.

use std::net::IpAddr;

use gatewayd_core::{Action, Dialect, IdentityKind, Timestamp};
use gatewayd_policy::{RuleOutcome, normalise_model};

use crate::asking::{Question, ask, policy};

const RULES: &str = r#"
    [[rule]]
    name = "ml-eng-may-infer"
    effect = "allow"
    groups = ["ml-eng"]
    actions = ["infer", "list-models"]

    [[rule]]
    name = "training-needs-approval"
    effect = "approve"
    approval = "two-people"
    groups = ["ml-eng"]
    actions = ["train"]

    [[rule]]
    name = "leads-may-train"
    effect = "allow"
    groups = ["ml-leads"]
    actions = ["train"]

    [[rule]]
    name = "nobody-touches-secret-models"
    effect = "deny"
    models = ["secret-*"]
"#;

#[test]
fn rules_for_a_subject_of_any_issuer_are_told() {
    let policy = policy(
        "
        [[rule]]
        name = 'any-alice'
        effect = 'allow'
        subjects = ['alice']
        [[rule]]
        name = 'this-alice'
        effect = 'allow'
        subjects = ['alice']
        issuers = ['https://id.example']
        [[rule]]
        name = 'no-alice'
        effect = 'deny'
        subjects = ['alice']
        [[rule]]
        name = 'group'
        effect = 'allow'
        groups = ['ml-eng']
        ",
    );
    assert_eq!(policy.subjects_of_any_issuer().collect::<Vec<_>>(), ["any-alice"]);
}

#[test]
fn deny_by_default_deny_wins_and_approve_beats_allow() {
    let policy = policy(RULES);
    for (groups, action, model, expected) in [
        (&["ml-eng"][..], Action::Infer, Some("llama"), "allow ml-eng-may-infer"),
        (&["ml-eng"], Action::Infer, Some("secret-1"), "deny nobody-touches-secret-models"),
        (&["ml-eng"], Action::Embed, Some("llama"), "deny default-deny"),
        (&["ML-ENG"], Action::Infer, Some("llama"), "deny default-deny"),
        (&[], Action::Infer, Some("llama"), "deny default-deny"),
        (&["ml-eng"], Action::Train, Some("llama"), "approve training-needs-approval"),
        (&["ml-leads"], Action::Train, Some("llama"), "allow leads-may-train"),
        (&["ml-eng", "ml-leads"], Action::Train, Some("llama"), "approve training-needs-approval"),
        (&["ml-eng", "ml-leads"], Action::Train, Some("secret-1"), "deny nobody-touches-secret-models"),
    ] {
        assert_eq!(ask(&policy, groups, action, model), expected, "{groups:?} {action:?} {model:?}");
    }
    let approval = Question::new(&["ml-eng"], Action::Train, Some("llama")).put(&policy).approval;
    assert_eq!(approval.as_deref(), Some("two-people"));
}

#[test]
fn no_spelling_gets_around_a_rule() {
    let policy = policy(RULES);
    let spellings = [
        "secret-1",
        "SECRET-1",
        "Secret-1",
        " secret-1",
        "secret-1\t",
        "library/secret-1",
        "registry.ollama.ai/library/secret-1:latest",
        "https://registry.ollama.ai/library/secret-1",
        "secret-",
        "secret-a/b\nc",
        "\u{a0}secret-1",
    ];
    for spelling in spellings {
        let answer = ask(&policy, &["ml-eng"], Action::Infer, Some(spelling));
        assert_eq!(answer, "deny nobody-touches-secret-models", "{spelling:?}");
    }
    assert_eq!(ask(&policy, &["ml-eng"], Action::Infer, Some("not-secret-1")), "allow ml-eng-may-infer");
    assert_eq!(normalise_model("a/library/b:latest:x"), "a/library/b:latest:x");
}

#[test]
fn leaving_the_model_out_does_not_get_around_a_rule() {
    let policy = policy(RULES);
    for model in [None, Some(""), Some("  ")] {
        // The server would pick one, and it could be a secret one.
        assert_eq!(ask(&policy, &["ml-eng"], Action::Infer, model), "deny nobody-touches-secret-models");
    }
    assert_eq!(ask(&policy, &["ml-eng"], Action::ListModels, None), "allow ml-eng-may-infer");
    let narrow = crate::asking::policy(
        "[[rule]]\nname = 'only-llama'\neffect = 'allow'\ngroups = ['*']\nmodels = ['llama*']",
    );
    assert_eq!(ask(&narrow, &[], Action::Infer, None), "deny default-deny");
    assert_eq!(ask(&narrow, &[], Action::Infer, Some("llama-3")), "allow only-llama");
}

#[test]
fn an_unknown_route_must_be_named() {
    let everything = policy("[[rule]]\nname = 'everything'\neffect = 'allow'\ngroups = ['*']");
    assert_eq!(ask(&everything, &[], Action::Infer, None), "allow everything");
    assert_eq!(ask(&everything, &[], Action::Unknown, None), "deny default-deny");
    let approve = policy("[[rule]]\nname = 'ask'\neffect = 'approve'\napproval = 'one-lead'\ngroups = ['*']");
    assert_eq!(ask(&approve, &[], Action::Unknown, None), "deny default-deny");
    let named = policy("[[rule]]\nname = 'odd'\neffect = 'allow'\ngroups = ['*']\nactions = ['unknown']");
    assert_eq!(ask(&named, &[], Action::Unknown, None), "allow odd");
    assert_eq!(ask(&named, &[], Action::Infer, None), "deny default-deny");
    let both = policy(
        "[[rule]]\nname = 'odd'\neffect = 'allow'\ngroups = ['*']\nactions = ['unknown']\n
         [[rule]]\nname = 'nothing'\neffect = 'deny'",
    );
    assert_eq!(ask(&both, &[], Action::Unknown, None), "deny nothing", "a deny needs no naming");
}

#[test]
fn every_key_narrows() {
    let narrow = |key: &str| {
        policy(&format!("[[rule]]\nname = 'r'\neffect = 'allow'\ngroups = ['*']\nactions = ['infer']\n{key}"))
    };
    let mut question = Question::new(&["g"], Action::Infer, Some("m"));
    for (key, matches) in [
        ("", true),
        ("subjects = ['bob', 'alice']", true),
        ("subjects = ['bob', 'Alice']", false),
        ("issuers = ['https://id.example']", true),
        ("issuers = ['https://id.example/']", false),
        ("upstreams = ['other', 'llama']", true),
        ("upstreams = ['other']", false),
        ("dialects = ['openai']", true),
        ("dialects = ['ollama', 'anthropic']", false),
        ("routes = ['/v1/chat/*']", true),
        ("routes = ['/v1/chat']", false),
        ("models = ['n', 'm']", true),
        ("models = ['mm', 'm?']", false),
        ("sources = ['10.0.0.0/24']", true),
        ("sources = ['10.0.0.7']", true),
        ("sources = ['::ffff:10.0.0.0/120']", true),
        ("sources = ['10.0.1.0/24', '2001:db8::/32']", false),
        // 1767600000 is Monday, 2026-01-05 08:00 UTC.
        ("days = ['mon']\nzone = 'UTC'", true),
        ("days = ['tue']\nzone = 'UTC'", false),
        ("hours = ['08:00-09:00']\nzone = 'UTC'", true),
        ("hours = ['08:00-09:00']\nzone = 'Europe/Berlin'", false),
        ("hours = ['09:00-10:00']\nzone = 'Europe/Berlin'", true),
        ("subjects = ['alice']\nmodels = ['x']", false),
    ] {
        let expected = if matches { "allow r" } else { "deny default-deny" };
        assert_eq!(question.ask(&narrow(key)), expected, "{key}");
    }
    question.source = Some("::ffff:10.0.0.7".parse::<IpAddr>().unwrap());
    assert_eq!(
        question.ask(&narrow("sources = ['10.0.0.0/8']")),
        "allow r",
        "a mapped address is its IPv4 one"
    );
    question.source = None;
    assert_eq!(question.ask(&narrow("sources = ['0.0.0.0/0', '::/0']")), "deny default-deny");
    question.operation.dialect = Dialect::Ollama;
    assert_eq!(question.ask(&narrow("dialects = ['openai']")), "deny default-deny");
}

#[test]
fn a_deny_by_address_holds_where_the_address_is_not_known() {
    let policy = policy(
        "[[rule]]\nname = 'all'\neffect = 'allow'\ngroups = ['*']\n
         [[rule]]\nname = 'not-from-guests'\neffect = 'deny'\nsources = ['192.168.0.0/16']",
    );
    let mut question = Question::new(&[], Action::Infer, None);
    assert_eq!(question.ask(&policy), "allow all");
    question.source = Some(IpAddr::from([192, 168, 3, 4]));
    assert_eq!(question.ask(&policy), "deny not-from-guests");
    question.source = None;
    assert_eq!(question.ask(&policy), "deny not-from-guests");
}

#[test]
fn the_cache_follows_the_clock() {
    let policy = policy(
        "[[rule]]\nname = 'office-hours'\neffect = 'allow'\ngroups = ['*']\nhours = ['08:00-18:00']\nzone = 'UTC'",
    );
    let mut question = Question::new(&[], Action::Infer, None);
    assert_eq!(question.ask(&policy), "allow office-hours");
    question.now = Timestamp(question.now.0 + 10 * 3_600_000_000 - 1);
    assert_eq!(question.ask(&policy), "allow office-hours", "a microsecond before it closes");
    question.now = Timestamp(question.now.0 + 1);
    assert_eq!(question.ask(&policy), "deny default-deny");
    question.now = Timestamp(i64::MAX);
    assert_eq!(question.ask(&policy), "deny default-deny", "no time of this calendar");
    let closed = crate::asking::policy(
        "[[rule]]\nname = 'all'\neffect = 'allow'\ngroups = ['*']\n
         [[rule]]\nname = 'not-at-night'\neffect = 'deny'\nhours = ['22:00-06:00']\nzone = 'UTC'",
    );
    assert_eq!(question.ask(&closed), "deny default-deny", "whether it is night cannot be told");
}

#[test]
fn the_cache_keeps_apart_what_rules_keep_apart() {
    let policy = policy(
        r"
        [[rule]]
        name = 'alice'
        effect = 'allow'
        subjects = ['alice']
        sources = ['10.0.0.0/8']
        issuers = ['https://id.example']
    ",
    );
    let question = || Question::new(&["g"], Action::Infer, Some("m"));
    assert_eq!(question().ask(&policy), "allow alice");
    let changes: [fn(&mut Question); 3] = [
        |q| q.identity.subject = "bob".into(),
        |q| q.identity.issuer = "https://evil.example".into(),
        |q| q.source = Some(IpAddr::from([11, 0, 0, 7])),
    ];
    for change in changes {
        let mut changed = question();
        change(&mut changed);
        assert_eq!(changed.ask(&policy), "deny default-deny");
    }
    let mut same = question();
    same.identity.kind = IdentityKind::GatewayToken;
    assert_eq!(same.ask(&policy), "allow alice");
}

#[test]
fn an_explanation_says_what_each_rule_had_to_say() {
    let policy = policy(RULES);
    let question = Question::new(&["ml-eng"], Action::Train, Some("Secret-1"));
    let explained = policy.explain(
        &question.identity,
        &question.operation,
        &question.upstream,
        question.source,
        question.now,
    );
    assert_eq!(explained.model.as_deref(), Some("secret-1"));
    let outcomes: Vec<_> =
        explained.rules.iter().map(|trace| (trace.rule.as_str(), &trace.outcome)).collect();
    let not = |reason: &str| RuleOutcome::NotMatched(reason.to_owned());
    assert_eq!(
        outcomes,
        [
            ("ml-eng-may-infer", &not("`actions`: does not name `train`")),
            ("training-needs-approval", &RuleOutcome::Matched),
            ("leads-may-train", &not("`groups`: the caller is in none of `ml-leads`")),
            ("nobody-touches-secret-models", &RuleOutcome::Matched),
        ]
    );
    assert!(serde_json::to_string(&explained).unwrap().contains("training-needs-approval"));
}

#[test]
fn the_version_is_of_what_decides() {
    let version = |rules: &str| policy(rules).version().to_string();
    assert_eq!(version(RULES), version(RULES));
    assert_eq!(version(RULES).len(), 16);
    let office =
        |hours: &str| format!("[[rule]]\nname = 'r'\neffect = 'deny'\nhours = ['{hours}']\nzone = 'UTC'");
    assert_ne!(version(&office("08:00-09:00")), version(&office("08:00-10:00")));
    assert_ne!(version(RULES), version(&RULES.replace("secret-*", "secret*")));
    assert_ne!(version(RULES), version(&RULES.replace("two-people", "one-lead")));
}

#[test]
fn very_long_names_are_decided_like_others() {
    let policy = policy(RULES);
    let long = format!("secret-{}", "x".repeat(100_000));
    assert_eq!(ask(&policy, &["ml-eng"], Action::Infer, Some(&long)), "deny nobody-touches-secret-models");
    let groups: Vec<String> = (0..2000).map(|n| format!("group-{n}")).collect();
    let mut groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    groups.push("ml-eng");
    assert_eq!(ask(&policy, &groups, Action::Infer, Some("llama")), "allow ml-eng-may-infer");
}
