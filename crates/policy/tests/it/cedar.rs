//! Cedar files beside the rules.

use gatewayd_core::{Action, Effect};
use gatewayd_policy::{CedarFile, Config, Policy};

use crate::asking::{Question, ask, config};

fn with(rules: &str, cedar: &str) -> Result<Policy, String> {
    let file = CedarFile { name: "extra.cedar".into(), text: cedar.to_owned() };
    Policy::new(&Config { cedar: vec![file], ..config(rules) }).map_err(|error| error.to_string())
}

#[test]
fn the_published_schema_knows_every_action_and_every_generated_policy() {
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(Policy::schema_text()).unwrap();
    let actions: Vec<String> = schema.actions().map(|action| action.id().unescaped().to_owned()).collect();
    assert_eq!(actions.len(), Action::ALL.len());
    assert!(Action::ALL.iter().all(|action| actions.iter().any(|name| name == action.as_str())));

    let everything = r"
        groups = ['g']
        subjects = ['s']
        issuers = ['i']
        actions = ['infer', 'unknown']
        models = ['a*b', 'c']
        upstreams = ['u', 'v']
        dialects = ['ollama']
        routes = ['/api/*']
        sources = ['10.0.0.0/8', '::/0']
        days = ['mon']
        zone = 'UTC'
    ";
    let mut rules = String::new();
    for (name, effect) in [
        ("a", "effect = 'allow'"),
        ("b", "effect = 'deny'"),
        ("c", "effect = 'approve'\napproval = 'one-lead'"),
    ] {
        rules.push_str(&format!("[[rule]]\nname = '{name}'\n{effect}\n{everything}\n"));
    }
    let written = crate::asking::policy(&rules).to_cedar();
    let set: cedar_policy::PolicySet = written.parse().unwrap();
    let result = cedar_policy::Validator::new(schema).validate(&set, cedar_policy::ValidationMode::Strict);
    assert!(result.validation_passed_without_warnings(), "{result}\n{written}");
}

#[test]
fn a_file_can_allow_deny_and_ask_for_approval() {
    let policy = with(
        "[[rule]]\nname = 'all'\neffect = 'allow'\ngroups = ['*']",
        r#"
        @id("streams-from-outside-need-a-lead")
        @approval("one-lead")
        @description("because")
        permit (principal, action == Gatewayd::Action::"infer", resource)
        when { context.streaming && context has source && !context.source.isInRange(ip("10.0.0.0/8")) };

        @id("contractors-see-no-secret-model")
        forbid (principal in Gatewayd::Group::"contractors", action, resource is Gatewayd::Model)
        when { resource.name like "secret-*" };
        "#,
    )
    .unwrap();
    let mut question = Question::new(&["contractors"], Action::Infer, Some("SECRET-1"));
    assert_eq!(question.ask(&policy), "deny contractors-see-no-secret-model");
    question.operation.model = Some("llama".into());
    assert_eq!(question.ask(&policy), "allow all");
    question.operation.streaming = true;
    assert_eq!(question.ask(&policy), "allow all");
    question.source = Some("192.0.2.1".parse().unwrap());
    let decision = question.put(&policy);
    assert_eq!((decision.effect, decision.approval.as_deref()), (Effect::Approve, Some("one-lead")));
}

#[test]
fn rules_and_files_are_one_policy() {
    let cedar = r#"
        @id("file-allow") permit (principal, action, resource);
        @id("file-deny") forbid (principal in Gatewayd::Group::"ban\u{6e}ed\"", action, resource);
        @id("file-asks") @approval("one-lead")
        permit (principal, action, resource)
        when { principal in [Gatewayd::Group::"askers", Gatewayd::Group::"b"] };
    "#;
    let rules = "
        [[rule]]\nname = 'deny'\neffect = 'deny'\ngroups = ['denied']\n
        [[rule]]\nname = 'asks'\neffect = 'approve'\napproval = 'two-people'\ngroups = ['careful']\n
        [[rule]]\nname = 'allow'\neffect = 'allow'\ngroups = ['friends']";
    let policy = with(rules, cedar).unwrap();
    for (groups, expected) in [
        (&[][..], "allow file-allow"),
        (&["friends"], "allow allow"),
        (&["banned\"", "friends"], "deny file-deny"),
        (&["banned\"", "denied"], "deny deny"),
        (&["banned\"", "careful"], "deny file-deny"),
        (&["friends", "b"], "approve file-asks"),
        (&["b", "careful"], "approve asks"),
        (&["nobody-names-it", "askers"], "approve file-asks"),
    ] {
        assert_eq!(ask(&policy, groups, Action::Infer, Some("m")), expected, "{groups:?}");
    }
}

