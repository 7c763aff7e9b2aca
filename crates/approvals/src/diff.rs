//! What changed since the last time: small, for people.

use std::collections::BTreeMap;

use gatewayd_core::inert_text;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Changes shown; more are counted only.
const MAX_CHANGES: usize = 50;
const MAX_SHOWN: usize = 200;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Where: a JSON pointer (RFC 6901) or a line number in the body, or the name of a header.
    pub at: String,
    /// What was there; `None` if nothing.
    pub before: Option<String>,
    /// What is there now; `None` if nothing.
    pub after: Option<String>,
}

/// The changes between two texts: by JSON pointer where both are JSON, else by line.
pub(crate) fn between(before: &str, after: &str) -> Vec<Change> {
    if before == after {
        return Vec::new();
    }
    let mut changes = Vec::new();
    match (Node::read(before), Node::read(after)) {
        (Some(before), Some(after)) => compare(&before, &after, &mut String::new(), &mut changes),
        _ => compare_lines(before, after, &mut changes),
    }
    changes
}

/// What is said of bodies that are not the same bytes where no change can be shown, or not all of it.
pub(crate) fn elsewhere(before: &str, after: &str) -> Change {
    Change {
        at: "the bytes, also where nothing is shown: blanks, order, what is masked or left out".to_owned(),
        before: Some(format!("sha256 {before}")),
        after: Some(format!("sha256 {after}")),
    }
}

/// The changes between the headers of two requests, each sorted by name.
pub(crate) fn between_headers(before: &[(String, String)], after: &[(String, String)]) -> Vec<Change> {
    let values = |headers: &[(String, String)], name: &str| {
        let values: Vec<_> =
            headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| shorten(&values.join(" | ")))
    };
    let mut names: Vec<_> = before.iter().chain(after).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let change = |name: &str| Change {
        at: format!("header {name}"),
        before: values(before, name),
        after: values(after, name),
    };
    names.into_iter().map(change).filter(|change| change.before != change.after).collect()
}

