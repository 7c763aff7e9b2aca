//! One pass over a JSON body that keeps only which models it names and whether it asks for a stream.
//!
//! The body is checked to be JSON, and its top level to name each of these members at most once: two
//! servers may take the first or the last of two `model` members, and Go's decoder takes `MODEL` for
//! `model`. Such a body is refused, so that the model that policy judges is the model that answers.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Longest name of a model.
pub(crate) const MAX_MODEL: usize = 512;
/// Most models that a body may name beside the first.
const MAX_OTHERS: usize = 16;

/// The members of a body's top level that name models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// They name the model, and agree if there are several.
    pub(crate) model: Vec<String>,
    /// They name further models: a string, or a list of strings.
    pub(crate) others: Vec<String>,
    /// They name models in a text that is not read here.
    pub(crate) unread: Vec<String>,
}

impl Members {
    /// Every member that decides.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let models = self.model.iter().chain(&self.others).chain(&self.unread);
        models.map(String::as_str).chain(["stream"])
    }
}

/// What a body says at its top level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peeked {
    pub(crate) model: Option<String>,
    pub(crate) others: Vec<String>,
    pub(crate) stream: Option<bool>,
}

/// Why a JSON body is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonProblem {
    /// Not JSON in UTF-8.
    #[error("the body is not JSON (line {line}, column {column}); send one JSON value in UTF-8")]
    Syntax {
        /// Line, from 1; 0 if it is not UTF-8.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// The model is named in a member of the body, and the body is empty or can have no members.
    #[error("the body is not a JSON object; send one that names the model in `{0}`")]
    NotAnObject(String),
    /// A member that decides is there twice.
    #[error("`{0}` is in the body twice; send it once")]
    Duplicate(String),
    /// A member that decides is spelled in another case, which some servers accept.
    #[error("the body holds a member that differs from `{0}` only in its case; rename or remove it")]
    OtherCase(String),
    /// Two members that both name the model do not agree.
    #[error("`{0}` and `{1}` name different models; send only `{0}`")]
    Disagree(String, String),
    /// A member that decides is of another type.
    #[error(
        "`{0}` has the wrong type; a model is a string, several are a list of strings, `stream` is true or false"
    )]
    WrongType(String),
    /// A member names models in a way that is not read.
    #[error("`{0}` names models in a way that cannot be judged here; name the model in `from` instead")]
    Unread(String),
    /// More models than can be judged.
    #[error("the body names more than 17 models; name fewer")]
    TooManyModels,
    /// The name of the model is too long or holds control characters.
    #[error("the name of the model is longer than 512 bytes or holds control characters")]
    BadModel,
}

