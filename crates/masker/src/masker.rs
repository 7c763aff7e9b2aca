//! The masker itself: rules and known secrets, made ready to run.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::emit::Manner;
use crate::format::Names;
use crate::known::{KnownSecretError, KnownSecrets};
use crate::lane::Session;
use crate::report::{Finding, MaskEvent};
use crate::rule::{self, Rule, RuleError, Tier};
use crate::scan::{Engine, KNOWN, Machines, Span};
use crate::stream::Stream;

/// Finds secrets and replaces them. A cheap handle: clones share everything.
///
/// ```
/// use gatewayd_masker::Masker;
///
/// let masker = Masker::builder().build()?;
/// let masked = masker.mask(b"key: AKIAZQ3DRSTUVWXY2345");
/// assert_eq!(masked, b"key: [REDACTED:aws-access-key-id]");
/// # Ok::<(), gatewayd_masker::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Masker {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
pub(crate) struct Inner {
    pub(crate) machines: Machines,
    pub(crate) known: KnownSecrets,
    pub(crate) lookbehind: usize,
    pub(crate) names: Names,
    ids: Vec<Arc<str>>,
    known_id: Arc<str>,
    style: Placeholder,
    key: Option<Zeroizing<Vec<u8>>>,
    suffix: bool,
}

/// What stands where a secret was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Placeholder {
    /// `[REDACTED:rule-id]`.
    #[default]
    Label,
    /// A text of your own, in which `{rule}` becomes the id of the rule. Printable ASCII without quotes and
    /// backslashes, so that it is the same in JSON, a header and plain text.
    Text(String),
    /// As many `*` as the secret had bytes.
    Stars,
}

/// Collects what a [`Masker`] is made of.
#[derive(Default)]
pub struct Builder {
    rules: Option<Vec<Rule>>,
    more: Vec<Rule>,
    tiers: Option<Vec<Tier>>,
    disabled: Vec<String>,
    known: KnownSecrets,
    values: Vec<Zeroizing<Vec<u8>>>,
    style: Placeholder,
    key: Option<Zeroizing<Vec<u8>>>,
    suffix: bool,
    engine: Engine,
}

/// Why a masker cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A rule does not work.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A known secret cannot be registered.
    #[error(transparent)]
    KnownSecret(#[from] KnownSecretError),
    /// Two rules have one name.
    #[error("there are two rules with the id `{0}`; rename one, or disable the built-in one")]
    TwoRules(String),
    /// A rule that is to be switched off does not exist.
    #[error("there is no rule `{0}` to disable; see the list of rules for its name")]
    NoSuchRule(String),
    /// The placeholder would break the formats it is put into.
    #[error("the placeholder must be 1 to 200 printable ASCII characters without quotes and backslashes")]
    Placeholder,
    /// A correlation suffix without a key could be reversed by guessing.
    #[error("a correlation suffix needs a fingerprint key; set one of at least 16 bytes")]
    SuffixWithoutKey,
    /// The fingerprint key can be guessed.
    #[error("the fingerprint key has fewer than 16 bytes; use 32 random ones")]
    WeakKey,
}

impl Masker {
    /// Starts with the built-in rules of the default tier and no known secrets.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The known secrets of this masker; values can be added and withdrawn at any time.
    #[must_use]
    pub fn known(&self) -> &KnownSecrets {
        &self.inner.known
    }

    /// Masks a whole text.
    #[must_use]
    pub fn mask(&self, text: &[u8]) -> Vec<u8> {
        self.mask_with_events(text).0
    }

    /// Masks a whole text and says what was masked.
    #[must_use]
    pub fn mask_with_events(&self, text: &[u8]) -> (Vec<u8>, Vec<MaskEvent>) {
        let mut session = Session::new(Arc::clone(&self.inner));
        let masked = session.mask(text, b"", &|| "text".to_owned()).unwrap_or_else(|| text.to_vec());
        (masked, session.take_events())
    }

    /// The secrets in a whole text, in order. Overlapping and adjacent ones are one.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Vec<Finding> {
        let position = |pos: u64| usize::try_from(pos).unwrap_or(usize::MAX);
        Session::new(Arc::clone(&self.inner))
            .find(text)
            .into_iter()
            .map(|span| Finding {
                rule: self.inner.id(span.rule),
                range: position(span.start)..position(span.end),
            })
            .collect()
    }

    /// Masks a plain text that arrives in pieces.
    #[must_use]
    pub fn stream(&self) -> Stream {
        Stream::new(Session::new(Arc::clone(&self.inner)))
    }

    /// The ids of the rules in force.
    pub fn rules(&self) -> impl Iterator<Item = &str> {
        self.inner.ids.iter().map(AsRef::as_ref)
    }

    /// How many bytes of memory the compiled rules take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inner.machines.memory()
    }
}