#[test]
fn an_unknown_route_must_be_named_here_too() {
    let wildcard = with("", "@id(\"all\") permit (principal, action, resource);").unwrap();
    assert_eq!(ask(&wildcard, &[], Action::Infer, None), "allow all");
    assert_eq!(ask(&wildcard, &[], Action::Unknown, None), "deny default-deny");
    let by_condition = with(
        "",
        "@id(\"all\") permit (principal, action, resource) when { action == Gatewayd::Action::\"unknown\" };",
    );
    assert_eq!(ask(&by_condition.unwrap(), &[], Action::Unknown, None), "deny default-deny");
    let named = r#"@id("odd") permit (principal, action in [Gatewayd::Action::"infer", Gatewayd::Action::"unknown"], resource);"#;
    assert_eq!(ask(&with("", named).unwrap(), &[], Action::Unknown, None), "allow odd");
    let forbid = format!("{named} @id(\"no\") forbid (principal, action, resource);");
    assert_eq!(ask(&with("", &forbid).unwrap(), &[], Action::Unknown, None), "deny no");
}

#[test]
fn what_reads_the_clock_is_not_kept() {
    let policy = with(
        "",
        r#"@id("until-noon") permit (principal, action, resource)
           when { context["n\u{6f}w"] < datetime("2026-01-05T12:00:00Z") };"#,
    )
    .unwrap();
    let mut question = Question::new(&[], Action::Infer, None);
    assert_eq!(question.ask(&policy), "allow until-noon");
    question.now.0 += 5 * 3_600_000_000;
    assert_eq!(question.ask(&policy), "deny default-deny");
}

#[test]
fn an_error_while_deciding_is_a_deny() {
    // Overflow is found only while deciding.
    let policy = with(
        "[[rule]]\nname = 'all'\neffect = 'allow'\ngroups = ['*']",
        r#"@id("sum") forbid (principal, action, resource)
           when { context.streaming && 9223372036854775807 + (if context.streaming then 1 else 0) > 5 };"#,
    )
    .unwrap();
    let mut question = Question::new(&[], Action::Infer, None);
    assert_eq!(question.ask(&policy), "allow all");
    question.operation.streaming = true;
    assert_eq!(question.ask(&policy), "deny sum", "Cedar alone would skip it and allow");
    // Nor does a permit that fails beside a permit that holds.
    let failing = r#"@id("sum") permit (principal, action, resource)
        when { context.streaming && 9223372036854775807 + (if context.streaming then 1 else 0) > 5 };"#;
    for rules in [
        "[[rule]]\nname = 'all'\neffect = 'allow'\ngroups = ['*']",
        "[[rule]]\nname = 'all'\neffect = 'deny'",
    ] {
        assert_eq!(question.ask(&with(rules, failing).unwrap()), "deny sum");
    }
}

#[test]
fn mistakes_are_named() {
    for (text, place, part) in [
        ("\n\npermit (principal, action resource);", "line 3", "syntax"),
        ("permit (principal, action, resource);", "policy number 1", "@id"),
        ("@id(\"A\") permit (principal, action, resource);", "policy number 1", "kebab-case"),
        ("@id(\"a\") @aproval(\"one-lead\") permit (principal, action, resource);", "`a`", "@aproval"),
        ("@id(\"a\") @approval(\"three\") permit (principal, action, resource);", "`a`", "one-lead"),
        ("@id(\"a\") @approval(\"one-lead\") forbid (principal, action, resource);", "`a`", "permit"),
        ("@id(\"a\") permit (principal == ?principal, action, resource);", "policy0", "templates"),
        ("@id(\"r\") permit (principal, action, resource);", "`r`", "same name"),
        ("@id(\"a\") permit (principal, action, resource) when { context.modl == \"x\" };", "`a`", "modl"),
        ("@id(\"a\") permit (principal, action == Gatewayd::Action::\"chat\", resource);", "`a`", "chat"),
        ("@id(\"a\") permit (principal, action, resource) when { resource.name == \"x\" };", "`a`", "name"),
        (
            "@id(\"a\") permit (principal, action, resource) when { context.source.isLoopback() };",
            "`a`",
            "source",
        ),
        ("@id(\"a\") permit (principal in Gatewayd::Upstream::\"x\", action, resource);", "`a`", "scope"),
        (
            "@id(\"a\") permit (principal, action, resource); @id(\"a\") forbid (principal, action, resource);",
            "`a`",
            "same",
        ),
    ] {
        let error = with("[[rule]]\nname = 'r'\neffect = 'deny'", text).unwrap_err();
        assert!(
            error.contains("`extra.cedar`") && error.contains(place) && error.contains(part),
            "{text}: {error}"
        );
    }
}
