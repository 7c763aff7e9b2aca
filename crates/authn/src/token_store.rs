//! Tokens for programs, issued by the gateway itself.
//!
//! All tokens are held in memory, by hash, so that a request costs one SHA-256 and one look-up. Another
//! process (the command line) may write to the same file: at most every quarter of a second a request
//! asks SQLite whether the file has changed, and reads it again if so. If that has not worked for a
//! second, nobody is let in with such a token.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use gatewayd_core::{Clock, Event, EventKind, Identity, IdentityKind, Journal, Secret, Timestamp};
use subtle::ConstantTimeEq as _;

use crate::Error;
use crate::error::Rejected;
use crate::gateway_token::{SecretHash, TOKEN_PREFIX, generate, hash, random_name};
use crate::local_admin;
use crate::token_db::TokenDb;

/// How old the knowledge of the file may be before a request looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How old it may be before no token is believed.
const TOO_OLD: Duration = Duration::from_secs(1);
/// A token's last use is kept to this grain.
const USE_GRAIN: Duration = Duration::from_secs(60);
const LONGEST_TTL: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// What a new token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The program it is for; several tokens may have the same subject.
    pub subject: String,
    /// The groups it is in.
    pub groups: Vec<String>,
    /// How long it is good.
    pub ttl: Duration,
    /// Who makes it, for people to read.
    pub created_by: String,
}

/// What is known of a token. Not its secret: that is known to its holder alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TokenInfo {
    /// Names the token in lists and records.
    pub id: Arc<str>,
    /// The program it is for.
    pub subject: Arc<str>,
    /// The groups it is in, sorted.
    #[serde(serialize_with = "as_list")]
    pub groups: Arc<[Arc<str>]>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Arc<str>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
    /// Who revoked it.
    pub revoked_by: Option<Arc<str>>,
    /// When it was last used, to the minute.
    pub last_used: Option<Timestamp>,
}

/// The store of gateway tokens. Clones are the same store.
#[derive(Clone)]
pub struct TokenStore(Arc<Inner>);

struct Inner {
    /// Only reads, and only for moments: a request may wait for it. Writers never hold up readers (WAL).
    reader: Mutex<TokenDb>,
    /// Waits for the disk.
    writer: Mutex<TokenDb>,
    clock: Arc<dyn Clock>,
    known: ArcSwap<Known>,
    /// When the file was last seen unchanged, in milliseconds since `opened`.
    looked: AtomicU64,
    opened: Instant,
    /// The last look failed, and that was said.
    failing: AtomicBool,
}

/// The file's content at one time.
struct Known {
    version: i64,
    tokens: HashMap<SecretHash, Arc<Token>>,
}

struct Token {
    hash: SecretHash,
    identity: Identity,
    info: TokenInfo,
    last_used: AtomicI64,
    /// What of `last_used` is in the file.
    kept_used: AtomicI64,
}

impl TokenStore {
    /// Opens the store, making it if it is not there, readable by its owner alone.
    ///
    /// # Errors
    /// If the file cannot be used, or was written by a later version.
    pub fn open(path: impl AsRef<Path>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let writer = TokenDb::open(path.as_ref())?;
        let reader = writer.reader()?;
        let known = Known::read(&reader, None)?;
        Ok(Self(Arc::new(Inner {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
            clock,
            known: ArcSwap::from_pointee(known),
            looked: AtomicU64::new(0),
            opened: Instant::now(),
            failing: AtomicBool::new(false),
        })))
    }

    /// Makes a token. The secret is shown this once; the store keeps its hash.
    ///
    /// # Errors
    /// If what is asked does not hold, or cannot be stored.
    pub fn create(&self, new: &NewToken) -> Result<(Secret, TokenInfo), Error> {
        let (secret, hash, info) = self.draft(new)?;
        self.keep(&hash, &info)?;
        Ok((secret, info))
    }

    /// As [`create`](Self::create), once the journal has it.
    ///
    /// # Errors
    /// As for `create`, and if the journal cannot take it; then no token was made.
    pub async fn create_recorded(
        &self,
        new: &NewToken,
        actor: Option<Identity>,
        journal: &dyn Journal,
    ) -> Result<(Secret, TokenInfo), Error> {
        let (secret, hash, info) = self.draft(new)?;
        record(journal, EventKind::TokenCreated, actor, &info, "created").await?;
        self.keep(&hash, &info)?;
        Ok((secret, info))
    }

