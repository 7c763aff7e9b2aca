//! Who may import whom, checked over `cargo metadata`.
//!
//! `core` and `masker` import no crate of the workspace, every other control imports `core` only, and
//! only `proxy` uses reqwest. `deny.toml` says the last of these to cargo-deny too.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test, what must not fail may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may import from the workspace. The binary, the examples and the benches may import all.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gatewayd-core", &[]),
    ("gatewayd-masker", &[]),
    ("gatewayd-authn", &["gatewayd-core"]),
    ("gatewayd-policy", &["gatewayd-core"]),
    ("gatewayd-approvals", &["gatewayd-core"]),
    ("gatewayd-credentials", &["gatewayd-core"]),
    ("gatewayd-recorder", &["gatewayd-core"]),
    ("gatewayd-dialects", &["gatewayd-core"]),
    ("gatewayd-proxy", &["gatewayd-core"]),
    ("gatewayd-testkit", &["gatewayd-core"]),
];

/// Crates that may import anything.
const FREE: &[&str] = &["gatewayd", "gatewayd-examples", "gatewayd-benches"];

/// The only ones that may name reqwest.
const REQWEST: &[&str] = &["gatewayd-proxy"];

fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    packages
        .iter()
        .map(|package| {
            let name = package["name"].as_str().expect("a name").to_owned();
            let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
            // Test dependencies may point to the testkit; they do not ship.
            let shipped = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
            (name, shipped.map(|d| d["name"].as_str().expect("a name").to_owned()).collect())
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_architecture_allows() {
    let dependencies = direct_dependencies();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (name, imports) in &dependencies {
        if FREE.contains(&name.as_str()) {
            continue;
        }
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name} has no line in ALLOWED"));
        for import in imports.iter().filter(|import| dependencies.contains_key(*import)) {
            assert!(allowed.contains(&import.as_str()), "{name} must not import {import}");
        }
    }
}

#[test]
fn only_the_proxy_uses_reqwest() {
    for (name, imports) in direct_dependencies() {
        assert!(
            !imports.contains("reqwest") || REQWEST.contains(&name.as_str()),
            "{name} must not use reqwest; use the proxy's HttpFetch or Agent"
        );
    }
}
