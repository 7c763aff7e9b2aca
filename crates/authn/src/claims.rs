//! What a token says, held against what the configuration asks for.

use std::sync::Arc;
use std::time::Duration;

use gatewayd_core::{Identity, IdentityKind, Timestamp};
use serde_json::{Map, Value};

use crate::IssuerConfig;
use crate::error::Rejected;

const MAX_SUBJECT: usize = 255;
const MAX_GROUP: usize = 255;
const MAX_GROUPS: usize = 1024;
const MAX_NAME: usize = 128;

/// An identity as the claims state it, and until when it may be used.
#[derive(Debug, Clone)]
pub(crate) struct Stated {
    pub(crate) identity: Identity,
    /// Expiry and leeway together.
    pub(crate) deadline: Timestamp,
}

/// Judges the claims. The signature is another matter: both must hold.
pub(crate) fn judge(
    claims: &Map<String, Value>,
    config: &IssuerConfig,
    now: Timestamp,
    leeway: Duration,
) -> Result<Stated, Rejected> {
    if claims.get("iss").and_then(Value::as_str) != Some(config.issuer.as_str()) {
        return Err(Rejected::Issuer);
    }
    check_audience(claims.get("aud"), &config.audiences)?;
    check_client(claims, &config.clients)?;
    if claims.contains_key("cnf") {
        return Err(Rejected::Bound);
    }
    let expires = check_times(claims, config, now, leeway)?;
    let identity = Identity {
        kind: IdentityKind::Oidc,
        issuer: config.issuer.as_str().into(),
        subject: subject(claims)?,
        name: display_name(claims),
        groups: groups(claims, config)?,
        expires: Some(expires),
    };
    Ok(Stated { identity, deadline: expires.plus(leeway) })
}

fn check_audience(audience: Option<&Value>, accepted: &[String]) -> Result<(), Rejected> {
    let is_accepted = |value: &Value| value.as_str().is_some_and(|name| accepted.iter().any(|a| a == name));
    let holds = match audience {
        Some(Value::Array(list)) => list.iter().all(Value::is_string) && list.iter().any(is_accepted),
        Some(single) => is_accepted(single),
        None => false,
    };
    if holds { Ok(()) } else { Err(Rejected::Audience) }
}

fn check_client(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), Rejected> {
    if accepted.is_empty() {
        return Ok(());
    }
    let client = claims.get("azp").or_else(|| claims.get("client_id")).and_then(Value::as_str);
    if client.is_some_and(|client| accepted.iter().any(|a| a == client)) {
        Ok(())
    } else {
        Err(Rejected::Client)
    }
}

fn check_times(
    claims: &Map<String, Value>,
    config: &IssuerConfig,
    now: Timestamp,
    leeway: Duration,
) -> Result<Timestamp, Rejected> {
    let expires = claims.get("exp").and_then(numeric_date).ok_or(Rejected::NoExpiry)?;
    if now >= expires.plus(leeway) {
        return Err(Rejected::Expired);
    }
    if let Some(value) = claims.get("nbf") {
        let start = numeric_date(value).ok_or(Rejected::NotYet)?;
        if start > now.plus(leeway) {
            return Err(Rejected::NotYet);
        }
    }
    let issued = match claims.get("iat") {
        None => None,
        Some(value) => Some(numeric_date(value).ok_or(Rejected::IssuedAt)?),
    };
    if issued.is_some_and(|issued| issued > now.plus(leeway) || issued > expires) {
        return Err(Rejected::IssuedAt);
    }
    if let Some(limit) = config.max_token_age {
        let issued = issued.ok_or(Rejected::IssuedAt)?;
        if now.since(issued) > limit.saturating_add(leeway) {
            return Err(Rejected::TooOld);
        }
        // However late it expires, it may be used no longer than this.
        return Ok(expires.min(issued.plus(limit)));
    }
    Ok(expires)
}

/// A `NumericDate`: seconds since the epoch, perhaps with a fraction, within a sane range of years.
fn numeric_date(value: &Value) -> Option<Timestamp> {
    const LATEST: f64 = 253_402_300_800.0; // the year 10000
    let seconds = value.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds))?;
    #[allow(clippy::cast_possible_truncation, reason = "the range was checked one line above")]
    let seconds = seconds.floor() as i64;
    Some(Timestamp::from_seconds(seconds))
}

fn subject(claims: &Map<String, Value>) -> Result<Arc<str>, Rejected> {
    match claims.get("sub") {
        Some(Value::String(sub)) if is_plain(sub, MAX_SUBJECT) => Ok(sub.as_str().into()),
        _ => Err(Rejected::Subject),
    }
}

