//! Starts a life, strikes it, and looks at what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use gatewayd_core::{RequestId, SystemClock};
use gatewayd_recorder::verify::{Options, verify};
use gatewayd_recorder::{Error, Reader, Recorder};

use crate::life;

/// Which call is struck, and how.
#[derive(Debug, Clone)]
pub struct Strike {
    pub call: &'static str,
    pub kind: &'static str,
    pub first: u64,
    pub times: u64,
}

impl Strike {
    fn kills(&self) -> bool {
        self.kind.ends_with("kill")
    }
}

/// The library that strikes.
pub struct Shim {
    library: PathBuf,
    _dir: tempfile::TempDir,
}

/// What was seen of a life that held.
pub struct Outcome {
    pub struck: bool,
    /// Requests that were refused, some after they had been forwarded, and of which the log has a number only.
    pub declared: usize,
}

impl Shim {
    /// `None`, which is told, without a C compiler.
    pub fn build() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        match built {
            Ok(status) => assert!(status.success(), "cc could not build shim.c"),
            Err(error) => {
                eprintln!(
                    "SKIPPED: striking calls needs a C compiler (apt install build-essential): {error}"
                );
                return None;
            }
        }
        Some(Self { library, _dir: dir })
    }

    /// How often an undisturbed life makes each call.
    pub fn count(&self) -> BTreeMap<String, u64> {
        let dir = Self::dir();
        let (said, report) = self.live(dir.path(), None);
        said.check(dir.path(), false).unwrap();
        let counts = report.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        });
        let counts: BTreeMap<String, u64> = counts.collect();
        assert!(counts.len() == 7 && counts.values().all(|count| *count > 0), "{counts:?}");
        counts
    }

    /// One life with a strike. Where it ended in it, another begins on what is left and is struck, too, before
    /// the last look: recovery is cut off as well.
    pub fn try_life(&self, strike: &Strike) -> Result<Outcome, String> {
        let dir = Self::dir();
        let (said, report) = self.live(dir.path(), Some(strike));
        let struck = report.contains("struck");
        if strike.kills() && struck {
            let again = Strike { first: 1 + strike.first % 7, call: "pwrite", ..strike.clone() };
            let (more, _) = self.live(dir.path(), Some(&again));
            more.check(dir.path(), true).map_err(|why| format!("in the second life: {why}"))?;
        }
        let declared = said.check(dir.path(), strike.kills() && struck)?;
        Ok(Outcome { struck, declared })
    }

    /// Plays a life below the shim; gives what it said and what the shim reports.
    fn live(&self, dir: &Path, strike: Option<&Strike>) -> (Said, String) {
        let report = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["child", "--exact", "--ignored", "--nocapture"]).stdout(Stdio::null());
        child.env("RECORDER_TEST_DIR", dir).env("LD_PRELOAD", &self.library);
        child.env("FAULT_DIR", dir).env("FAULT_REPORT", report.path());
        if let Some(strike) = strike {
            child.env("FAULT_CALL", strike.call).env("FAULT_KIND", strike.kind);
            child.env("FAULT_FIRST", strike.first.to_string()).env("FAULT_TIMES", strike.times.to_string());
        }
        let output = child.output().unwrap();
        let mut said = Said::default();
        String::from_utf8_lossy(&output.stderr).lines().for_each(|line| said.line(line));
        (said, std::fs::read_to_string(report.path()).unwrap())
    }

    /// In memory where the system has a directory for that: no disk is to be worn out.
    fn dir() -> tempfile::TempDir {
        let memory = Path::new("/dev/shm");
        tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
    }
}

