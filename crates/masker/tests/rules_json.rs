//! The examples of every rule inside JSON: escaped in a string, and with the name of a secret as its key.

#![allow(clippy::indexing_slicing, reason = "a test that fails may panic")]

mod support;

use gatewayd_masker::Masker;
use gatewayd_masker::format::BodyKind;
use gatewayd_masker::rule::{self, Tier};
use serde_json::{Value, json};
use support::bodies;

fn masker() -> Masker {
    Masker::builder().tiers([Tier::Default, Tier::Assignments]).build().expect("the built-in rules compile")
}

/// Masks a document as a body that arrives in pieces.
fn mask_json(masker: &Masker, document: &Value, piece: usize) -> Value {
    let mut body = masker.body(BodyKind::Json);
    let mut out = Vec::new();
    for bytes in document.to_string().as_bytes().chunks(piece) {
        out.extend(body.push(bytes).expect("valid JSON"));
    }
    out.extend(body.finish().expect("valid JSON"));
    serde_json::from_slice(&out).expect("masking keeps JSON valid")
}

#[test]
fn an_example_in_a_string_is_masked_as_it_is_outside() {
    let masker = masker();
    for rule in rule::builtin() {
        for example in rule.positives(2).expect("well written") {
            let text = String::from_utf8_lossy(&example.text);
            let masked = mask_json(&masker, &json!({"n": 1, "t": text}), 7);
            let masked = masked["t"].as_str().expect("a string stays one");
            for secret in &example.secrets {
                let secret = String::from_utf8_lossy(&example.text[secret.clone()]);
                assert!(!masked.contains(secret.as_ref()), "{}: {masked}", rule.id);
            }
            assert!(masked.contains("[REDACTED:"), "{}: {masked}", rule.id);
        }
    }
}

#[test]
fn the_key_of_a_value_is_its_name() {
    let masker = masker();
    let secret = "q7Lx2mB9vT4kR8wZ1nC5yH3jD6fG0sPaE+uI/oKt";
    let hex = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let document = json!({
        "AWS_SECRET_ACCESS_KEY": secret,
        "SecretAccessKey": secret,
        "datadog_api_key": hex,
        "TWILIO_AUTH_TOKEN": hex,
        "nested": [{"HEROKU_API_KEY": "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"}],
        "password": "c0rrect-h0rse",
        "sha256": hex,
        "etag": secret,
        "nextToken": secret,
        "csrf_token": secret,
        "publicKey": secret,
    });
    let masked = mask_json(&masker, &document, 5);
    for path in [
        "/AWS_SECRET_ACCESS_KEY",
        "/SecretAccessKey",
        "/datadog_api_key",
        "/TWILIO_AUTH_TOKEN",
        "/nested/0/HEROKU_API_KEY",
        "/password",
    ] {
        let value = masked.pointer(path).and_then(Value::as_str).expect("it is there");
        assert!(value.starts_with("[REDACTED:") && value.ends_with(']'), "{path}: {value}");
    }
    for path in ["/sha256", "/etag", "/nextToken", "/csrf_token", "/publicKey"] {
        assert_eq!(masked.pointer(path), document.pointer(path), "{path} is no name of a secret");
    }
}

/// What calls itself something is the name of the value behind it, in the same object.
#[test]
fn a_value_whose_name_is_a_member_beside_it_is_masked() {
    let masker = Masker::builder().build().expect("the built-in rules compile");
    let push = |pieces: &[&[u8]]| bodies::push(&masker, BodyKind::Json, pieces).expect("valid JSON");
    let secret = "q7Rk2VxZ9tLmW4sYb8NcD3fH";
    let masked = |body: &str| {
        let whole = push(&[body.as_bytes()]);
        for at in 0..body.len() {
            let (left, right) = body.as_bytes().split_at(at);
            assert_eq!(push(&[left, right]), whole, "{body} cut at {at}");
        }
        !String::from_utf8_lossy(&whole).contains(&secret[1..])
    };
    for body in [
        format!(r#"{{"env": [{{"name": "DB_API_KEY", "value": "{secret}"}}]}}"#),
        format!(r#"{{"key":"CLIENT_SECRET","type":"encrypted","target":["production"],"value":"{secret}"}}"#),
        format!(r#"[{{"Name":"a","Value":"b"}},{{"Name":"api_token","Value":"{secret}"}}]"#),
        format!(r#"{{"headers":[{{"name":"X-Api-Key","value":"{secret}"}}]}}"#),
        format!(r#"{{"name":"api_token","value":"\u0071{}"}}"#, &secret[1..]),
    ] {
        assert!(masked(&body), "{body}");
    }
    for body in [
        format!(r#"{{"name":"commit","value":"{secret}"}}"#),
        format!(r#"[{{"name":"api_token"}},{{"value":"{secret}"}}]"#),
        format!(r#"{{"name":"api_token","more":{{"value":"{secret}"}}}}"#),
        format!(r#"{{"more":{{"name":"api_token"}},"value":"{secret}"}}"#),
        format!(r#"{{"name":"api_token","other":"{secret}"}}"#),
        format!(r#"{{"name":"{}api_token","value":"{secret}"}}"#, "x ".repeat(40)),
    ] {
        assert!(!masked(&body), "{body}");
    }
}
