//! What is measured: the upstream itself, and everything that can stand in front of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::child::{self, Process};
use crate::gateway::{Durability, Gateway};

/// Which of the things that can stand in front of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing.
    Direct,
    /// nginx as a reverse proxy with kept-alive connections and without buffering.
    Nginx,
    /// The gateway's proxy alone.
    Bare,
    /// The gateway with every control on, `durability = "process"`.
    Process,
    /// The gateway with every control on, `durability = "disk"`.
    Disk,
}

impl Kind {
    /// How tables name it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Bare => "gatewayd, no controls",
            Self::Process => "gatewayd, all controls, process",
            Self::Disk => "gatewayd, all controls, disk",
        }
    }
}

/// Something to measure, running.
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// Where callers connect.
    pub address: SocketAddr,
    /// What callers present.
    pub token: String,
    process: Option<Process>,
    launch: Launch,
}

type Launch = Box<dyn Fn() -> anyhow::Result<Process>>;

impl Target {
    /// Its process; the direct target has none of its own.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Ends the process and starts it afresh, so that memory is counted from the beginning.
    ///
    /// # Errors
    /// It does not come up again.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.take().is_some() {
            self.process = Some((self.launch)()?);
        }
        Ok(())
    }

    fn start(kind: Kind, address: SocketAddr, token: &str, launch: Launch) -> anyhow::Result<Self> {
        let process = Some(launch()?);
        Ok(Self { kind, address, token: token.to_owned(), process, launch })
    }
}

/// The upstream and all targets in front of it.
pub struct Targets {
    /// In the order of the tables; the direct one first.
    pub targets: Vec<Target>,
    /// What was seen of each control before measuring, and what could not be measured.
    pub notes: Vec<String>,
    _upstream: Process,
}

/// The credential of the upstream in this run.
const KEY: &str = "bench-upstream-key-5f1c9a77d0e24b6c";

impl Targets {
    /// Starts everything; targets whose kind is not among `wanted` are left out.
    ///
    /// # Errors
    /// A part does not come up, or a control is not at work.
    pub async fn start(folder: &Path, gatewayd: &Path, wanted: &[Kind]) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let upstream = child::free_address()?;
        let mut command = Command::new(&own);
        command.args(["upstream", "--listen", &upstream.to_string(), "--key", KEY]);
        let process = Process::start("the upstream", command, upstream, &folder.join("upstream.log"))?;
        let nothing: Launch = Box::new(|| anyhow::bail!("the upstream is not started twice"));
        let direct = Target {
            kind: Kind::Direct,
            address: upstream,
            token: KEY.to_owned(),
            process: None,
            launch: nothing,
        };
        let mut all = Self { targets: vec![direct], notes: Vec::new(), _upstream: process };
        if wanted.contains(&Kind::Nginx) {
            all.add_nginx(folder, upstream)?;
        }
        if wanted.contains(&Kind::Bare) {
            all.add_bare(own, folder, upstream)?;
        }
        for (kind, durability) in [(Kind::Process, Durability::Process), (Kind::Disk, Durability::Disk)] {
            if wanted.contains(&kind) {
                all.add_gateway(kind, gatewayd, folder, durability, upstream).await?;
            }
        }
        Ok(all)
    }

    fn add_nginx(&mut self, folder: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
        let known = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"].map(Path::new);
        let Some(binary) = known.into_iter().find(|path| path.exists()) else {
            self.notes.push("nginx is not installed and was left out".to_owned());
            return Ok(());
        };
        let address = child::free_address()?;
        let folder = folder.join("nginx");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("nginx.conf"), nginx_config(&folder, address, upstream))?;
        let launch = move || {
            let mut command = Command::new(binary);
            command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
            Process::start("nginx", command, address, &folder.join("nginx.log"))
        };
        self.targets.push(Target::start(Kind::Nginx, address, KEY, Box::new(launch))?);
        Ok(())
    }

    fn add_bare(&mut self, own: PathBuf, folder: &Path, upstream: SocketAddr) -> anyhow::Result<()> {
        let address = child::free_address()?;
        let log = folder.join("bare.log");
        let launch = move || {
            let mut command = Command::new(&own);
            command.args(["bare", "--listen", &address.to_string(), "--upstream", &upstream.to_string()]);
            Process::start("the bare proxy", command, address, &log)
        };
        self.targets.push(Target::start(Kind::Bare, address, KEY, Box::new(launch))?);
        Ok(())
    }

    async fn add_gateway(
        &mut self,
        kind: Kind,
        binary: &Path,
        folder: &Path,
        durability: Durability,
        upstream: SocketAddr,
    ) -> anyhow::Result<()> {
        let gateway = Gateway::prepare(binary, &folder.join(durability.as_str()), durability, upstream, KEY)?;
        let process = gateway.start()?;
        let token = gateway.token("bench", "bench,everyone")?;
        let proven = gateway.prove(&token).await.with_context(|| kind.title())?;
        if kind == Kind::Process || !self.targets.iter().any(|t| t.kind == Kind::Process) {
            self.notes.extend(proven);
        }
        let address = gateway.address;
        let launch: Launch = Box::new(move || gateway.start());
        self.targets.push(Target { kind, address, token, process: Some(process), launch });
        Ok(())
    }
}

fn nginx_config(folder: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nworker_processes auto;\nworker_rlimit_nofile 20000;\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  tcp_nodelay on;\n  keepalive_requests 1000000000;\n  keepalive_timeout 600s;\n  \
         client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  fastcgi_temp_path {folder}/fastcgi;\n  \
         uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         upstream model {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}\n  \
         server {{\n    listen {address} backlog=1024;\n    location / {{\n      proxy_pass http://model;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n      \
         proxy_read_timeout 600s;\n    }}\n  }}\n}}\n"
    )
}