impl Builder {
    /// Uses these rules instead of the built-in ones.
    #[must_use]
    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules = Some(rules.into_iter().collect());
        self
    }

    /// Adds rules to the built-in ones, whatever their tier.
    #[must_use]
    pub fn add_rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.more.extend(rules);
        self
    }

    /// Which tiers of rules are on; the default tier alone if this is not called.
    #[must_use]
    pub fn tiers(mut self, tiers: impl IntoIterator<Item = Tier>) -> Self {
        self.tiers = Some(tiers.into_iter().collect());
        self
    }

    /// Switches one rule off.
    #[must_use]
    pub fn disable(mut self, rule: impl Into<String>) -> Self {
        self.disabled.push(rule.into());
        self
    }

    /// Shares a set of known secrets with others.
    #[must_use]
    pub fn known(mut self, known: KnownSecrets) -> Self {
        self.known = known;
        self
    }

    /// Adds one known secret.
    #[must_use]
    pub fn known_secret(mut self, value: impl AsRef<[u8]>) -> Self {
        self.values.push(Zeroizing::new(value.as_ref().to_vec()));
        self
    }

    /// What stands where a secret was.
    #[must_use]
    pub fn placeholder(mut self, style: Placeholder) -> Self {
        self.style = style;
        self
    }

    /// A key of this deployment, under which each masked value gets a fingerprint in its event.
    #[must_use]
    pub fn fingerprint_key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.key = Some(Zeroizing::new(key.as_ref().to_vec()));
        self
    }

    /// Puts eight hex digits of the fingerprint into the placeholder, so that a reader can tell equal secrets
    /// from different ones: `[REDACTED:jwt#1f2e3d4c]`. Off by default.
    #[must_use]
    pub fn correlation_suffix(mut self, on: bool) -> Self {
        self.suffix = on;
        self
    }

    /// What looks for the places in large texts where a secret may begin. What is masked is the same with each.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Compiles everything.
    ///
    /// # Errors
    /// Says which rule and which field of it cannot be used, and why.
    pub fn build(self) -> Result<Masker, BuildError> {
        let weak = self.key.as_ref().is_some_and(|key| key.len() < 16);
        if weak {
            return Err(BuildError::WeakKey);
        }
        if self.suffix && self.key.is_none() {
            return Err(BuildError::SuffixWithoutKey);
        }
        check_style(&self.style)?;
        let tiers = self.tiers.unwrap_or_else(|| vec![Tier::Default]);
        let mut rules = self.rules.unwrap_or_else(rule::builtin);
        let named: Vec<String> = rules.iter().chain(&self.more).map(|rule| rule.id.clone()).collect();
        if let Some(missing) = self.disabled.iter().find(|id| !named.contains(id)) {
            return Err(BuildError::NoSuchRule(missing.clone()));
        }
        rules.retain(|rule| tiers.contains(&rule.tier));
        rules.extend(self.more);
        rules.retain(|rule| !self.disabled.contains(&rule.id));
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = rules.iter().find(|rule| !seen.insert(rule.id.as_str())) {
            return Err(BuildError::TwoRules(twice.id.clone()));
        }
        self.known.extend(self.values.iter().map(|value| value.as_slice()))?;
        let machines = Machines::new(&rules, self.key.as_ref().map(|key| key.as_slice()), self.engine)?;
        let inner = Inner {
            lookbehind: machines.lookbehind(),
            names: Names::default(),
            machines,
            known: self.known,
            ids: rules.iter().map(|rule| rule.id.as_str().into()).collect(),
            known_id: "known-secret".into(),
            style: self.style,
            key: self.key,
            suffix: self.suffix,
        };
        Ok(Masker { inner: Arc::new(inner) })
    }
}

fn check_style(style: &Placeholder) -> Result<(), BuildError> {
    let Placeholder::Text(text) = style else { return Ok(()) };
    let safe = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"'\\".contains(&byte);
    let good = (1..=200).contains(&text.len()) && text.bytes().all(safe);
    if good { Ok(()) } else { Err(BuildError::Placeholder) }
}

impl Inner {
    pub(crate) fn stars(&self) -> bool {
        self.style == Placeholder::Stars
    }

    pub(crate) fn manner(&self, stars: bool) -> Manner<'_> {
        Manner { key: self.key.as_ref().map(|key| key.as_slice()), late: self.suffix && !stars }
    }

    pub(crate) fn id(&self, rule: u16) -> Arc<str> {
        if rule == KNOWN {
            return Arc::clone(&self.known_id);
        }
        self.ids.get(usize::from(rule)).unwrap_or(&self.known_id).clone()
    }

    pub(crate) fn placeholder(&self, stars: bool, rule: u16, print: Option<[u8; 32]>, out: &mut Vec<u8>) {
        if stars {
            return;
        }
        let id = if rule == KNOWN { Some(&self.known_id) } else { self.ids.get(usize::from(rule)) };
        let id = id.map_or("secret", |id| id.as_ref());
        let suffix = print.map(|print| format!("#{}", hex(print.get(..4).unwrap_or_default())));
        let suffix = suffix.as_deref().unwrap_or_default();
        match &self.style {
            Placeholder::Text(text) => {
                out.extend(text.replace("{rule}", &format!("{id}{suffix}")).into_bytes());
            }
            _ => {
                for part in ["[REDACTED:", id, suffix, "]"] {
                    out.extend_from_slice(part.as_bytes());
                }
            }
        }
    }

    pub(crate) fn drop_bytes(&self, stars: bool, count: u64, out: &mut Vec<u8>) {
        if stars {
            out.resize(out.len() + usize::try_from(count).unwrap_or_default(), b'*');
        }
    }

    pub(crate) fn event(&self, span: Span, origin: u64, print: Option<[u8; 32]>, lane: String) -> MaskEvent {
        MaskEvent {
            rule: self.id(span.rule),
            lane,
            offset: span.start.saturating_sub(origin),
            length: span.end - span.start,
            fingerprint: print.map(|print| hex(&print)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masker({} rules, {} known secrets)", self.ids.len(), self.known.len())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("known", &self.known)
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}
