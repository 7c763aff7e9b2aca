//! A real recorded log that is damaged again and again: recorded once, copied to memory, put back each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatewayd_core::{Body, Event, EventKind, Journal as _, Trail};
use gatewayd_recorder::verify::{Damage, Options, Report, verify};
use gatewayd_recorder::{PublicKey, Reader, Recorder, Target};
use http::{Request, Response};
use rusqlite::{Connection, params};
use sha2::Digest as _;

use crate::rig::{self, identity, request, send, stack, until, with};

/// Numbers that look random; `RECORDER_SEED` repeats a run.
pub struct Random(u64);

impl Random {
    /// The step of `SplitMix64`.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The seed of this run, told so that it can be repeated.
static SEED: LazyLock<u64> = LazyLock::new(|| {
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("RECORDER_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(clock);
    eprintln!("RECORDER_SEED={seed}");
    seed
});

/// The recorded log: one for all tests of the process.
struct Recorded {
    files: Files,
    key: PublicKey,
    /// A checkpoint from before the end.
    pinned: String,
    /// What somebody copied while it was written, each before the pinned checkpoint.
    older: Vec<Files>,
}

/// Files by their path in the directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (key, pinned) = runtime.block_on(fill(dir.path(), copies.path()));
    let older = fs::read_dir(copies.path()).unwrap().map(|copy| load(&copy.unwrap().path())).collect();
    Recorded { files: load(dir.path()), key, pinned, older }
});

fn load(dir: &Path) -> Files {
    let relative = |path: &Path| path.strip_prefix(dir).unwrap().to_owned();
    walk(dir).into_iter().map(|path| (relative(&path), fs::read(path).unwrap())).collect()
}

/// Requests of all kinds, enough for more than one tile, several segments, a hold and erasures.
async fn fill(dir: &Path, copies: &Path) -> (PublicKey, String) {
    let config = gatewayd_recorder::Config { segment_bytes: 3_000, ..rig::config(dir) };
    let recorder = Recorder::open(config, std::sync::Arc::new(gatewayd_core::SystemClock)).unwrap();
    let stack = stack(&recorder, |request: Request<Body>| async move {
        request.extensions().get::<Trail>().unwrap().mask(&"jwt".into(), 1);
        Response::new(Body::from(format!("hello {:?}", request.headers())))
    });
    let mut sessions = Vec::new();
    for n in 0..150 {
        let mut request = request(["alice", "bob", "carol"][n % 3], format!("question {n}"));
        if n % 5 == 0 {
            request = with(request, "x-claim", &format!("approval-{n}"));
        }
        if n % 7 == 0 {
            request = with(request, "x-refuse", "1");
        }
        sessions.push(send(&stack, request).await.0);
        if n % 10 == 0 {
            let object = format!("approval-{n}").into();
            let (kind, actor, outcome) = (EventKind::ApprovalVote, Some(identity("lead")), "approve".into());
            let request = sessions.last().copied();
            recorder.record(Event { kind, actor, object, outcome, request }).await.unwrap();
            Reader::open(dir).unwrap().copy_to(copies.join(n.to_string())).unwrap();
        }
    }
    let reader = Reader::open(dir).unwrap();
    let all = gatewayd_recorder::Filter { limit: 1000, ..Default::default() };
    until("all outcomes", || reader.list(&all).unwrap().iter().all(|s| s.ending != "open")).await;
    recorder.hold(&Target::Session(sessions[1]), None, "case 7").unwrap();
    let released = recorder.hold(&Target::Session(sessions[3]), None, "case 9").unwrap();
    recorder.release(released, Some(&identity("lead")), "settled").unwrap();
    for erased in [2, 4, 6] {
        recorder.erase(&Target::Session(sessions[erased]), Some(&identity("dpo")), "asked for").unwrap();
    }
    until("a checkpoint", || recorder.checkpoint().lines().nth(1).unwrap().parse::<u64>().unwrap() > 250)
        .await;
    let pinned = recorder.checkpoint().to_string();
    send(&stack, request("alice", "the last one")).await;
    (recorder.public_key().clone(), pinned)
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}

/// A copy of the recorded log that may be damaged.
pub struct Victim {
    dir: tempfile::TempDir,
}