/// Reads the body. With `needs_object`, a body in which no member can stand is refused.
pub(crate) fn peek(body: &[u8], members: &Members, needs_object: bool) -> Result<Peeked, JsonProblem> {
    let not_an_object = || JsonProblem::NotAnObject(members.model.first().cloned().unwrap_or_default());
    if body.is_empty() {
        return if needs_object { Err(not_an_object()) } else { Ok(Peeked::default()) };
    }
    let text = std::str::from_utf8(body).map_err(|_| JsonProblem::Syntax { line: 0, column: 0 })?;
    let mut reader = Reader {
        members,
        is_object: false,
        models: Vec::new(),
        others: Vec::new(),
        stream: None,
        now: None,
        problem: None,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_any(&mut reader).and_then(|()| json.end());
    if let Err(error) = read {
        let syntax = JsonProblem::Syntax { line: error.line(), column: error.column() };
        return Err(match (reader.problem, reader.now, error.is_data()) {
            (Some(problem), _, _) => problem,
            (None, Some(member), true) => JsonProblem::WrongType(member),
            _ => syntax,
        });
    }
    if needs_object && !reader.is_object {
        return Err(not_an_object());
    }
    let stream = reader.stream.flatten();
    let others = other_models(reader.others)?;
    Ok(Peeked { model: one_model(reader.models)?, others, stream })
}

/// The one model that all members agree on.
fn one_model(models: Vec<(String, Option<String>)>) -> Result<Option<String>, JsonProblem> {
    let mut named = models.into_iter().filter_map(|(key, model)| model.map(|model| (key, model)));
    let Some((first_key, model)) = named.next() else { return Ok(None) };
    if let Some((key, _)) = named.find(|(_, other)| *other != model) {
        return Err(JsonProblem::Disagree(first_key, key));
    }
    check_model(&model)?;
    Ok(Some(model))
}

/// All models that the members for further ones name.
fn other_models(members: Vec<(String, Names)>) -> Result<Vec<String>, JsonProblem> {
    let names = members.into_iter().flat_map(|(_, Names(names))| names).filter(|name| !name.is_empty());
    let names: Vec<String> = names.collect();
    if names.len() > MAX_OTHERS {
        return Err(JsonProblem::TooManyModels);
    }
    names.iter().try_for_each(|name| check_model(name))?;
    Ok(names)
}

/// Refuses names that could not be logged as they are.
pub(crate) fn check_model(model: &str) -> Result<(), JsonProblem> {
    if model.len() > MAX_MODEL || model.chars().any(char::is_control) {
        return Err(JsonProblem::BadModel);
    }
    Ok(())
}

/// True if Go's JSON decoder, or another that folds case, could take `key` for `wanted`.
fn differs_in_case_only(key: &str, wanted: &str) -> bool {
    // Folding shortens a character to no less than a third of its bytes.
    key.len() <= wanted.len() * 3
        && key.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).eq(wanted.chars())
}

struct Reader<'k> {
    members: &'k Members,
    is_object: bool,
    models: Vec<(String, Option<String>)>,
    others: Vec<(String, Names)>,
    stream: Option<Option<bool>>,
    /// The member whose value is being read.
    now: Option<String>,
    problem: Option<JsonProblem>,
}

