//! Values that are secret because someone says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::scan::{HEAD, Known};
use crate::value::Value;

/// A set of values that are masked wherever they appear, in any common spelling.
///
/// It is a cheap handle: clones share one set. Values can be added and withdrawn while streams run; a stream
/// takes notice with its next piece.
///
/// ```
/// use gatewayd_masker::Masker;
///
/// let masker = Masker::builder().build()?;
/// masker.known().insert(b"correct horse battery")?;
/// assert_eq!(masker.mask(b"it is correct horse battery."), b"it is [REDACTED:known-secret].");
/// masker.known().remove(b"correct horse battery");
/// assert_eq!(masker.mask(b"it is correct horse battery."), b"it is correct horse battery.");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct KnownSecrets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How often each value is registered: it stays until it is withdrawn as often.
    values: Mutex<BTreeMap<Value, usize>>,
    table: RwLock<Arc<Known>>,
    generation: AtomicU64,
}

/// Why a value cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KnownSecretError {
    /// It would mask ordinary text.
    #[error(
        "a known secret of {0} bytes is too short to be told from ordinary text; use one of at least {HEAD}"
    )]
    TooShort(usize),
    /// It would be held back for too long.
    #[error("a known secret of {0} bytes is too long; register one of its lines, at most 16384 bytes")]
    TooLong(usize),
}

const LONGEST: usize = 16 << 10;

impl KnownSecrets {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. A value added twice has to be withdrawn twice.
    ///
    /// # Errors
    /// When the value is too short (under 6 bytes) or too long.
    pub fn insert(&self, value: &[u8]) -> Result<(), KnownSecretError> {
        self.extend([value])
    }

    /// Adds many values at once; the tables are built once.
    ///
    /// # Errors
    /// When one of them is too short or too long; then none is added.
    pub fn extend<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>) -> Result<(), KnownSecretError> {
        let values: Vec<_> = values.into_iter().collect();
        for value in &values {
            if value.len() < HEAD {
                return Err(KnownSecretError::TooShort(value.len()));
            }
            if value.len() > LONGEST {
                return Err(KnownSecretError::TooLong(value.len()));
            }
        }
        let mut set = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set.len();
        for value in values {
            *set.entry(Value::new(value)).or_default() += 1;
        }
        if set.len() != before {
            self.rebuild(&set);
        }
        Ok(())
    }

    /// Withdraws a value. Says whether it was there.
    pub fn remove(&self, value: &[u8]) -> bool {
        let mut set = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = set.get_mut(value) else { return false };
        *count -= 1;
        if *count == 0 {
            set.remove(value);
            self.rebuild(&set);
        }
        true
    }

    /// How many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes of memory the tables take.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.table().memory()
    }

    pub(crate) fn table(&self) -> Arc<Known> {
        Arc::clone(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the table in force; cheap to ask.
    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Called with the set locked, so that tables follow each other in order.
    fn rebuild(&self, set: &BTreeMap<Value, usize>) {
        let generation = self.generation() + 1;
        let table = Arc::new(Known::new(generation, set.keys().map(|value| &**value)));
        *self.0.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        self.0.generation.store(generation, Ordering::Release);
    }
}

impl std::fmt::Debug for KnownSecrets {
    /// Says how many, never which.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KnownSecrets({})", self.len())
    }
}
