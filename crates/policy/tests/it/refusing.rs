//! Mistakes are named: rule, key, and what to write instead.

use gatewayd_core::Action;
use gatewayd_policy::{Config, Error, Policy, RuleEffect, RuleSpec};

use crate::asking::{ask, config, error, policy};

#[test]
fn each_mistake_names_the_rule_the_key_and_the_remedy() {
    let allow = "name = 'r'\neffect = 'allow'\ngroups = ['g']\n";
    for (body, key, remedy) in [
        ("name = 'r'\neffect = 'allow'", "groups", "groups = [\"*\"]"),
        ("name = 'r'\neffect = 'approve'\ngroups = ['g']", "approval", "two-people"),
        (
            "name = 'r'\neffect = 'approve'\ngroups = ['g']\napproval = 'three'",
            "approval",
            "two-people, one-lead",
        ),
        (&format!("{allow}approval = 'two-people'"), "approval", "approve"),
        (&format!("{allow}actions = []"), "actions", "leave the key out"),
        (&format!("{allow}actions = ['infr']"), "actions", "infer, embed"),
        (&format!("{allow}actions = ['*']"), "actions", "leave `actions` out"),
        (&format!("{allow}models = ['']"), "models", "remove it"),
        (&format!("{allow}models = ['library/*']"), "models", "write `*`"),
        (&format!("{allow}models = ['llama3:latest']"), "models", "write `llama3`"),
        (&format!("{allow}dialects = ['OpenAI']"), "dialects", "openai"),
        (&format!("{allow}routes = ['v1/chat']"), "routes", "/v1/files"),
        (&format!("{allow}sources = ['10.0.0.0/33']"), "sources", "10.0.0.0/8"),
        (&format!("{allow}sources = ['localhost']"), "sources", "10.0.0.0/8"),
        (&format!("{allow}days = ['mon']"), "days", "zone"),
        (&format!("{allow}hours = ['8-9']\nzone = 'UTC'"), "hours", "08:00-18:00"),
        (&format!("{allow}zone = 'UTC'"), "zone", "days"),
        ("name = 'r'\neffect = 'allow'\ngroups = ['*', 'g']", "groups", "alone"),
    ] {
        let text = error(&format!("[[rule]]\n{body}")).to_string();
        assert!(text.contains("rule `r`"), "{text}");
        assert!(text.contains(&format!("key `{key}`")), "{key}: {text}");
        assert!(text.contains(remedy), "{remedy}: {text}");
    }
}

#[test]
fn names_are_unique_plain_and_not_taken() {
    for name in
        ["", "Rule", "a_b", "a--b", "-a", "a-", "a b", "ä", "a\nb", "default-deny", "none", &"x".repeat(65)]
    {
        let spec = RuleSpec::new(name, RuleEffect::Deny);
        let found = Policy::new(&Config { rules: vec![spec], ..Config::default() }).unwrap_err();
        let text = found.to_string();
        assert!(matches!(found, Error::Rule { key: "name", .. }) && text.contains("`#1`"), "{text}");
        assert!(!text.contains('\n'), "{text:?}");
    }
    let twice = "[[rule]]\nname = 'r'\neffect = 'deny'\n[[rule]]\nname = 'r'\neffect = 'deny'";
    assert!(error(twice).to_string().contains("same name"));
}

#[test]
fn an_upstream_that_does_not_exist_is_a_mistake_where_they_are_known() {
    let mut config = config("[[rule]]\nname = 'r'\neffect = 'deny'\nupstreams = ['lama']");
    assert!(Policy::new(&config).is_ok());
    config.upstreams = Some(vec!["llama".into()]);
    let text = Policy::new(&config).unwrap_err().to_string();
    assert!(text.contains("`upstreams`") && text.contains("llama"), "{text}");
}

#[test]
fn unknown_keys_are_refused_while_reading() {
    let read = |text: &str| toml::from_str::<RuleSpec>(text).map(|_| ()).map_err(|error| error.to_string());
    assert!(read("name = 'r'\neffect = 'deny'\ngroup = ['g']").unwrap_err().contains("group"));
    assert!(read("name = 'r'\neffect = 'permit'").is_err());
    assert!(read("name = 'r'\neffect = 'deny'").is_ok());
}

#[test]
fn what_looks_like_cedar_stays_a_value() {
    let hostile = [
        r#""]) || true; //"#,
        "\"); permit(principal, action, resource); //",
        "a\\\" ; permit (principal, action, resource);\n",
        "line\nbreak\r\n\u{0}\u{1b}[31m",
        "Gatewayd::Group::\"admins\"",
        "\u{202e}gnirts\u{200b}",
        "*\\*",
        "${jndi}",
        "@id(\"x\")",
    ];
    for text in hostile {
        let mut rule = RuleSpec::new("r", RuleEffect::Allow);
        rule.groups = Some(vec![text.to_owned()]);
        let groups_only = Policy::new(&Config { rules: vec![rule.clone()], ..Config::default() }).unwrap();
        assert_eq!(ask(&groups_only, &["other"], Action::Infer, None), "deny default-deny", "{text:?}");
        assert_eq!(ask(&groups_only, &[text], Action::Infer, None), "allow r", "{text:?}");
        rule.groups = Some(vec!["*".to_owned()]);
        rule.models = Some(vec![text.to_owned()]);
        rule.subjects = Some(vec![text.to_owned(), "alice".to_owned()]);
        rule.upstreams = Some(vec![text.to_owned(), "llama".to_owned()]);
        rule.issuers = Some(vec![text.to_owned(), "https://id.example".to_owned()]);
        rule.routes = Some(vec![format!("/{text}"), "/v1/*".to_owned()]);
        let all = Policy::new(&Config { rules: vec![rule], ..Config::default() }).unwrap();
        assert_eq!(ask(&all, &[], Action::Infer, Some("other")), "deny default-deny", "{text:?}");
        if !text.contains(['*', '\u{0}']) {
            assert_eq!(ask(&all, &[], Action::Infer, Some(text)), "allow r", "{text:?}");
        }
        // Written out and read again, it is still one policy.
        let written: cedar_policy::PolicySet = all.to_cedar().parse().unwrap();
        assert_eq!(written.policies().count(), 1, "{text:?}");
    }
    // The caller's side.
    let policy = policy("[[rule]]\nname = 'r'\neffect = 'allow'\ngroups = ['admins']");
    for text in hostile {
        assert_eq!(
            ask(&policy, &[text, "admins\"", " admins", "admins\u{0}"], Action::Infer, Some(text)),
            "deny default-deny"
        );
    }
}