/// JSON as it is written: every member, also one whose name was there before, and every number and text to the letter.
#[derive(PartialEq)]
enum Node<'t> {
    Plain(&'t str),
    List(Vec<Node<'t>>),
    /// By name, and how many of that name came before.
    Members(BTreeMap<(String, usize), Node<'t>>),
}

impl<'t> Node<'t> {
    fn read(text: &'t str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().and_then(|raw| Self::of(raw.get()))
    }

    fn of(text: &'t str) -> Option<Self> {
        match text.as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let (mut named, mut seen) = (BTreeMap::new(), BTreeMap::<String, usize>::new());
                for (name, value) in members {
                    // Whoever takes the first of two and whoever takes the last read another document.
                    let before = seen.entry(name.clone()).or_default();
                    named.insert((name, *before), Self::of(value.get())?);
                    *before += 1;
                }
                Some(Self::Members(named))
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                items.into_iter().map(|item| Self::of(item.get())).collect::<Option<_>>().map(Self::List)
            }
            _ => Some(Self::Plain(text)),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Plain(text) => (*text).to_owned(),
            Self::List(items) => {
                format!("[{}]", items.iter().map(Self::shown).collect::<Vec<_>>().join(","))
            }
            Self::Members(members) => {
                let member = |((name, _), value): (&(String, usize), &Self)| {
                    format!("{}:{}", serde_json::Value::from(name.as_str()), value.shown())
                };
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// The members of an object in order, none left out.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn compare(before: &Node<'_>, after: &Node<'_>, at: &mut String, changes: &mut Vec<Change>) {
    if changes.len() >= MAX_CHANGES || before == after {
        return;
    }
    let length = at.len();
    match (before, after) {
        (Node::Members(old), Node::Members(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let (name, before) = key;
                at.push('/');
                at.push_str(&inert_text(&name.replace('~', "~0").replace('/', "~1")));
                if *before > 0 {
                    at.push_str(&format!(" (the same name, {})", before + 1));
                }
                compare_member(old.get(key), new.get(key), at, changes);
                at.truncate(length);
            }
        }
        (Node::List(old), Node::List(new)) => {
            for index in 0..old.len().max(new.len()) {
                at.push_str(&format!("/{index}"));
                compare_member(old.get(index), new.get(index), at, changes);
                at.truncate(length);
            }
        }
        _ => push(changes, at, Some(before), Some(after)),
    }
}

fn compare_member(
    before: Option<&Node<'_>>,
    after: Option<&Node<'_>>,
    at: &mut String,
    changes: &mut Vec<Change>,
) {
    match (before, after) {
        (Some(before), Some(after)) => compare(before, after, at, changes),
        (before, after) => push(changes, at, before, after),
    }
}

fn push(changes: &mut Vec<Change>, at: &str, before: Option<&Node<'_>>, after: Option<&Node<'_>>) {
    if changes.len() < MAX_CHANGES && before != after {
        let shown = |value: &Node<'_>| shorten(&value.shown());
        changes.push(Change { at: at.to_owned(), before: before.map(shown), after: after.map(shown) });
    }
}

/// Lines between the common beginning and the common end, side by side.
fn compare_lines(before: &str, after: &str, changes: &mut Vec<Change>) {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (old.get(same_start..).unwrap_or_default(), new.get(same_start..).unwrap_or_default());
    let same_end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    for index in 0..(old.len().max(new.len()) - same_end).min(MAX_CHANGES) {
        let line = |lines: &[&str]| {
            let changed = lines.len() - same_end;
            lines.get(index).filter(|_| index < changed).map(|line| shorten(line))
        };
        changes.push(Change {
            at: format!("line {}", same_start + index + 1),
            before: line(old),
            after: line(new),
        });
    }
}

fn shorten(text: &str) -> String {
    let text = &*inert_text(text);
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn change(at: &str, before: Option<&str>, after: Option<&str>) -> Change {
        Change { at: at.into(), before: before.map(Into::into), after: after.map(Into::into) }
    }

    #[test]
    fn json_changes_are_named_by_pointer() {
        let changes = between(
            r#"{"model":"a","n":1,"messages":[{"role":"user","content":"x"}],"a/b":1}"#,
            r#"{"n":1,"model":"b","messages":[{"role":"user","content":"x"},1],"a/b":2}"#,
        );
        assert!(changes.contains(&change("/model", Some("\"a\""), Some("\"b\""))));
        assert!(changes.contains(&change("/messages/1", None, Some("1"))));
        assert!(changes.contains(&change("/a~1b", Some("1"), Some("2"))));
        assert_eq!(changes.len(), 3);
    }

    #[test]
    fn members_of_one_name_and_numbers_are_compared_to_the_letter() {
        assert_eq!(
            between(r#"{"file":"safe","n":1}"#, r#"{"file":"EVIL","file":"safe","n":1}"#),
            [
                change("/file", Some("\"safe\""), Some("\"EVIL\"")),
                change("/file (the same name, 2)", None, Some("\"safe\"")),
            ]
        );
        assert_eq!(
            between("[12345678901234567890123, 1.0]", "[12345678901234567890124, 1]"),
            [
                change("/0", Some("12345678901234567890123"), Some("12345678901234567890124")),
                change("/1", Some("1.0"), Some("1")),
            ]
        );
        assert!(between(r#"{"a":1,"b":[{"c":2}]}"#, r#"{ "b": [{"c": 2}], "a": 1 }"#).is_empty());
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out() {
        let changes = between(r#"{"dry_run":true}"#, "{\"dry_run\u{34f}\":true,\"a\":\"\u{3164}\"}");
        assert!(changes.contains(&change("/dry_run", Some("true"), None)));
        assert!(changes.contains(&change("/dry_run\\u034f", None, Some("true"))));
        assert!(changes.contains(&change("/a", None, Some("\"\\u3164\""))));
        assert_eq!(between("a\nb", "a\u{fe0f}\nb"), vec![change("line 1", Some("a"), Some("a\\ufe0f"))]);
    }

    #[test]
    fn header_changes_are_named_by_header() {
        let headers = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(
            between_headers(
                &headers(&[("a", "1"), ("b", "1"), ("c", "1"), ("c", "2")]),
                &headers(&[("a", "1"), ("c", "2"), ("c", "1"), ("d", "1")])
            ),
            [
                change("header b", Some("1"), None),
                change("header c", Some("1 | 2"), Some("2 | 1")),
                change("header d", None, Some("1"))
            ]
        );
    }

    #[test]
    fn other_text_is_compared_by_line() {
        assert_eq!(
            between("a\nb\nc", "a\nX\nY\nc"),
            vec![change("line 2", Some("b"), Some("X")), change("line 3", None, Some("Y")),]
        );
        assert_eq!(between("a\na", "a"), vec![change("line 2", Some("a"), None)]);
    }

    proptest! {
        #[test]
        fn never_panics_and_sees_every_difference(a in ".{0,60}", b in ".{0,60}") {
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            // Blanks around a value say nothing.
            let same = a == b || lines(&a) == lines(&b) || json(&a).is_some() && json(&b).is_some() && a.trim() == b.trim();
            prop_assert_eq!(between(&a, &b).is_empty(), same);
        }
    }
}
