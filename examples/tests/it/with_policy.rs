#[path = "../../src/bin/policy.rs"]
#[expect(dead_code, reason = "`main` is for the program")]
mod program;

use gatewayd_examples::{Logins, person};
use gatewayd_policy::PolicyHandle;
use http::{Method, StatusCode};

use crate::ask;

fn logins() -> Logins {
    Logins::new([("alice", person("alice", &["ml-eng"])), ("olga", person("olga", &["owners"]))])
}

fn handle() -> PolicyHandle {
    PolicyHandle::new(program::policy(program::RULES).expect("the rules hold"))
}

#[tokio::test]
async fn rules_decide_over_routes() {
    let app = program::app(handle(), logins());
    let ok = [
        (Method::GET, "/models/llama-3", "alice"),
        (Method::HEAD, "/models/llama-3", "alice"),
        (Method::POST, "/models/llama-3/train", "alice"),
        (Method::DELETE, "/models/llama-3", "olga"),
    ];
    for (method, path, who) in ok {
        assert_eq!(ask(&app, method, path, who).await.0, StatusCode::OK, "{who} {path}");
    }
    let no = [
        (Method::DELETE, "/models/llama-3", "alice", "default-deny"),
        (Method::DELETE, "/models/prod-llama", "olga", "nobody-deletes-what-is-in-production"),
        // neither by another spelling,
        (Method::DELETE, "/models/PROD-llama", "olga", "nobody-deletes-what-is-in-production"),
        // nor by a route that `describe` does not know.
        (Method::POST, "/models/llama-3/rename", "olga", "default-deny"),
    ];
    for (method, path, who, rule) in no {
        let (status, body) = ask(&app, method, path, who).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{who} {path}: {body}");
        assert!(body.contains(rule), "{body}");
    }
    assert_eq!(ask(&app, Method::GET, "/models/llama-3", "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&app, Method::GET, "/nowhere", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn other_rules_come_into_force_while_it_runs() {
    let policy = handle();
    let app = program::app(policy.clone(), logins());
    assert_eq!(ask(&app, Method::GET, "/models/llama-3", "alice").await.0, StatusCode::OK);
    let closed = "rule = [{ name = \"closed\", effect = \"deny\" }]";
    policy.replace(program::policy(closed).expect("it holds"));
    assert_eq!(ask(&app, Method::GET, "/models/llama-3", "alice").await.0, StatusCode::FORBIDDEN);
}

#[test]
fn a_rule_that_nothing_here_could_carry_out_is_refused() {
    let rules = r#"rule = [{ name = "ask", effect = "approve", groups = ["x"], approval = "two-people" }]"#;
    let error = program::policy(rules).expect_err("there are no approvals").to_string();
    assert!(error.contains("two-people"), "{error}");
}
