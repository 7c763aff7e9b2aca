//! Checks on the text of a finished match, named in rules.

use super::{checksum, code, sequence, shape, stand_in};

/// What a check says about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its checksum or structure proves it: later checks are not asked.
    Genuine,
    /// Nothing speaks against it.
    Plausible,
    /// It is not a secret.
    Refuted,
}

/// One check, as named in a rule's `validators`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Validator {
    /// `entropy:N`: at least N bits a byte (Shannon).
    Entropy(f32),
    /// `digits:N`: at least N decimal digits.
    Digits(usize),
    /// `kinds:N`: characters of at least N kinds (lower case, upper case, digits, signs).
    Kinds(usize),
    /// `github-crc32`: GitHub's trailing checksum proves a token; a wrong one proves nothing.
    GithubCrc32,
    /// `npm-crc32`: the same for npm.
    NpmCrc32,
    /// `gatewayd-crc32`: the same for the gateway's own tokens.
    GatewaydCrc32,
    /// `pypi-macaroon`: a macaroon whose location is an index of packages.
    PypiMacaroon,
    /// `jwt-header`: the first segment is a JSON object that names an algorithm.
    JwtHeader,
    /// `base64-structure`: decodes as base64 to text that opens a JSON object.
    Base64Json,
    /// `base64`: decodes as base64 of full length.
    Base64,
    /// `basic-credentials`: base64 of `name:password`.
    BasicCredentials,
    /// `not-placeholder`: not a stand-in such as `changeme`, `xxxx` or `${VALUE}`.
    NotPlaceholder,
    /// `not-code`: not a name, a path or an expression of a program.
    NotCode,
    /// `not-path`: not an expression, nor words with signs between them; a word with a number in it may be a password.
    NotPath,
    /// `not-sample`: holds no long word that marks a sample, such as `example` or `xxxxxxxx`.
    NotSample,
    /// `not-sequence`: does not run along the alphabet, as `abc123def456` does.
    NotSequence,
    /// `not-hex`: not hexadecimal digits alone behind the last `-` or `_`.
    NotHex,
    /// `not-uuid`: not a UUID, which names things more often than it opens them.
    NotUuid,
    /// `no-space`: without white space.
    NoSpace,
    /// `not-reference`: not an expression that fetches a value from elsewhere, such as `config["pw"]`.
    NotReference,
    /// `not-name`: not words of small or of capital letters with single signs between them (`www-data`, `SOME_NAME`),
    /// nor an expression.
    NotName,
    /// `mixed`: the same as `kinds:2`; `mixed:N`: or at least N bytes.
    Mixed(usize),
}

/// The names of all checks, for messages.
const NAMES: &str = "entropy:N, digits:N, kinds:N, github-crc32, npm-crc32, gatewayd-crc32, pypi-macaroon, jwt-header, base64, base64-structure, \
                     basic-credentials, not-placeholder, not-code, not-path, not-reference, not-sample, not-sequence, not-hex, not-uuid, no-space, not-name, mixed, mixed:N";

impl Validator {
    /// Reads a check from its name in a rule.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("there is no validator `{name}`; use one of {NAMES}");
        if let Some((kind, argument)) = name.split_once(':') {
            return match kind {
                "entropy" => match argument.parse::<f32>() {
                    Ok(bits) if (0.0..=8.0).contains(&bits) => Ok(Self::Entropy(bits)),
                    _ => Err(format!("`{name}` needs a number of bits from 0 to 8, such as entropy:3.0")),
                },
                "digits" => count(name, argument).map(Self::Digits),
                "kinds" => count(name, argument).map(Self::Kinds),
                "mixed" => count(name, argument).map(Self::Mixed),
                _ => Err(unknown()),
            };
        }
        Ok(match name {
            "github-crc32" => Self::GithubCrc32,
            "npm-crc32" => Self::NpmCrc32,
            "gatewayd-crc32" => Self::GatewaydCrc32,
            "pypi-macaroon" => Self::PypiMacaroon,
            "jwt-header" => Self::JwtHeader,
            "base64-structure" => Self::Base64Json,
            "base64" => Self::Base64,
            "basic-credentials" => Self::BasicCredentials,
            "not-placeholder" => Self::NotPlaceholder,
            "not-code" => Self::NotCode,
            "not-path" => Self::NotPath,
            "not-sample" => Self::NotSample,
            "not-sequence" => Self::NotSequence,
            "not-hex" => Self::NotHex,
            "not-uuid" => Self::NotUuid,
            "no-space" => Self::NoSpace,
            "not-reference" => Self::NotReference,
            "not-name" => Self::NotName,
            "mixed" => Self::Mixed(usize::MAX),
            _ => return Err(unknown()),
        })
    }

    /// What it costs, in an order of its own. What proves a value comes first: it ends the questions.
    pub(super) fn price(self) -> u8 {
        match self {
            Self::GithubCrc32 | Self::NpmCrc32 | Self::GatewaydCrc32 => 0,
            Self::NotUuid | Self::NotHex | Self::NoSpace => 1,
            Self::Digits(_) | Self::Kinds(_) | Self::Mixed(_) => 2,
            Self::Entropy(_) => 3,
            Self::NotSequence | Self::NotName | Self::NotPath | Self::NotReference => 4,
            Self::NotCode | Self::NotSample | Self::NotPlaceholder => 5,
            Self::JwtHeader | Self::PypiMacaroon | Self::Base64 | Self::Base64Json => 6,
            Self::BasicCredentials => 7,
        }
    }

    /// Looks at a value.
    pub(super) fn check(self, value: &[u8]) -> Verdict {
        match self {
            Self::Entropy(bits) => plausible(shape::entropy(value) >= bits),
            Self::Digits(least) => plausible(value.iter().filter(|b| b.is_ascii_digit()).count() >= least),
            Self::GithubCrc32 | Self::NpmCrc32 => genuine(checksum::crc32_base62(value, 30)),
            Self::GatewaydCrc32 => genuine(checksum::crc32_base62(value, 43)),
            Self::PypiMacaroon => plausible(checksum::pypi_macaroon(value)),
            Self::JwtHeader => plausible(shape::jwt_header(value)),
            Self::Base64Json => plausible(shape::base64_json(value)),
            Self::Base64 => plausible(value.len().is_multiple_of(4) && shape::decode(value).is_ok()),
            Self::BasicCredentials => plausible(shape::basic_credentials(value)),
            Self::NotPlaceholder => plausible(!stand_in::placeholder(value)),
            Self::NotCode => plausible(!code::code(value)),
            Self::NotPath => plausible(!code::path(value)),
            Self::NotSample => plausible(!stand_in::sample(value)),
            Self::NotSequence => plausible(!sequence::sequence(value)),
            Self::NotHex => plausible(!shape::hex(value)),
            Self::NotUuid => plausible(!shape::uuid(value)),
            Self::NoSpace => plausible(!value.iter().any(u8::is_ascii_whitespace)),
            Self::NotReference => plausible(!code::reference(value)),
            Self::NotName => plausible(!code::name(value) && !code::reference(value)),
            Self::Kinds(least) => plausible(shape::kinds(value) >= least),
            Self::Mixed(long) => plausible(value.len() >= long || shape::kinds(value) >= 2),
        }
    }
}

