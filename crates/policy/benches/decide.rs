//! What a decision costs: kept, made anew, and the load of a policy.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gatewayd_core::{Action, Dialect, Identity, IdentityKind, Operation, Timestamp, UpstreamName};
use gatewayd_policy::{Config, Policy, RuleEffect, RuleSpec};

fn rules(count: usize) -> Config {
    let rule = |index: usize| {
        let effect = if index.is_multiple_of(10) { RuleEffect::Deny } else { RuleEffect::Allow };
        let mut rule = RuleSpec::new(format!("rule-{index}"), effect);
        rule.groups = Some(vec![format!("group-{index}")]);
        rule.actions = Some(vec!["infer".to_owned(), "embed".to_owned()]);
        rule.models = Some(vec![format!("model-{index}-*"), "llama-*".to_owned()]);
        rule
    };
    Config { rules: (0..count).map(rule).collect(), ..Config::default() }
}

fn benches(c: &mut Criterion) {
    let identity = Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://id.example".into(),
        subject: "alice".into(),
        name: None,
        groups: (0..20).map(|index| format!("group-{}", index * 3 + 1).into()).collect(),
        expires: None,
    };
    let operation = |model: &str| Operation {
        dialect: Dialect::OpenAi,
        action: Action::Infer,
        model: Some(model.into()),
        other_models: [].into(),
        streaming: true,
        route: "/v1/chat/completions".into(),
    };
    let upstream = UpstreamName("llama".into());
    let llama = operation("llama-3-8b");
    for count in [10, 100] {
        let config = rules(count);
        let policy = Policy::new(&config).expect("the rules above are right");
        c.bench_function(&format!("kept/{count}-rules"), |b| {
            b.iter(|| policy.decide(black_box(&identity), &llama, &upstream, None, Timestamp(0)));
        });
        // Names that nobody asked for before: one that no rule speaks of, and one that rules speak of.
        let mut asked = 0u64;
        for (what, stem) in [("model-", "anew-denied"), ("llama-", "anew-decided")] {
            c.bench_function(&format!("{stem}/{count}-rules"), |b| {
                b.iter(|| {
                    asked += 1;
                    let fresh = operation(&format!("{what}{asked}"));
                    policy.decide(black_box(&identity), &fresh, &upstream, None, Timestamp(0))
                });
            });
        }
        c.bench_function(&format!("load/{count}-rules"), |b| b.iter(|| Policy::new(black_box(&config))));
    }
}

criterion_group!(decide, benches);
criterion_main!(decide);
