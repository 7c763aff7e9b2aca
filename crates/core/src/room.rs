//! How much of all request bodies may be kept in memory, or on disk, at once: in all, and of one caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::Identity;

/// The first bytes of each body are not counted: connections are bounded themselves, and most requests are small.
const UNCOUNTED: u64 = 16 << 10;

/// Room for the bytes of bodies. Cheap to clone; a clone is the same room.
///
/// Whoever keeps a body [opens](Self::open) an account for it, [adds](Taken::add) what comes, and keeps the account as long
/// as the bytes.
///
/// ```
/// use gatewayd_core::{NoRoom, Room};
///
/// let room = Room::new(1 << 20, 256 << 10);
/// let mut kept = room.open(None);
/// kept.add(200 << 10)?;
/// assert_eq!(kept.add(200 << 10), Err(NoRoom::Caller(256 << 10)));
/// drop(kept);
/// assert_eq!(room.taken(), 0);
/// # Ok::<(), NoRoom>(())
/// ```
#[derive(Debug, Clone)]
// Locked when a body outgrows what is not counted, and when that body is done with.
pub struct Room(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    in_all: u64,
    per_caller: u64,
    taken: u64,
    callers: HashMap<Arc<str>, Of>,
}

#[derive(Debug, Default)]
struct Of {
    taken: u64,
    accounts: usize,
}

/// Why there is no room, and how much there is in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The caller's own requests fill the share of one caller.
    #[error(
        "the requests of this caller that are under way hold all of the {0} bytes that one caller may hold; wait for some of them to end, or send smaller ones"
    )]
    Caller(u64),
    /// The requests of all callers fill it.
    #[error(
        "the requests under way hold all of the {0} bytes that this gateway keeps for them; send this one again a little later"
    )]
    All(u64),
}

impl Room {
    /// Room for so many bytes in all, and of one caller.
    #[must_use]
    pub fn new(in_all: u64, per_caller: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner { in_all, per_caller, taken: 0, callers: HashMap::new() })))
    }

    /// From now on there is room for so many. What is taken stays taken.
    pub fn resize(&self, in_all: u64, per_caller: u64) {
        let mut inner = self.lock();
        (inner.in_all, inner.per_caller) = (in_all, per_caller);
    }

    /// An account for one body of this caller. All callers that nobody knows are one.
    #[must_use]
    pub fn open(&self, caller: Option<&Identity>) -> Taken {
        Taken { room: self.clone(), caller: Caller::Unlisted(caller.cloned()), bytes: 0 }
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes more for a caller that is listed.
    fn take(&self, caller: &Arc<str>, bytes: u64) -> Result<(), NoRoom> {
        let mut inner = self.lock();
        let (share, most, taken) = (inner.per_caller, inner.in_all, inner.taken.saturating_add(bytes));
        let of = inner.callers.entry(Arc::clone(caller)).or_default();
        if of.taken.saturating_add(bytes) > share {
            return Err(NoRoom::Caller(share));
        }
        if taken > most {
            return Err(NoRoom::All(most));
        }
        of.taken += bytes;
        inner.taken = taken;
        Ok(())
    }

    fn give_back(&self, caller: &Arc<str>, bytes: u64, closes: bool) {
        let mut inner = self.lock();
        inner.taken = inner.taken.saturating_sub(bytes);
        if let Some(of) = inner.callers.get_mut(caller) {
            of.taken = of.taken.saturating_sub(bytes);
            of.accounts = of.accounts.saturating_sub(usize::from(closes));
            if of.accounts == 0 {
                inner.callers.remove(caller);
            }
        }
    }
}

/// What one body takes; given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    room: Room,
    caller: Caller,
    bytes: u64,
}

#[derive(Debug)]
enum Caller {
    /// Has not taken anything that counts.
    Unlisted(Option<Identity>),
    Listed(Arc<str>),
}