/// A name for people. Never decides, so a broken one is left out instead of refused.
fn display_name(claims: &Map<String, Value>) -> Option<Arc<str>> {
    ["name", "preferred_username", "email"]
        .iter()
        .filter_map(|claim| claims.get(*claim).and_then(Value::as_str))
        .find(|name| is_plain(name, MAX_NAME))
        .map(Into::into)
}

/// Groups decide, also against a caller: what cannot be read is refused, not taken for "no groups".
fn groups(claims: &Map<String, Value>, config: &IssuerConfig) -> Result<Arc<[Arc<str>]>, Rejected> {
    let names: Vec<&str> = match config.groups_claim.find(claims) {
        None if left_out(claims, config.groups_claim.outermost()) => return Err(Rejected::GroupsElsewhere),
        None => Vec::new(),
        Some(Value::String(single)) => vec![single],
        Some(Value::Array(list)) if list.len() <= MAX_GROUPS => {
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or(Rejected::Groups)?
        }
        Some(_) => return Err(Rejected::Groups),
    };
    if !names.iter().all(|name| is_plain(name, MAX_GROUP)) {
        return Err(Rejected::Groups);
    }
    let prefix = &config.group_prefix;
    let mut groups: Vec<Arc<str>> = names.iter().map(|name| format!("{prefix}{name}").into()).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(groups.into())
}

/// Entra ID leaves groups out when there are too many, and says so in one of two ways.
fn left_out(claims: &Map<String, Value>, claim: &str) -> bool {
    let elsewhere = claims.get("_claim_names").is_some_and(|names| names.get(claim).is_some());
    elsewhere || (claim == "groups" && claims.get("hasgroups").is_some_and(|has| *has != Value::Bool(false)))
}

/// Not empty, not too long, and nothing that could break a line of a log or a record.
fn is_plain(text: &str, limit: usize) -> bool {
    !text.is_empty() && text.len() <= limit && !text.chars().any(is_disruptive)
}

