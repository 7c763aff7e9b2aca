//! Tables of expectations.

use gatewayd_core::{Action, Timestamp, UpstreamName};
use gatewayd_policy::{Case, TestTable};

use crate::asking::{operation, policy};

const RULES: &str = "
    [[rule]]
    name = 'office'
    effect = 'allow'
    groups = ['ml-eng']
    sources = ['10.0.0.0/8']
    hours = ['08:00-18:00']
    zone = 'Europe/Berlin'
";

fn understand(case: &Case) -> Result<(gatewayd_core::Operation, UpstreamName), String> {
    if case.path != "/v1/chat/completions" {
        return Err(format!("no such route: {}", case.path));
    }
    Ok((operation(Action::Infer, case.model.as_deref()), UpstreamName("llama".into())))
}

#[test]
fn a_table_says_what_passed_and_what_did_not() {
    let table = TestTable::parse(
        r#"
        [[case]]
        name = "in the office"
        groups = ["ml-eng"]
        path = "/v1/chat/completions"
        time = "2026-01-05T09:00:00+01:00"
        address = "10.1.2.3"
        expect = "allow"
        rule = "office"

        [[case]]
        groups = ["ml-eng"]
        path = "/v1/chat/completions"
        time = "2026-01-05T07:00:00+01:00"
        address = "10.1.2.3"
        expect = "allow"

        [[case]]
        path = "/v1/chat/completions"
        expect = "deny"
        rule = "office"

        [[case]]
        path = "/nowhere"
        expect = "deny"

        [[case]]
        path = "/v1/chat/completions"
        time = "yesterday"
        expect = "deny"
    "#,
    )
    .unwrap();
    let results = table.run(&policy(RULES), Timestamp(0), understand);
    let failures: Vec<_> = results.iter().map(|result| result.failure.as_deref()).collect();
    assert_eq!(failures[0], None);
    assert_eq!(failures[1], Some("got deny by `default-deny`"));
    assert_eq!(failures[2], Some("got deny by `default-deny`"));
    assert_eq!(failures[3], Some("no such route: /nowhere"));
    assert!(failures[4].unwrap().contains("RFC 3339"));
    assert_eq!(results[0].case, "in the office");
    assert_eq!(results[2].case, "#3 POST /v1/chat/completions");
    assert_eq!(results[2].expected, "deny by `office`");
}

#[test]
fn a_table_that_cannot_be_read_is_an_error() {
    assert!(TestTable::parse("").unwrap_err().to_string().contains("[[case]]"));
    assert!(TestTable::parse("[[case]]\npath = '/'\nexpect = 'permit'").is_err());
    assert!(TestTable::parse("[[case]]\npath = '/'\nexpect = 'deny'\ngroup = 'x'").is_err());
    assert!(TestTable::parse("[[case]]\nexpect = 'deny'").is_err());
}