impl Victim {
    /// In memory where the system has a directory for that: no disk is to be worn out.
    pub fn copy() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        fs::create_dir(dir.path().join("segments")).unwrap();
        let victim = Self { dir };
        victim.restore();
        victim
    }

    pub fn restore(&self) {
        self.put(&RECORDED.files);
    }

    /// Puts an older copy of the whole directory in its place.
    pub fn roll_back(&self, random: &mut Random) {
        self.put(random.pick(&RECORDED.older));
    }

    fn put(&self, files: &Files) {
        for path in walk(self.dir.path()) {
            if !files.contains_key(path.strip_prefix(self.dir.path()).unwrap()) {
                fs::remove_file(path).unwrap();
            }
        }
        for (name, bytes) in files {
            let path = self.dir.path().join(name);
            if fs::read(&path).ok().as_ref() != Some(bytes) {
                fs::write(path, bytes).unwrap();
            }
        }
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a file held before it was damaged.
    pub fn original(&self, name: impl AsRef<Path>) -> &'static [u8] {
        &RECORDED.files[name.as_ref()]
    }

    pub fn key(&self) -> &'static PublicKey {
        &RECORDED.key
    }

    pub fn pinned(&self) -> &'static str {
        &RECORDED.pinned
    }

    pub fn segments(&self) -> Vec<&'static Path> {
        let names = RECORDED.files.keys().map(PathBuf::as_path);
        names.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
    }

    pub fn database(&self) -> Connection {
        let db = Connection::open(self.path("evidence.db")).unwrap();
        // What is damaged is thrown away: neither a journal nor a sync is worth its time.
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        db
    }

    pub fn verify(&self, pinned: Option<&str>) -> Report {
        let options =
            Options { key: Some(self.key().clone()), pinned: pinned.map(Into::into), ..Options::default() };
        verify(self.dir.path(), &options).unwrap()
    }

    pub fn edit_leaves(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let db = self.database();
        let before = leaves(&db);
        let mut after = before.clone();
        change(&mut after);
        db.execute_batch("BEGIN").unwrap();
        for at in 0..before.len().max(after.len()) {
            let idx = i64::try_from(at).unwrap();
            match after.get(at) {
                None => db.prepare_cached("DELETE FROM leaves WHERE idx = ?1").unwrap().execute([idx]),
                Some(leaf) if before.get(at) == Some(leaf) => continue,
                Some(leaf) => db
                    .prepare_cached("INSERT OR REPLACE INTO leaves VALUES(?1, ?2)")
                    .unwrap()
                    .execute(params![idx, leaf]),
            }
            .unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }

    /// Indices of the entries of a kind.
    pub fn of_kind(&self, kind: u8) -> Vec<usize> {
        let all = leaves(&self.database());
        let found = all.iter().enumerate().filter(|(_, leaf)| leaf[1] == kind).map(|(at, _)| at).collect();
        self.restore();
        found
    }

    /// Indices of the requests that made a claim, each one.
    pub fn claiming(&self) -> Vec<usize> {
        let db = self.database();
        let mut query = db.prepare("SELECT session FROM claims ORDER BY session").unwrap();
        let found = query.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        found.map(|at| usize::try_from(at.unwrap()).unwrap()).collect()
    }

    /// Signs the log again as the holder of the key could: tiles, checkpoints and file fit the entries.
    pub fn sign_again(&self) {
        let db = self.database();
        let hashes: Vec<[u8; 32]> = leaves(&db).iter().map(|leaf| sha256(&[&[0], leaf])).collect();
        db.execute_batch("BEGIN; DELETE FROM checkpoints; DELETE FROM tiles").unwrap();
        for (n, tile) in hashes.chunks_exact(256).enumerate() {
            db.execute(
                "INSERT INTO tiles VALUES(0, ?1, ?2)",
                params![i64::try_from(n).unwrap(), tile.concat()],
            )
            .unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        let root = tlog_tiles::Hash(root(&hashes));
        let secret = fs::read_to_string(self.path("log.key")).unwrap();
        let signer = signed_note::StandardSigner::new(secret.trim_end()).unwrap();
        let text = format!("{}\n{}\n{root}\n", self.key().name(), hashes.len());
        let mut note = signed_note::Note::new(text.as_bytes(), &[]).unwrap();
        note.add_sigs(&[&signer]).unwrap();
        fs::write(self.path("checkpoint"), note.to_bytes()).unwrap();
    }
}

pub fn leaves(db: &Connection) -> Vec<Vec<u8>> {
    let mut query = db.prepare("SELECT data FROM leaves ORDER BY idx").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

/// The root of RFC 6962, section 2.1.
fn root(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [] => sha256(&[]),
        [only] => *only,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

/// Tries a kind of change `rounds` times at random places, on all processors. Each must be found: the report
/// ends with `code`, and begins with damage of one of `kinds`. So a change that changes nothing fails here.
pub fn each(
    rounds: usize,
    what: &str,
    (code, kinds): (u8, &[Damage]),
    change: impl Fn(&Victim, &mut Random) + Sync,
) {
    attempt(rounds, what, |victim, random| {
        change(victim, random);
        let report = victim.verify(None);
        let first = report.findings.first().unwrap_or_else(|| panic!("{what} is not found: {report}"));
        assert!(kinds.contains(&first.damage), "{what}: {report:#?}");
        assert_eq!(report.exit_code(), code, "{what}: {report}");
        assert!(report.to_string().starts_with(&format!("DAMAGED: {}", first.detail)), "{what}: {report}");
    });
}

/// Does something `rounds` times on all processors, each time with an undamaged log.
pub fn attempt(rounds: usize, what: &str, once: impl Fn(&Victim, &mut Random) + Sync) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let once = &once;
            scope.spawn(move || {
                let victim = Victim::copy();
                for round in (worker..rounds).step_by(workers) {
                    // From the name and the round, so that a failure can be repeated alone.
                    let name = what.bytes().fold(*SEED, |n, byte| n.rotate_left(7) ^ u64::from(byte));
                    once(&victim, &mut Random(name ^ (round as u64).rotate_left(32)));
                    victim.restore();
                }
            });
        }
    });
    eprintln!("{what}: {rounds} in {:.1} s", began.elapsed().as_secs_f64());
}
