//! A request that names several models: each must be allowed by itself.

use gatewayd_core::Action;

use crate::asking::{Question, policy};

const RULES: &str = "
    [[rule]]
    name = 'curators'
    effect = 'allow'
    groups = ['curators']
    actions = ['manage-model']
    models = ['mine-*', 'base']

    [[rule]]
    name = 'shared'
    effect = 'approve'
    approval = 'two-people'
    groups = ['curators']
    actions = ['manage-model']
    models = ['shared-*']

    [[rule]]
    name = 'shared-too'
    effect = 'approve'
    approval = 'two-people'
    groups = ['curators']
    actions = ['manage-model']
    models = ['team-*']

    [[rule]]
    name = 'precious'
    effect = 'approve'
    approval = 'one-lead'
    groups = ['curators']
    actions = ['manage-model']
    models = ['precious']

    [[rule]]
    name = 'no-payroll'
    effect = 'deny'
    models = ['*payroll*']
";

fn ask(models: &[&str]) -> String {
    let (model, others) = models.split_first().expect("one at least");
    let mut question = Question::new(&["curators"], Action::ManageModel, Some(model));
    question.operation.other_models = others.iter().map(|name| (*name).into()).collect();
    question.ask(&policy(RULES))
}

#[test]
fn each_must_be_allowed_and_a_deny_of_any_wins() {
    for (models, wanted) in [
        (&["mine-a"][..], "allow curators"),
        (&["mine-a", "base"], "allow curators"),
        (&["mine-a", "payroll"], "deny no-payroll"),
        (&["payroll", "mine-a"], "deny no-payroll"),
        (&["mine-a", "base", "Library/Payroll:latest"], "deny no-payroll"),
        (&["mine-a", "shared-b", "payroll"], "deny no-payroll"),
        (&["mine-a", "elsewhere"], "deny default-deny"),
        (&["elsewhere", "mine-a"], "deny default-deny"),
        (&["mine-a", "shared-b"], "approve shared"),
        (&["shared-b", "mine-a"], "approve shared"),
        (&["team-a", "shared-b"], "approve shared-too"),
    ] {
        assert_eq!(ask(models), wanted, "{models:?}");
    }
}

#[test]
fn no_approval_stands_for_another() {
    assert_eq!(ask(&["shared-a", "precious"]), "deny precious");
    assert_eq!(ask(&["precious", "shared-a"]), "deny shared");
}

#[test]
fn the_cache_tells_them_apart() {
    let policy = policy(RULES);
    let mut question = Question::new(&["curators"], Action::ManageModel, Some("mine-a"));
    assert_eq!(question.ask(&policy), "allow curators");
    question.operation.other_models = ["payroll".into()].into();
    assert_eq!(question.ask(&policy), "deny no-payroll");
    question.operation.other_models = ["base".into()].into();
    assert_eq!(question.ask(&policy), "allow curators");
}