impl Validator {
    /// Looks at the beginning of a value of at least `shortest` bytes, where there is no more of it: what only a whole
    /// value can show is not asked.
    pub(super) fn check_beginning(self, value: &[u8], shortest: usize) -> Verdict {
        match self {
            Self::GithubCrc32 | Self::NpmCrc32 | Self::GatewaydCrc32 | Self::Base64 => Verdict::Plausible,
            // A header alone is public.
            Self::JwtHeader => plausible(value.contains(&b'.') && shape::jwt_header(value)),
            // Fewer bytes hold fewer different ones.
            Self::Entropy(bits) => plausible(shape::entropy(value) >= bits * share(value.len(), shortest)),
            Self::NotSample => plausible(!stand_in::sample_beginning(value)),
            Self::NotPlaceholder => {
                plausible(!stand_in::placeholder(value) && !stand_in::sample_beginning(value))
            }
            whole => whole.check(value),
        }
    }
}

/// How much of the entropy that `whole` bytes can have `length` of them can have.
fn share(length: usize, whole: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "values are far shorter than 2^24 bytes")]
    let bits = |length: usize| (length.max(2) as f32).log2();
    (bits(length) / bits(whole)).min(1.0)
}

fn count(name: &str, argument: &str) -> Result<usize, String> {
    argument.parse().map_err(|_| format!("`{name}` needs a whole number, such as digits:2"))
}

fn plausible(holds: bool) -> Verdict {
    if holds { Verdict::Plausible } else { Verdict::Refuted }
}

fn genuine(proven: bool) -> Verdict {
    if proven { Verdict::Genuine } else { Verdict::Plausible }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_wrong_ones_explained() {
        assert_eq!(Validator::parse("entropy:3.5"), Ok(Validator::Entropy(3.5)));
        assert_eq!(Validator::parse("digits:2"), Ok(Validator::Digits(2)));
        assert_eq!(Validator::parse("jwt-header"), Ok(Validator::JwtHeader));
        for wrong in ["entropy", "entropy:", "entropy:9", "entropy:NaN", "digits:x", "kinds:", "luck:3", ""] {
            let problem = Validator::parse(wrong).expect_err(wrong);
            assert!(problem.contains("entropy") || problem.contains("number"), "{problem}");
        }
    }

    #[test]
    fn a_beginning_is_judged_as_what_it_may_become() {
        let beginning = |check: Validator, value: &str| check.check_beginning(value.as_bytes(), 20);
        assert_eq!(beginning(Validator::NotSample, "AKIAIOSFODNN7EXA"), Verdict::Refuted);
        assert_eq!(beginning(Validator::NotPlaceholder, "AKIAIOSFODNN7EXAM"), Verdict::Refuted);
        assert_eq!(beginning(Validator::NotSample, "AKIAIOSFODNN7Q3RT"), Verdict::Plausible);
        // Twelve different characters have 3.6 bits each, twenty 4.3.
        assert_eq!(Validator::Entropy(4.2).check(b"abcdefghijkl"), Verdict::Refuted);
        assert_eq!(beginning(Validator::Entropy(4.2), "abcdefghijkl"), Verdict::Plausible);
        assert_eq!(beginning(Validator::Entropy(4.2), "abcabcabcabc"), Verdict::Refuted);
    }

    #[test]
    fn a_right_checksum_overrules_and_a_wrong_one_does_not_refute() {
        // "a" repeated has no entropy at all, yet the checksum of GitHub makes it a token.
        let mut token = b"ghp_".to_vec();
        token.extend(std::iter::repeat_n(b'a', 30));
        token.extend(checksum::crc32_digits(&[b'a'; 30]));
        assert_eq!(Validator::GithubCrc32.check(&token), Verdict::Genuine);
        let last = token.len() - 1;
        token[last] ^= 1;
        assert_eq!(Validator::GithubCrc32.check(&token), Verdict::Plausible);
    }
}
