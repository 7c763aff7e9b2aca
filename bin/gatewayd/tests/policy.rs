//! `gatewayd policy explain | test` and `check` as people meet them.
#![allow(clippy::unwrap_used, reason = "in a test, what must not fail may panic")]

use std::path::Path;
use std::process::Command;

const CONFIG: &str = r#"
[listen]
address = "127.0.0.1:8080"
[[issuer]]
url = "https://a.example"
audiences = ["https://gw"]
[[issuer]]
url = "https://b.example"
audiences = ["https://gw"]
group_prefix = "b:"
[[credential]]
name = "key"
env = "PATH"
[[upstream]]
name = "llama"
url = "http://127.0.0.1:8000"
credential = "key"
[[policy.rule]]
name = "engineers"
groups = ["ml-eng"]
actions = ["infer"]
effect = "allow"
[[policy.rule]]
name = "engineers-of-b"
groups = ["b:ml-eng"]
actions = ["train"]
effect = "allow"
[[policy.rule]]
name = "alice-may-embed"
subjects = ["alice"]
actions = ["embed"]
effect = "allow"
"#;

/// Exit status, standard output, standard error.
fn gatewayd(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let config = folder.join("gatewayd.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayd"));
    let done = command.args(arguments).arg("--config").arg(&config).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn groups_are_explained_as_the_issuers_own() {
    let folder = tempfile::tempdir().unwrap();
    let explain = |issuer: &str, groups: &str, path: &str| {
        let words = ["policy", "explain", "--issuer", issuer, "--groups", groups, "POST", path];
        gatewayd(folder.path(), &words)
    };
    const CHAT: &str = "/v1/chat/completions";
    assert!(explain("https://a.example", "ml-eng", CHAT).1.starts_with("ALLOW by rule `engineers`"));
    let (_, out, note) = explain("https://b.example", "ml-eng", CHAT);
    assert!(out.starts_with("DENY"), "{out}");
    assert!(note.contains("b:ml-eng"), "{note}");
    for groups in ["ml-eng", "b:ml-eng"] {
        let (_, out, _) = explain("https://b.example", groups, "/v1/fine_tuning/jobs");
        assert!(out.starts_with("ALLOW by rule `engineers-of-b`"), "{out}");
    }
}

#[test]
fn a_table_of_expectations_means_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("cases.toml");
    let case = |effect: &str| {
        format!(
            "[[case]]\ngroups = [\"ml-eng\"]\nissuer = \"https://b.example\"\n\
             path = \"/v1/chat/completions\"\nmodel = \"m\"\nexpect = \"{effect}\"\n"
        )
    };
    for (effect, status) in [("deny", 0), ("allow", 1)] {
        std::fs::write(&table, case(effect)).unwrap();
        let (code, out, _) = gatewayd(folder.path(), &["policy", "test", table.to_str().unwrap()]);
        assert_eq!(code, status, "{out}");
    }
}

#[test]
fn a_slip_in_method_or_path_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let explain = |method: &str, path: &str| gatewayd(folder.path(), &["policy", "explain", method, path]);
    let (code, _, told) = explain("post", "/v1/chat/completions");
    assert!(code != 0 && told.contains("write `POST`"), "{told}");
    let (_, out, _) = explain("POST", "/v1/nothing");
    assert!(out.contains("look at the method and the path"), "{out}");
}

#[test]
fn check_warns_of_a_subject_that_several_can_vouch_for() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, told) = gatewayd(folder.path(), &["check"]);
    assert_eq!(code, 0, "{told}");
    assert!(out.contains("right"), "{out}");
    for word in ["`alice-may-embed`", "add `issuers`", "https://a.example", "https://b.example", "`gatewayd`"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!told.contains("engineers"), "{told}");
}
