//! How names of models are compared.

use std::borrow::Cow;

/// The spelling of a model name that rules are compared with.
///
/// 1. White space around it goes.
/// 2. Upper case becomes lower case: `Llama-3` and `llama-3` are one model.
/// 3. What Ollama adds by itself, or passes over, goes: a leading scheme, whatever it is called (`https://`), then
///    `registry.ollama.ai/`, then `library/`, and a trailing `:latest`.
///
/// Two spellings that a model server may take for the same model thus meet the same rules. It errs
/// towards taking names together: a server that tells `m` from `m:latest` cannot have a rule for one
/// of them alone.
///
/// ```
/// use gatewayd_policy::normalise_model;
/// assert_eq!(normalise_model(" Llama3:latest"), "llama3");
/// assert_eq!(normalise_model("registry.ollama.ai/library/llama3"), "llama3");
/// assert_eq!(normalise_model("meta-llama/Llama-3.1-8B"), "meta-llama/llama-3.1-8b");
/// ```
#[must_use]
pub fn normalise_model(spelled: &str) -> Cow<'_, str> {
    let trimmed = spelled.trim();
    if trimmed.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(without_defaults(trimmed));
    }
    let lower = trimmed.to_lowercase();
    Cow::Owned(without_defaults(&lower).to_owned())
}

/// Checks a pattern of a rule and gives its pieces: the literal texts between the stars.
pub(crate) fn parse_pattern(pattern: &str) -> Result<Vec<String>, String> {
    let lower = pattern.trim().to_lowercase();
    let plain = without_defaults(&lower);
    if plain != lower {
        return Err(format!("names are compared without Ollama's defaults, so write `{plain}`"));
    }
    if lower.is_empty() {
        return Err("write a name, or `*` for every named model".to_owned());
    }
    Ok(lower.split('*').map(str::to_owned).collect())
}

/// True if `text` is the pieces with anything between them.
pub(crate) fn matches(pieces: &[String], text: &str) -> bool {
    let Some((first, rest)) = pieces.split_first() else { return text.is_empty() };
    let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
    let Some((last, middle)) = rest.split_last() else { return text.is_empty() };
    for piece in middle {
        let Some(at) = text.find(piece.as_str()) else { return false };
        text = text.get(at + piece.len()..).unwrap_or_default();
    }
    text.ends_with(last.as_str())
}

fn without_defaults(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, behind)| behind);
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("llama-*", "llama-3", true),
            ("llama-*", "llama", false),
            ("*-8b", "x-8b", true),
            ("*-8b", "x-8b-y", false),
            ("a*b*", "aXbYc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("plain", "plain", true),
            ("plain", "plainer", false),
            ("a**b", "ab", true),
        ] {
            let pieces = pattern.split('*').map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(matches(&pieces, name), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_pattern_with_ollamas_defaults_is_refused_because_stripping_it_would_widen_it() {
        assert!(parse_pattern("library/*").is_err());
        assert!(parse_pattern("llama3:latest").is_err());
        assert!(parse_pattern("").is_err());
        assert_eq!(parse_pattern("Llama-*").unwrap(), ["llama-", ""]);
    }

    #[test]
    fn any_scheme_goes_as_ollama_lets_it_go() {
        for name in ["x://registry.ollama.ai/library/payroll", "://payroll", "HTTP://library/payroll:latest"]
        {
            assert_eq!(normalise_model(name), "payroll", "{name}");
        }
        assert_eq!(normalise_model("hf.co/org/payroll"), "hf.co/org/payroll");
        assert!(parse_pattern("x://payroll").is_err());
    }

    #[test]
    fn letters_that_fold_into_ascii_are_folded() {
        assert_eq!(normalise_model("\u{212a}imi"), "kimi");
    }
}