    /// All tokens, oldest first, ended and revoked ones too.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn list(&self) -> Result<Vec<TokenInfo>, Error> {
        let known = self.0.known.load();
        let mut all: Vec<TokenInfo> = lock(&self.0.reader).all()?.into_iter().map(|(_, info)| info).collect();
        for info in &mut all {
            // What this process saw and has not written yet.
            let used =
                known.tokens.values().find(|token| token.info.id == info.id).and_then(|token| token.used());
            info.last_used = info.last_used.max(used);
        }
        Ok(all)
    }

    /// Revokes a token, from the next request on; in other processes within a second.
    ///
    /// # Errors
    /// If there is no such token, or it cannot be written.
    pub fn revoke(&self, id: &str, by: &str) -> Result<TokenInfo, Error> {
        let info = {
            let db = lock(&self.0.writer);
            db.revoke(id, self.0.clock.now(), by)?;
            db.get(id)?.ok_or_else(|| Error::NoSuchToken(id.to_owned()))?
        };
        self.read_again(&lock(&self.0.reader))?;
        Ok(info)
    }

    /// As [`revoke`](Self::revoke), once the journal has it.
    ///
    /// # Errors
    /// As for `revoke`, and if the journal cannot take it; then the token was not revoked.
    pub async fn revoke_recorded(
        &self,
        id: &str,
        by: &str,
        actor: Option<Identity>,
        journal: &dyn Journal,
    ) -> Result<TokenInfo, Error> {
        let info = lock(&self.0.reader).get(id)?.ok_or_else(|| Error::NoSuchToken(id.to_owned()))?;
        record(journal, EventKind::TokenRevoked, actor, &info, "revoked").await?;
        self.revoke(id, by)
    }

    /// Writes down when tokens were last used. [`Authn::refresh`](crate::Authn::refresh) does it each minute.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_last_used(&self) -> Result<(), Error> {
        let known = self.0.known.load_full();
        let news: Vec<(&Arc<Token>, Timestamp)> =
            known.tokens.values().filter_map(|token| Some((token, token.unkept_use()?))).collect();
        if news.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = news.iter().map(|(token, at)| (Arc::clone(&token.info.id), *at)).collect();
        lock(&self.0.writer).note_used(&rows)?;
        for (token, at) in news {
            token.kept_used.store(at.0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// True if this could be a gateway token at all.
    pub(crate) fn is_meant(presented: &str) -> bool {
        presented.starts_with(TOKEN_PREFIX)
    }

    /// Who holds this token.
    pub(crate) fn check(&self, presented: &str) -> Result<Identity, Rejected> {
        let hash = hash(TOKEN_PREFIX, presented).ok_or(Rejected::Malformed)?;
        self.look_again()?;
        let known = self.0.known.load();
        let token = known.tokens.get(&hash).ok_or(Rejected::UnknownToken)?;
        // The map was asked by a hash that a caller cannot steer; this makes the last word constant-time.
        if !bool::from(token.hash.ct_eq(&hash)) || token.info.revoked_at.is_some() {
            return Err(Rejected::UnknownToken);
        }
        let now = self.0.clock.now();
        if now >= token.info.expires_at {
            return Err(Rejected::Expired);
        }
        token.use_at(now);
        Ok(token.identity.clone())
    }

    /// True if the file was readable a moment ago.
    pub(crate) fn is_readable(&self) -> bool {
        self.look_again().is_ok()
    }

    fn look_again(&self) -> Result<(), Rejected> {
        let age = self.age();
        if age < LOOK_AGAIN {
            return Ok(());
        }
        let db = match self.0.reader.try_lock() {
            Ok(db) => db,
            // Somebody is looking: the knowledge at hand serves until it is too old, then its news is awaited.
            Err(TryLockError::WouldBlock) if age < TOO_OLD => return Ok(()),
            Err(_) => lock(&self.0.reader),
        };
        if self.age() < LOOK_AGAIN {
            return Ok(());
        }
        let outcome = match db.version() {
            Ok(version) if version == self.0.known.load().version => {
                self.mark_looked();
                Ok(())
            }
            Ok(_) => self.read_again(&db),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.0.failing.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => {
                // Said once, not at every request.
                if !self.0.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the token store cannot be read; while that lasts, gateway tokens are refused");
                }
                if age < TOO_OLD { Ok(()) } else { Err(Rejected::NoStore) }
            }
        }
    }

    fn read_again(&self, db: &TokenDb) -> Result<(), Error> {
        let known = Known::read(db, Some(&self.0.known.load()))?;
        self.0.known.store(Arc::new(known));
        self.mark_looked();
        Ok(())
    }

    fn draft(&self, new: &NewToken) -> Result<(Secret, SecretHash, TokenInfo), Error> {
        check_text("the subject", &new.subject)?;
        check_text("the maker", &new.created_by)?;
        new.groups.iter().try_for_each(|group| check_text("a group", group))?;
        if new.subject == local_admin::SUBJECT {
            return Err(Error::NewToken(format!("the subject `{}` is reserved", local_admin::SUBJECT)));
        }
        if new.ttl < Duration::from_secs(1) || new.ttl > LONGEST_TTL {
            return Err(Error::NewToken(
                "it must be good for at least a second and at most ten years".into(),
            ));
        }
        let secret = generate(TOKEN_PREFIX)?;
        let hash = hash(TOKEN_PREFIX, &secret).ok_or(Error::Randomness)?;
        let mut groups: Vec<Arc<str>> = new.groups.iter().map(|group| group.as_str().into()).collect();
        groups.sort_unstable();
        groups.dedup();
        let now = self.0.clock.now();
        let info = TokenInfo {
            id: random_name("tok_", 12)?.into(),
            subject: new.subject.as_str().into(),
            groups: groups.into(),
            created_at: now,
            created_by: new.created_by.as_str().into(),
            expires_at: now.plus(new.ttl),
            revoked_at: None,
            revoked_by: None,
            last_used: None,
        };
        Ok((Secret::new(secret.as_bytes().to_vec()), hash, info))
    }

    fn keep(&self, hash: &SecretHash, info: &TokenInfo) -> Result<(), Error> {
        lock(&self.0.writer).insert(hash, info)?;
        self.read_again(&lock(&self.0.reader))
    }

    fn age(&self) -> Duration {
        let looked = Duration::from_millis(self.0.looked.load(Ordering::Acquire));
        self.0.opened.elapsed().saturating_sub(looked)
    }

    fn mark_looked(&self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.looked.store(now, Ordering::Release);
    }
}