/// Controls, line and paragraph separators, and marks that turn the direction of writing.
fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn config() -> IssuerConfig {
        IssuerConfig::new("https://id.example", ["gateway"])
    }

    fn claims(change: &Value) -> Map<String, Value> {
        let mut all = json!({
            "iss": "https://id.example", "aud": "gateway", "sub": "alice", "exp": NOW + 600, "iat": NOW - 5,
        });
        let map = all.as_object_mut().unwrap();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                map.remove(name);
            } else {
                map.insert(name.clone(), value.clone());
            }
        }
        map.clone()
    }

    #[allow(clippy::needless_pass_by_value, reason = "a row of a table is handed over")]
    fn verdict_with(config: &IssuerConfig, change: Value) -> Result<Identity, Rejected> {
        let now = Timestamp::from_seconds(NOW);
        judge(&claims(&change), config, now, Duration::from_secs(30)).map(|stated| stated.identity)
    }

    fn verdict(change: Value) -> Result<(), Rejected> {
        verdict_with(&config(), change).map(|_| ())
    }

    #[test]
    fn each_claim_is_held_against_the_configuration() {
        let table = [
            (json!({}), Ok(())),
            (json!({"iss": "https://id.example/"}), Err(Rejected::Issuer)),
            (json!({"iss": ["https://id.example"]}), Err(Rejected::Issuer)),
            (json!({"aud": ["other", "gateway"]}), Ok(())),
            (json!({"aud": "other"}), Err(Rejected::Audience)),
            (json!({"aud": "gatewa"}), Err(Rejected::Audience)),
            (json!({"aud": []}), Err(Rejected::Audience)),
            (json!({"aud": null}), Err(Rejected::Audience)),
            (json!({"aud": ["gateway", 7]}), Err(Rejected::Audience)),
            (json!({"aud": {"gateway": "gateway"}}), Err(Rejected::Audience)),
            (json!({"exp": null}), Err(Rejected::NoExpiry)),
            (json!({"exp": "1900000000"}), Err(Rejected::NoExpiry)),
            (json!({"exp": 1e300}), Err(Rejected::NoExpiry)),
            (json!({"exp": -1}), Err(Rejected::NoExpiry)),
            (json!({"exp": NOW - 30}), Err(Rejected::Expired)),
            (json!({"exp": NOW - 29, "iat": NOW - 60}), Ok(())),
            (json!({"exp": NOW as f64 + 0.5}), Ok(())),
            (json!({"nbf": NOW + 30}), Ok(())),
            (json!({"nbf": NOW + 31}), Err(Rejected::NotYet)),
            (json!({"nbf": "soon"}), Err(Rejected::NotYet)),
            (json!({"iat": NOW + 31}), Err(Rejected::IssuedAt)),
            (json!({"iat": true}), Err(Rejected::IssuedAt)),
            (json!({"iat": NOW + 20, "exp": NOW + 10}), Err(Rejected::IssuedAt)),
            (json!({"iat": null}), Ok(())),
            (json!({"sub": null}), Err(Rejected::Subject)),
            (json!({"sub": ""}), Err(Rejected::Subject)),
            (json!({"sub": 7}), Err(Rejected::Subject)),
            (json!({"sub": "a\u{0}b"}), Err(Rejected::Subject)),
            (json!({"sub": "a\nb"}), Err(Rejected::Subject)),
            (json!({"sub": "a\u{202e}b"}), Err(Rejected::Subject)),
            (json!({"sub": "s".repeat(256)}), Err(Rejected::Subject)),
            (json!({"cnf": {"jkt": "x"}}), Err(Rejected::Bound)),
            (json!({"groups": [1]}), Err(Rejected::Groups)),
            (json!({"groups": {"a": true}}), Err(Rejected::Groups)),
            (json!({"groups": ["a", "b\r\nc"]}), Err(Rejected::Groups)),
            (json!({"groups": [""]}), Err(Rejected::Groups)),
            (json!({"hasgroups": true}), Err(Rejected::GroupsElsewhere)),
            (json!({"_claim_names": {"groups": "src1"}}), Err(Rejected::GroupsElsewhere)),
        ];
        for (change, expected) in table {
            assert_eq!(verdict(change.clone()), expected, "{change}");
        }
    }

    #[test]
    fn groups_are_found_where_the_path_says() {
        let found = |path: &str, change: Value| {
            let mut config = config();
            config.groups_claim = path.parse().unwrap();
            verdict_with(&config, change)
                .map(|who| who.groups.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(found("groups", json!({"groups": ["b", "a", "b"]})).unwrap(), ["a", "b"]);
        assert_eq!(found("groups", json!({"groups": "one two"})).unwrap(), ["one two"]);
        assert_eq!(found("groups", json!({})).unwrap(), [""; 0]);
        assert_eq!(found("realm_access.roles", json!({"realm_access": {"roles": ["r"]}})).unwrap(), ["r"]);
        assert_eq!(found("realm_access.roles", json!({"realm_access.roles": ["r"]})).unwrap(), [""; 0]);
        assert_eq!(found("https://x.example/g", json!({"https://x.example/g": ["g"]})).unwrap(), ["g"]);
        let many = vec!["g"; MAX_GROUPS + 1];
        assert_eq!(found("groups", json!({"groups": many})), Err(Rejected::Groups));
    }

    #[test]
    fn a_prefix_keeps_issuers_apart() {
        let mut config = config();
        config.group_prefix = "partner:".to_owned();
        let who = verdict_with(&config, json!({"groups": ["admins"]})).unwrap();
        assert!(who.in_group("partner:admins") && !who.in_group("admins"));
    }

    #[test]
    fn clients_and_age_are_limits_where_configured() {
        let mut config = config();
        config.clients = vec!["cli".to_owned()];
        assert!(verdict_with(&config, json!({"azp": "cli"})).is_ok());
        assert!(verdict_with(&config, json!({"client_id": "cli"})).is_ok());
        assert_eq!(verdict_with(&config, json!({"azp": "web", "client_id": "cli"})), Err(Rejected::Client));
        assert_eq!(verdict_with(&config, json!({})), Err(Rejected::Client));
        config.clients.clear();
        config.max_token_age = Some(Duration::from_secs(60));
        let young = verdict_with(&config, json!({"iat": NOW - 10})).unwrap();
        assert_eq!(young.expires, Some(Timestamp::from_seconds(NOW + 50)));
        assert_eq!(verdict_with(&config, json!({"iat": NOW - 91})), Err(Rejected::TooOld));
        assert_eq!(verdict_with(&config, json!({"iat": null})), Err(Rejected::IssuedAt));
    }

    #[test]
    fn a_broken_name_for_people_is_left_out() {
        let who = verdict_with(&config(), json!({"name": "x\ny", "email": "a@example"})).unwrap();
        assert_eq!(who.name.as_deref(), Some("a@example"));
    }
}