impl Taken {
    /// Takes room for more bytes of this body.
    ///
    /// # Errors
    /// There is none; nothing was taken.
    pub fn add(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let bytes = bytes as u64;
        let (before, after) = (self.counted(), self.bytes.saturating_add(bytes).saturating_sub(UNCOUNTED));
        if after > before {
            let caller = self.listed();
            self.room.take(&caller, after - before)?;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Gives all of it back before its time: the bytes are elsewhere now.
    pub fn clear(&mut self) {
        let counted = self.counted();
        self.bytes = 0;
        if let Caller::Listed(caller) = &self.caller {
            self.room.give_back(caller, counted, false);
        }
    }

    /// The bytes, which from now on keep this account as long as there is a handle on any of them.
    #[must_use]
    pub fn keep(self, bytes: Bytes) -> Bytes {
        if self.counted() == 0 {
            return bytes;
        }
        Bytes::from_owner(Kept { bytes, _taken: self })
    }

    fn counted(&self) -> u64 {
        self.bytes.saturating_sub(UNCOUNTED)
    }

    fn listed(&mut self) -> Arc<str> {
        let key: Arc<str> = match &self.caller {
            Caller::Listed(key) => return Arc::clone(key),
            Caller::Unlisted(caller) => caller.as_ref().map(Identity::key).unwrap_or_default().into(),
        };
        self.room.lock().callers.entry(Arc::clone(&key)).or_default().accounts += 1;
        self.caller = Caller::Listed(Arc::clone(&key));
        key
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Caller::Listed(caller) = &self.caller {
            self.room.give_back(caller, self.counted(), true);
        }
    }
}

struct Kept {
    bytes: Bytes,
    _taken: Taken,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKind;

    const KIB: usize = 1 << 10;

    fn caller(subject: &str) -> Identity {
        Identity {
            kind: IdentityKind::Oidc,
            issuer: "https://id.example".into(),
            subject: subject.into(),
            name: None,
            groups: [].into(),
            expires: None,
        }
    }

    #[test]
    fn one_caller_fills_a_share_and_all_fill_the_whole() {
        let room = Room::new(300 << 10, 200 << 10);
        let (alice, bob) = (caller("alice"), caller("bob"));
        let mut first = room.open(Some(&alice));
        first.add(116 * KIB).unwrap();
        let mut second = room.open(Some(&alice));
        assert_eq!(second.add(117 * KIB), Err(NoRoom::Caller(200 << 10)), "two bodies of one caller");
        second.add(116 * KIB).unwrap();
        let mut third = room.open(Some(&bob));
        assert_eq!(third.add(117 * KIB), Err(NoRoom::All(300 << 10)));
        drop(first);
        third.add(117 * KIB).unwrap();
        assert_eq!(room.taken(), 201 << 10);
        drop((second, third));
        assert_eq!((room.taken(), room.lock().callers.len()), (0, 0));
    }

    #[test]
    fn what_is_small_is_not_counted_and_what_is_kept_is_given_back_with_its_last_handle() {
        let room = Room::new(0, 0);
        let mut small = room.open(None);
        small.add(16 * KIB).unwrap();
        assert_eq!(small.add(1), Err(NoRoom::Caller(0)));
        assert_eq!(small.keep(Bytes::from_static(b"x")), "x");
        room.resize(1 << 20, 1 << 20);
        let mut large = room.open(None);
        large.add(20 * KIB).unwrap();
        let bytes = large.keep(vec![7; 20 * KIB].into());
        let part = bytes.slice(3..5);
        drop(bytes);
        assert_eq!(room.taken(), 4 << 10);
        assert_eq!(&*part, [7, 7]);
        drop(part);
        assert_eq!((room.taken(), room.lock().callers.len()), (0, 0));
    }

    #[test]
    fn what_is_cleared_can_be_taken_again() {
        let room = Room::new(1 << 20, 1 << 20);
        let mut taken = room.open(None);
        taken.add(100 * KIB).unwrap();
        taken.clear();
        assert_eq!(room.taken(), 0);
        taken.add(100 * KIB).unwrap();
        drop(taken);
        assert_eq!((room.taken(), room.lock().callers.len()), (0, 0));
    }
}