/// Another thread that starts a child holds our locks until the child is on its way.
fn open_again(dir: &Path) -> Result<Recorder, Error> {
    let began = std::time::Instant::now();
    loop {
        match Recorder::open(life::config(dir), Arc::new(SystemClock)) {
            Err(Error::InUse(_)) if began.elapsed() < life::PATIENCE => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// What a child said.
#[derive(Debug, Default)]
struct Said {
    opened: bool,
    finished: bool,
    /// With the status; the whole answer was seen.
    answered: Vec<(RequestId, String)>,
    /// All that was asked, whatever came of it.
    asked: BTreeSet<RequestId>,
    trained: Vec<RequestId>,
    erased: Vec<RequestId>,
    events: usize,
    /// What must not have been said.
    odd: Vec<String>,
    all: Vec<String>,
}

impl Said {
    fn line(&mut self, line: &str) {
        let mut words = line.splitn(3, ' ');
        let (what, id, rest) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let id = id.parse::<RequestId>();
        self.all.push(line.to_owned());
        if let ("answered" | "refused" | "forwarded" | "trained", Ok(id)) = (what, &id) {
            self.asked.insert(*id);
        }
        match (what, id) {
            ("opened", _) => self.opened = true,
            ("finished", _) => self.finished = true,
            ("event", _) => self.events += 1,
            ("answered", Ok(id)) if rest != "503" => self.answered.push((id, rest.to_owned())),
            ("trained", Ok(id)) => self.trained.push(id),
            ("erased", Ok(id)) => self.erased.push(id),
            ("odd" | "stuck" | "thread", _) => self.odd.push(line.to_owned()),
            _ => {}
        }
    }

    /// Looks at the log as it was left, continues it, and looks again. Returns how many requests are not on record
    /// by name. What the log declares as missing covers them, unless the process was killed: the number of what could
    /// not be written is in memory until it can be, so a kill before that loses it.
    fn check(&self, dir: &Path, killed: bool) -> Result<usize, String> {
        if !self.odd.is_empty() || (!killed && !self.finished) {
            return Err(format!("it said:\n{}", self.all.join("\n")));
        }
        if self.opened {
            self.verified(dir, "as it was left")?;
        }
        let recorder = open_again(dir).map_err(|error| format!("it does not open again: {error}"))?;
        let reader = Reader::open(dir).map_err(|error| error.to_string())?;
        let seen = self.look(&reader, killed);
        recorder.close();
        let report = self.verified(dir, "continued")?;
        if report.signed != report.entries {
            return Err(format!("not all is signed: {report}"));
        }
        let unnamed = seen?;
        if !killed && unnamed as u64 > report.missing {
            let all = self.all.join("\n");
            return Err(format!(
                "{unnamed} requests are not on record: {report}\n{} declared; {all}",
                report.missing
            ));
        }
        Ok(unnamed)
    }

    fn verified(&self, dir: &Path, when: &str) -> Result<gatewayd_recorder::verify::Report, String> {
        let report = verify(dir, &Options::default()).map_err(|error| format!("{when}: {error}"))?;
        if report.is_intact() {
            Ok(report)
        } else {
            Err(format!("{when}: {report}\n{}", self.all.join("\n")))
        }
    }

    fn look(&self, reader: &Reader, killed: bool) -> Result<usize, String> {
        for (id, status) in &self.answered {
            let bundle = reader.show(*id).map_err(|error| format!("{id} was answered: {error}"))?;
            let ending = bundle.summary.ending;
            let right = match status.as_str() {
                "200" => ending == "complete" || (killed && ending == "interrupted"),
                _ => ending == "refused",
            };
            if !right || bundle.summary.altered {
                return Err(format!("{id} was answered with {status} and is {ending}"));
            }
            self.play(reader, *id, bundle.stored_response.lost || bundle.stored_request.lost)?;
        }
        for id in &self.trained {
            reader.show(*id).map_err(|error| format!("{id} was forwarded with side effects: {error}"))?;
        }
        for id in &self.erased {
            let gone = reader.show(*id).is_ok_and(|bundle| bundle.summary.erased);
            if !gone || !matches!(reader.replay(*id), Err(Error::Erased(_))) {
                return Err(format!("{id} was erased and is still there"));
            }
        }
        let votes = reader.events(None, 100).map_err(|error| error.to_string())?;
        if votes.iter().filter(|event| event.kind == "approval-vote").count() < self.events {
            return Err("an event that was acknowledged is gone".into());
        }
        Ok(self.asked.iter().filter(|id| reader.show(**id).is_err()).count())
    }

    /// The body of an answered request can be played, unless the record says why not.
    fn play(&self, reader: &Reader, id: RequestId, lost: bool) -> Result<(), String> {
        match reader.replay(id) {
            Ok(_) | Err(Error::Erased(_)) => Ok(()),
            Err(_) if lost => Ok(()),
            Err(error) => Err(format!("{id} cannot be played: {error}")),
        }
    }
}
