//! The processes that are measured: started, watched, and ended with the run.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A child that is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a command, its output in a log file, and waits until something listens on `address`.
    ///
    /// # Errors
    /// It cannot be started, ends at once, or does not listen within ten seconds; shows the end of its log.
    pub fn start(name: &str, mut command: Command, address: SocketAddr, log: &Path) -> anyhow::Result<Self> {
        let out = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child =
            command.spawn().with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        let mut process = Self { name: name.to_owned(), child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let why = ended.map_or("does not listen".to_owned(), |status| format!("ended with {status}"));
                anyhow::bail!("{name} {why}; its log ends:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes, of the process and its own children.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resident(&self) -> anyhow::Result<u64> {
        self.sum(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
            let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
            Ok(kib * 1024)
        })
    }

    /// Processor time used so far, in user space and kernel, of the process and its own children.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let ticks = self.sum(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            // The name, in parentheses, may hold anything; the fields are counted from behind it.
            let (_, fields) = stat.rsplit_once(')').context("no process name")?;
            let mut fields = fields.split_whitespace().skip(11);
            let user: u64 = fields.next().context("no utime")?.parse()?;
            let system: u64 = fields.next().context("no stime")?.parse()?;
            Ok(user + system)
        })?;
        Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
    }

    fn sum(&self, read: impl Fn(u32) -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        let pid = self.id();
        let own = read(pid).with_context(|| format!("{} is gone", self.name))?;
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        Ok(own + children.filter_map(|child| read(child).ok()).sum::<u64>())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: nginx ends its workers only when it is asked.
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _already_gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A loopback address that nothing listened on a moment ago.
///
/// # Errors
/// The machine has no port left.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_does_not_listen_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo cannot read the configuration >&2; exit 3"]);
        let address = free_address().expect("a port");
        let error =
            Process::start("it", command, address, &folder.path().join("log")).expect_err("it ends at once");
        let text = format!("{error:#}");
        assert!(text.contains("exit status: 3") && text.contains("cannot read the configuration"), "{text}");
    }
}