impl std::fmt::Debug for TokenStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenStore({} tokens)", self.0.known.load().tokens.len())
    }
}

impl Known {
    fn read(db: &TokenDb, before: Option<&Self>) -> Result<Self, Error> {
        // Asked first: what is written in between is read twice rather than never.
        let version = db.version()?;
        let issuer: Arc<str> = "gatewayd".into();
        let tokens = db.all()?.into_iter().map(|(hash, info)| {
            let kept = info.last_used.map_or(0, |at| at.0);
            let seen = before.and_then(|known| known.tokens.get(&hash));
            let used = seen.map_or(kept, |token| token.last_used.load(Ordering::Relaxed)).max(kept);
            let identity = Identity {
                kind: IdentityKind::GatewayToken,
                issuer: Arc::clone(&issuer),
                subject: Arc::clone(&info.subject),
                name: None,
                groups: Arc::clone(&info.groups),
                expires: Some(info.expires_at),
            };
            let token = Token { hash, identity, info, last_used: used.into(), kept_used: kept.into() };
            (hash, Arc::new(token))
        });
        Ok(Self { version, tokens: tokens.collect() })
    }
}

impl Token {
    fn used(&self) -> Option<Timestamp> {
        Some(Timestamp(self.last_used.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    fn unkept_use(&self) -> Option<Timestamp> {
        self.used().filter(|at| at.0 != self.kept_used.load(Ordering::Relaxed))
    }

    /// Written only when a minute has gone by, so that busy tokens do not share a cache line being written.
    fn use_at(&self, now: Timestamp) {
        let before = Timestamp(self.last_used.load(Ordering::Relaxed));
        if now.since(before) >= USE_GRAIN {
            self.last_used.store(now.0, Ordering::Relaxed);
        }
    }
}

/// A panic inside SQLite's calls leaves a connection that is still sound.
fn lock(db: &Mutex<TokenDb>) -> MutexGuard<'_, TokenDb> {
    db.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn record(
    journal: &dyn Journal,
    kind: EventKind,
    actor: Option<Identity>,
    info: &TokenInfo,
    outcome: &str,
) -> Result<(), Error> {
    let event = Event { kind, actor, object: Arc::clone(&info.id), outcome: outcome.into(), request: None };
    Ok(journal.record(event).await?)
}

fn check_text(what: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return Err(Error::NewToken(format!(
            "{what} must be 1 to 255 bytes long, without control characters"
        )));
    }
    Ok(())
}

fn as_list<S: serde::Serializer>(groups: &Arc<[Arc<str>]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(groups.iter().map(|group| &**group))
}
