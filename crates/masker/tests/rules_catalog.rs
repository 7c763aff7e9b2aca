//! The rules that come with the crate, as data: they pass the checks that a user's rules must pass.

use std::collections::{BTreeMap, BTreeSet};

use gatewayd_masker::{Masker, rule};

#[test]
fn every_rule_passes_the_checks() {
    let problems: Vec<String> =
        rule::builtin().iter().filter_map(|rule| rule::check(rule).err()).map(|e| e.to_string()).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn names_are_unique_and_families_covered() {
    let rules = rule::builtin();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(names.len(), rules.len(), "each name once");
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for rule in &rules {
        *families.entry(rule.family.as_str()).or_default() += 1;
    }
    let promised = [
        ("cloud", 40),
        ("code", 35),
        ("ai", 30),
        ("saas", 75),
        ("stores", 20),
        ("structures", 15),
        ("assignments", 10),
    ];
    for (family, least) in promised {
        let count = families.get(family).copied().unwrap_or_default();
        assert!(count >= least, "{family}: {count} rules, {least} promised");
    }
}

/// Issuers whose secrets the default tier must know.
const ISSUERS: &[&str] = &[
    "aws",
    "bedrock",
    "gcp",
    "google",
    "azure",
    "alibaba",
    "digitalocean",
    "heroku",
    "fly",
    "cloudflare",
    "vercel",
    "tailscale",
    "github",
    "gitlab",
    "npm",
    "pypi",
    "rubygems",
    "crates-io",
    "nuget",
    "docker",
    "circleci",
    "atlassian",
    "postman",
    "openai",
    "anthropic",
    "hugging-face",
    "groq",
    "openrouter",
    "xai",
    "perplexity",
    "nvidia",
    "replicate",
    "together",
    "langsmith",
    "pinecone",
    "wandb",
    "stripe",
    "square",
    "shopify",
    "twilio",
    "sendgrid",
    "brevo",
    "mailchimp",
    "slack",
    "discord",
    "telegram",
    "teams",
    "new-relic",
    "grafana",
    "sentry",
    "databricks",
    "linear",
    "notion",
    "figma",
    "airtable",
    "dynatrace",
    "easypost",
    "vault",
    "terraform",
    "pulumi",
    "doppler",
    "1password",
    "age-secret-key",
    "planetscale",
    "supabase",
    "neon",
    "openshift",
    "private-key",
    "putty",
    "jwt",
    "url-password",
    "postgres",
    "mysql",
    "mongodb",
    "redis",
    "amqp",
    "jdbc",
    "basic-header",
    "bearer-header",
    "session-cookie",
];

#[test]
fn every_issuer_on_the_list_has_a_rule_in_the_default_tier() {
    let mut words = String::new();
    for rule in rule::builtin().iter().filter(|rule| rule.tier == rule::Tier::Default) {
        words.push_str(&format!("{} {}\n", rule.id, rule.description).to_lowercase());
    }
    let missing: Vec<&&str> = ISSUERS.iter().filter(|issuer| !words.contains(**issuer)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn rules_with_a_checksum_name_it() {
    let rules = rule::builtin();
    for (id, check) in [
        ("github-pat", "github-crc32"),
        ("npm-access-token", "npm-crc32"),
        ("pypi-token", "pypi-macaroon"),
        ("jwt", "jwt-header"),
        ("basic-header", "basic-credentials"),
    ] {
        let rule = rules.iter().find(|rule| rule.id == id).expect("a built-in rule");
        assert!(rule.validators.iter().any(|name| name == check), "{id}: {check}");
    }
}

#[test]
fn the_last_letter_of_a_word_does_not_wait() {
    let masker = Masker::builder().build().expect("the built-in rules compile");
    let mut waiting = String::new();
    for letter in ('a'..='z').chain('A'..='Z').chain('0'..='9') {
        let mut stream = masker.stream();
        stream.push(format!("the word{letter}").as_bytes());
        if stream.held() > 0 {
            waiting.push(letter);
        }
    }
    // A key in base64 begins with `L` wherever it stands, PuTTY's with a word, and Entra's mark is a digit in the middle.
    assert_eq!(waiting, "LP0123456789", "anchors without a left boundary begin with these");
}
