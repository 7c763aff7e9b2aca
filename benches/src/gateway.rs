//! The real `gatewayd` with every control on, and the proof that they are.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Serialize;

use crate::child::{self, Process};
use crate::client::{Call, Connection};
use crate::upstream::{self, Model};

/// What an acknowledged record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A crash of the process.
    Process,
    /// A loss of power.
    Disk,
}

impl Durability {
    /// The word in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Disk => "disk",
        }
    }
}

/// A gateway: its folder, configuration and addresses.
#[derive(Debug)]
pub struct Gateway {
    binary: PathBuf,
    folder: PathBuf,
    /// Where callers connect.
    pub address: SocketAddr,
    admin: SocketAddr,
}

impl Gateway {
    /// Writes the configuration of a gateway in front of this upstream, whose credential is `key`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn prepare(
        binary: &Path,
        folder: &Path,
        durability: Durability,
        upstream: SocketAddr,
        key: &str,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let gateway = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            address: child::free_address()?,
            admin: child::free_address()?,
        };
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join("upstream-key"))?;
        std::io::Write::write_all(&mut &file, key.as_bytes())?;
        std::fs::write(gateway.config(), gateway.toml(durability, upstream))?;
        Ok(gateway)
    }

    /// Starts the gateway.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(self.config());
        Process::start("gatewayd", command, self.address, &self.folder.join("gatewayd.log"))
    }

    /// Makes a gateway token for a caller in these groups.
    ///
    /// # Errors
    /// The running gateway does not make one.
    pub fn token(&self, name: &str, groups: &str) -> anyhow::Result<String> {
        let made = self.ask(&["token", "create", "--name", name, "--groups", groups, "--ttl", "1h"])?;
        let token = made.get("token").and_then(serde_json::Value::as_str);
        Ok(token.context("`gatewayd token create -o json` gave no \"token\"")?.to_owned())
    }

    /// Sees every control at work once; `token` is of the group `bench`.
    ///
    /// # Errors
    /// Names the control that is not at work.
    pub async fn prove(&self, token: &str) -> anyhow::Result<Vec<String>> {
        let mut connection = Connection::open(self.address).await?;
        let mut proven = Vec::new();

        let (head, text) = connection.text(&Call::chat(Model::Instant, false, "")).await?;
        anyhow::ensure!(head.status == 401, "authn is off: without a token {} {text}", head.status);
        proven.push("authn: a caller without a token is answered 401".to_owned());

        let stranger = self.token("stranger", "strangers")?;
        let (head, text) = connection.text(&Call::chat(Model::Instant, false, &stranger)).await?;
        anyhow::ensure!(head.status == 403, "policy is off: for a stranger {} {text}", head.status);
        proven.push("policy: a caller whose groups no rule allows is answered 403".to_owned());

        let training = r#"{"model":"bench","training_file":"file-1"}"#;
        let (head, text) = connection.text(&Call::post("/v1/fine_tuning/jobs", training, token)).await?;
        anyhow::ensure!(
            head.status == 403 && text.contains("approval"),
            "approvals are off: {} {text}",
            head.status
        );
        proven.push("approvals: a training job is parked until a person agrees".to_owned());

        for streams in [false, true] {
            let (head, text) = connection.text(&Call::chat(Model::Instant, streams, token)).await?;
            anyhow::ensure!(head.status == 200, "an allowed request is answered {} {text}", head.status);
            anyhow::ensure!(head.key_seen, "credentials are off: the upstream was not shown its key");
        }
        proven
            .push("credentials: the upstream is shown its own key in place of the caller's token".to_owned());

        let (head, text) = connection.text(&Call::chat(Model::Leaks, false, token)).await?;
        let leaked = text.contains(&upstream::leaked_key());
        anyhow::ensure!(head.status == 200 && !leaked, "the masker is off: {} {text}", head.status);
        proven.push("masker: a key in the model's answer is replaced".to_owned());

        let sessions = self.ask(&["sessions", "list", "--limit", "20"])?.to_string();
        for (what, sign) in [("refusals", "\"refused\""), ("answers", "\"complete\"")] {
            anyhow::ensure!(sessions.contains(sign), "the recorder is off: no {what} in {sessions}");
        }
        proven.push("recorder: all of these are in the record, refusals included".to_owned());
        Ok(proven)
    }

    fn ask(&self, words: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = Command::new(&self.binary)
            .args(words)
            .args(["--output", "json", "--config"])
            .arg(self.config())
            .env_remove("GATEWAYD_ADMIN")
            .env_remove("GATEWAYD_TOKEN")
            .output()
            .with_context(|| format!("cannot run {}", self.binary.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`gatewayd {}` failed: {said}", words.join(" "));
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`gatewayd {}` printed no JSON", words.join(" ")))
    }

    fn config(&self) -> PathBuf {
        self.folder.join("gatewayd.toml")
    }

    fn toml(&self, durability: Durability, upstream: SocketAddr) -> String {
        let folder = self.folder.display();
        let (address, admin, durability) = (self.address, self.admin, durability.as_str());
        let mut text = format!(
            r#"data_dir = "{folder}/data"

[listen]
address = "{address}"

[admin]
address = "{admin}"
public_url = "http://{admin}"

[log]
level = "warn"

[recorder]
durability = "{durability}"

[[credential]]
name = "upstream-key"
file = "{folder}/upstream-key"

[[upstream]]
name = "bench"
url = "http://{upstream}"
models = ["bench*"]
credential = "upstream-key"

[approval.one-lead]
hold = "1s"
expires = "1h"
approvers = [{{ group = "leads", count = 1 }}]
"#
        );
        // A policy of a realistic size: most rules are for others.
        for team in 0..20 {
            let _infallible = write!(
                text,
                "\n[[policy.rule]]\nname = \"team-{team}\"\ngroups = [\"team-{team}\"]\nactions = [\"infer\", \"embed\"]\n\
                 models = [\"team-{team}-*\"]\neffect = \"allow\"\n"
            );
        }
        text.push_str(
            r#"
[[policy.rule]]
name = "bench-may-infer"
groups = ["bench"]
actions = ["infer", "list-models"]
models = ["bench*"]
effect = "allow"

[[policy.rule]]
name = "bench-training-needs-a-lead"
groups = ["bench"]
actions = ["train"]
effect = "approve"
approval = "one-lead"
"#,
        );
        text
    }
}