/// What a key at the top level is to us.
enum Key<'k> {
    Model(&'k str),
    Others(&'k str),
    Unread(&'k str),
    Stream,
    Other,
}

impl<'de> Visitor<'de> for &mut Reader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.is_object = true;
        while let Some(key) =
            map.next_key_seed(KeySeed { members: self.members, problem: &mut self.problem })?
        {
            match key {
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Model(key) => {
                    if self.models.iter().any(|(seen, _)| seen == key) {
                        self.problem = Some(JsonProblem::Duplicate(key.to_owned()));
                        return Err(A::Error::custom("duplicate"));
                    }
                    self.now = Some(key.to_owned());
                    let model = map.next_value::<Option<String>>()?;
                    self.models.push((key.to_owned(), model));
                    self.now = None;
                }
                Key::Others(key) => {
                    if self.others.iter().any(|(seen, _)| seen == key) {
                        self.problem = Some(JsonProblem::Duplicate(key.to_owned()));
                        return Err(A::Error::custom("duplicate"));
                    }
                    self.now = Some(key.to_owned());
                    let names = map.next_value::<Names>()?;
                    self.others.push((key.to_owned(), names));
                    self.now = None;
                }
                Key::Unread(key) => {
                    self.problem = Some(JsonProblem::Unread(key.to_owned()));
                    return Err(A::Error::custom("not read"));
                }
                Key::Stream => {
                    if self.stream.is_some() {
                        self.problem = Some(JsonProblem::Duplicate("stream".to_owned()));
                        return Err(A::Error::custom("duplicate"));
                    }
                    self.now = Some("stream".to_owned());
                    self.stream = Some(map.next_value::<Option<bool>>()?);
                    self.now = None;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

/// No name, one, or a list of them.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a list of names")
    }

    fn visit_unit<E>(self) -> Result<Names, E> {
        Ok(Names(Vec::new()))
    }

    fn visit_str<E>(self, name: &str) -> Result<Names, E> {
        Ok(Names(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        // One more than may be is enough to refuse them all.
        while let Some(name) = seq.next_element::<String>()? {
            if names.len() <= MAX_OTHERS {
                names.push(name);
            }
        }
        Ok(Names(names))
    }
}

struct KeySeed<'a, 'k> {
    members: &'k Members,
    problem: &'a mut Option<JsonProblem>,
}

impl<'de, 'k> DeserializeSeed<'de> for KeySeed<'_, 'k> {
    type Value = Key<'k>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'k>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'k> Visitor<'_> for KeySeed<'_, 'k> {
    type Value = Key<'k>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key<'k>, E> {
        if key == "stream" {
            return Ok(Key::Stream);
        }
        let among = |names: &'k [String]| names.iter().find(|known| *known == key).map(String::as_str);
        let members = self.members;
        let known = among(&members.model)
            .map(Key::Model)
            .or_else(|| among(&members.others).map(Key::Others))
            .or_else(|| among(&members.unread).map(Key::Unread));
        if let Some(known) = known {
            return Ok(known);
        }
        for wanted in members.names() {
            if differs_in_case_only(key, wanted) {
                *self.problem = Some(JsonProblem::OtherCase(wanted.to_owned()));
                return Err(E::custom("other case"));
            }
        }
        Ok(Key::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn keys(names: &[&str]) -> Members {
        Members { model: list(names), ..Members::default() }
    }

    fn peeked(body: &str) -> Result<Peeked, JsonProblem> {
        peek(body.as_bytes(), &keys(&["model"]), false)
    }

    #[test]
    fn it_finds_model_and_stream_wherever_they_stand() {
        let found = peeked(r#"{"messages":[{"model":"inner","stream":1}],"stream":true,"model":"m"}"#);
        assert_eq!(found, Ok(Peeked { model: Some("m".into()), stream: Some(true), ..Peeked::default() }));
        assert_eq!(peeked(r#"{"m\u006fdel":"m\u0021"}"#).map(|p| p.model), Ok(Some("m!".into())));
        assert_eq!(peeked(r#"{"model":null,"stream":null}"#), Ok(Peeked::default()));
        for without in
            ["{}", "[]", r#"[{"model":"x"}]"#, "1", "-1", "1.5", "null", "true", "\"model\"", " {} \n"]
        {
            assert_eq!(peeked(without), Ok(Peeked::default()), "{without}");
        }
    }

    #[test]
    fn where_a_member_names_the_model_there_must_be_room_for_members() {
        let of = |body: &str| peek(body.as_bytes(), &keys(&["lora_name", "model"]), true);
        for body in ["", "[]", r#"[{"lora_name":"x"}]"#, "null", "1", "-1", "1.5", "true", "\"lora_name\""] {
            assert_eq!(of(body), Err(JsonProblem::NotAnObject("lora_name".to_owned())), "{body}");
        }
        assert_eq!(of(" {} "), Ok(Peeked::default()));
        assert_eq!(of(r#"{"lora_name":null}"#), Ok(Peeked::default()));
        assert!(matches!(of("[}"), Err(JsonProblem::Syntax { .. })), "broken stays broken");
        assert_eq!(peeked(""), Ok(Peeked::default()));
    }

    #[test]
    fn two_readings_are_refused() {
        let duplicate = |name: &str| Err(JsonProblem::Duplicate(name.to_owned()));
        assert_eq!(peeked(r#"{"model":"a","model":"b"}"#), duplicate("model"));
        assert_eq!(peeked(r#"{"model":"a","mode\u006c":"a"}"#), duplicate("model"));
        assert_eq!(peeked(r#"{"model":null,"model":"b"}"#), duplicate("model"));
        assert_eq!(peeked(r#"{"stream":true,"stream":false}"#), duplicate("stream"));
        for (body, name) in [
            (r#"{"model":"a","MODEL":"b"}"#, "model"),
            (r#"{"Model":"b"}"#, "model"),
            (r#"{"Stream":true}"#, "stream"),
            ("{\"\u{17f}tream\":true}", "stream"),
            (r#"{"\u017Ftream":true}"#, "stream"),
        ] {
            assert_eq!(peeked(body), Err(JsonProblem::OtherCase(name.to_owned())), "{body}");
        }
        assert_eq!(peeked("{\"\u{212a}ey\":1}"), Ok(Peeked::default()));
    }

    #[test]
    fn wrong_types_and_broken_json_are_told_apart() {
        for (body, name) in [
            (r#"{"model":5}"#, "model"),
            (r#"{"model":["a"]}"#, "model"),
            (r#"{"model":{"a":1}}"#, "model"),
            (r#"{"stream":"true"}"#, "stream"),
            (r#"{"stream":1}"#, "stream"),
        ] {
            assert_eq!(peeked(body), Err(JsonProblem::WrongType(name.to_owned())), "{body}");
        }
        let deep = "[".repeat(100_000);
        for body in
            [" ", "{", "{\"model\":\"a\"", "{}{}", "{} x", "{model:1}", "\u{feff}{}", "NaN", "{'a':1}", &deep]
        {
            assert!(matches!(peeked(body), Err(JsonProblem::Syntax { .. })), "{body:.20}");
        }
        assert_eq!(
            peek(b"{\"a\":\"\xff\"}", &Members::default(), false),
            Err(JsonProblem::Syntax { line: 0, column: 0 })
        );
    }

    #[test]
    fn two_names_for_the_model_must_agree() {
        let both = keys(&["model", "name"]);
        let of = |body: &str| peek(body.as_bytes(), &both, true).map(|p| p.model);
        assert_eq!(of(r#"{"name":"a"}"#), Ok(Some("a".into())));
        assert_eq!(of(r#"{"name":"a","model":"a"}"#), Ok(Some("a".into())));
        assert_eq!(of(r#"{"name":"a","model":null}"#), Ok(Some("a".into())));
        for body in [r#"{"name":"a","model":"b"}"#, r#"{"name":"a","model":""}"#] {
            assert!(matches!(of(body), Err(JsonProblem::Disagree(..))), "{body}");
        }
    }

    #[test]
    fn every_further_model_is_found() {
        let members = Members {
            model: list(&["model"]),
            others: list(&["from", "fallbacks"]),
            unread: list(&["modelfile"]),
        };
        let of = |body: &str| peek(body.as_bytes(), &members, true).map(|peeked| peeked.others);
        assert_eq!(of(r#"{"model":"a","from":"b","fallbacks":["c","","d"]}"#), Ok(list(&["b", "c", "d"])));
        assert_eq!(of(r#"{"model":"a","fr\u006fm":"b"}"#), Ok(list(&["b"])));
        for none in [r#"{"from":null}"#, r#"{"from":""}"#, r#"{"fallbacks":[]}"#, "{}"] {
            assert_eq!(of(none), Ok(Vec::new()), "{none}");
        }
        let many = format!(r#"{{"fallbacks":{}}}"#, serde_json::json!(vec!["m"; MAX_OTHERS + 9]));
        for (body, problem) in [
            (r#"{"from":"a","from":"b"}"#, JsonProblem::Duplicate("from".into())),
            (r#"{"From":"a"}"#, JsonProblem::OtherCase("from".into())),
            (r#"{"from":1}"#, JsonProblem::WrongType("from".into())),
            (r#"{"fallbacks":[{"model":"a"}]}"#, JsonProblem::WrongType("fallbacks".into())),
            (r#"{"from":"a\nb"}"#, JsonProblem::BadModel),
            (r#"{"modelfile":"FROM a"}"#, JsonProblem::Unread("modelfile".into())),
            (&many, JsonProblem::TooManyModels),
        ] {
            assert_eq!(of(body), Err(problem), "{body}");
        }
    }

    #[test]
    fn a_name_fit_for_a_log() {
        assert_eq!(peeked(r#"{"model":"a\nb"}"#), Err(JsonProblem::BadModel));
        let long = format!("{{\"model\":\"{}\"}}", "a".repeat(MAX_MODEL + 1));
        assert_eq!(peeked(&long), Err(JsonProblem::BadModel));
    }
}
