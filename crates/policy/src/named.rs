//! Which texts a policy names at all.

use std::collections::HashSet;

use serde_json::Value;

use crate::engine::Entry;

/// Every text that stands anywhere in the rules. A group that is not among them cannot change a decision, nor can an
/// attribute, however it is written: Cedar has no operator that makes a name at run time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    texts: HashSet<String>,
    /// Something could not be read: then everything may be named.
    everything: bool,
}

impl Named {
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut named = Self::default();
        for entry in entries {
            match entry.policy.to_json() {
                Ok(form) => named.note(&form),
                Err(_) => named.everything = true,
            }
        }
        named
    }

    /// True if some rule may look at what is called so.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.everything || self.texts.contains(text)
    }

    fn note(&mut self, form: &Value) {
        match form {
            Value::String(text) => {
                self.texts.insert(text.clone());
            }
            Value::Array(items) => items.iter().for_each(|item| self.note(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    self.texts.insert(name.clone());
                    self.note(member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}
