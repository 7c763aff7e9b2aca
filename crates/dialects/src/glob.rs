//! Globs over model names: `*` is any text, also none; everything else is itself.

/// A compiled glob.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    /// The texts between the stars.
    pieces: Vec<Box<str>>,
}

impl Glob {
    pub(crate) fn new(glob: &str) -> Self {
        Self { pieces: glob.split('*').map(Box::from).collect() }
    }

    /// True if it matches every name.
    pub(crate) fn is_everything(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.iter().all(|piece| piece.is_empty())
    }

    /// Linear in the text for each piece; the first place a piece fits is as good as any.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let Some((first, others)) = self.pieces.split_first() else { return false };
        let Some(mut rest) = text.strip_prefix(&**first) else { return false };
        let Some((last, middle)) = others.split_last() else { return rest.is_empty() };
        for piece in middle {
            let Some(at) = rest.find(&**piece) else { return false };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_text() {
        for (glob, yes, no) in [
            ("llama", &["llama"][..], &["llama3", "Llama", ""][..]),
            ("llama*", &["llama", "llama3:8b"], &["xllama"]),
            ("*", &["", "a", "a/b"], &[]),
            ("*:8b", &["llama:8b"], &["llama:8bx", "8b"]),
            ("a*b*c", &["abc", "axbxc", "abcbc"], &["ab", "acb", "aXc"]),
            ("ab*ba", &["abba", "abxba"], &["aba"]),
            ("", &[""], &["a"]),
        ] {
            let glob_ = Glob::new(glob);
            for text in yes {
                assert!(glob_.matches(text), "{glob} {text}");
            }
            for text in no {
                assert!(!glob_.matches(text), "{glob} {text}");
            }
        }
        assert!(Glob::new("*").is_everything() && Glob::new("**").is_everything());
        assert!(!Glob::new("").is_everything() && !Glob::new("a*").is_everything());
    }
}
