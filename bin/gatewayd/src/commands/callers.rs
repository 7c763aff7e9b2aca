//! What callers are called in a list: by their subject, and by who vouches for it where more than one does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::print;

/// The issuers of a list. A subject is a subject of its issuer: another issuer's `alice` is somebody else.
pub(crate) struct Callers {
    issuer: &'static str,
    subject: &'static str,
    /// What each is called, where there is more than one.
    issuers: BTreeMap<String, String>,
}

impl Callers {
    /// Of these rows, in which issuer and subject stand there.
    pub(crate) fn of(rows: &[Value], issuer: &'static str, subject: &'static str) -> Self {
        let urls = rows.iter().map(|row| print::cell(row, issuer)).filter(|url| !url.is_empty());
        let mut issuers: BTreeMap<String, String> = urls.map(|url| (url.clone(), short(&url))).collect();
        if issuers.len() < 2 {
            issuers.clear();
        }
        let names: Vec<String> = issuers.values().cloned().collect();
        for (url, name) in &mut issuers {
            if names.iter().filter(|other| *other == name).count() > 1 {
                name.clone_from(url);
            }
        }
        Self { issuer, subject, issuers }
    }

    /// Who is in this row.
    pub(crate) fn name(&self, row: &Value) -> String {
        let subject = print::cell(row, self.subject);
        match self.issuers.get(&print::cell(row, self.issuer)) {
            Some(issuer) => format!("{subject} ({issuer})"),
            None => subject,
        }
    }
}

/// The host of an issuer's URL; what is no URL is short already.
fn short(issuer: &str) -> String {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(rows: &[(&str, &str)]) -> Vec<String> {
        let rows: Vec<Value> =
            rows.iter().map(|(issuer, who)| json!({ "issuer": issuer, "who": who })).collect();
        let callers = Callers::of(&rows, "/issuer", "/who");
        rows.iter().map(|row| callers.name(row)).collect()
    }

    #[test]
    fn a_subject_is_of_its_issuer_where_there_are_several() {
        assert_eq!(
            names(&[("https://a.example/x", "alice"), ("https://a.example/x", "bob")]),
            ["alice", "bob"]
        );
        assert_eq!(
            names(&[
                ("https://a.example/x", "alice"),
                ("https://b.example", "alice"),
                ("gatewayd", "alice"),
                ("", "")
            ]),
            ["alice (a.example)", "alice (b.example)", "alice (gatewayd)", ""]
        );
        assert_eq!(
            names(&[("https://a.example/x", "alice"), ("https://a.example/y", "alice")]),
            ["alice (https://a.example/x)", "alice (https://a.example/y)"]
        );
    }
}
