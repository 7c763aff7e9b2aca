//! Reading the configuration: the file as written, then each crate's own `Config`, or the first thing wrong.

mod build;
mod decisions;
mod error;
mod identity;
mod masking;
mod paths;
mod people;
mod raw;
mod routing;
mod secrets;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use gatewayd_masker::KnownSecrets;

pub use build::{Admin, Config, Limits, Listen, Log, Share, Tls};
pub use error::ConfigError;
pub(crate) use raw::LogFormat;

use error::Source;
use paths::Folder;
use raw::RawConfig;

/// Larger files are not configurations.
const MAX_FILE: u64 = 4 * 1024 * 1024;

impl Config {
    /// Reads and checks the file. Paths in it are relative to its own folder.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line, key and remedy.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_with(file, &KnownSecrets::new())
    }

    /// As [`load`](Self::load), with the known secrets that the masker is to mask.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(file: &Path, known: &KnownSecrets) -> Result<Self, ConfigError> {
        let text = read(file)?;
        Self::parse(file, &text, known)
    }

    /// Names the content of the configuration's files: SHA-256, lower-case hex, the first 16 characters. A file
    /// that is gone by now counts as empty.
    #[must_use]
    pub fn digest(&self) -> Arc<str> {
        let mut context = digest::Context::new(&digest::SHA256);
        for file in &self.files {
            let content = std::fs::read(file).unwrap_or_default();
            // With its length before it, so that no text can move from one file to the next unnoticed.
            context.update(&(content.len() as u64).to_be_bytes());
            context.update(&content);
        }
        hex::encode(context.finish()).chars().take(16).collect::<String>().into()
    }

    /// As [`load`](Self::load), from a text that was read already.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(file: &Path, text: &str, known: &KnownSecrets) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let raw = parse_raw(&source)?;
        build::build(&raw, &source, known)
    }
}

/// What a command needs to know to reach the running gateway of a configuration, without checking all of it.
#[derive(Debug)]
pub(crate) struct AdminAddress {
    pub url: String,
    /// The address, where no certificate says who listens there.
    pub unproven: Option<std::net::SocketAddr>,
    /// The admin listener's own certificate, to be trusted even where no authority signed it.
    pub certificate: Option<PathBuf>,
    pub key_file: PathBuf,
}

impl AdminAddress {
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read(file)?;
        let raw = parse_raw(&Source { file, text: &text })?;
        let folder = Folder::of(file);
        let tls = raw.admin.tls.as_ref();
        // A certificate speaks of a name, and the name is in the public URL.
        let url = match (tls, &raw.admin.public_url) {
            (Some(_), Some(url)) => url.clone(),
            (Some(_), None) => format!("https://{}", raw.admin.address.get_ref()),
            (None, _) => format!("http://{}", raw.admin.address.get_ref()),
        };
        Ok(Self {
            url,
            unproven: tls.is_none().then_some(*raw.admin.address.get_ref()),
            certificate: tls.map(|pair| folder.resolve(&pair.certificate)),
            key_file: admin_key_file(&folder.resolve(&raw.data_dir)),
        })
    }
}

/// Where the local administrator's key is.
pub(crate) fn admin_key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.key")
}

fn read(file: &Path) -> Result<String, ConfigError> {
    let meta = std::fs::metadata(file).map_err(|error| {
        ConfigError::whole(
            file,
            format!("cannot be read: {error}"),
            "name the configuration with --config FILE or GATEWAYD_CONFIG; examples/configs has some to start from",
        )
    })?;
    if meta.is_dir() {
        return Err(ConfigError::whole(
            file,
            "is a folder, not a file",
            "name the configuration file in it, such as gatewayd.toml",
        ));
    }
    if meta.len() > MAX_FILE {
        return Err(ConfigError::whole(file, "is larger than 4 MiB", "is this the right file?"));
    }
    std::fs::read_to_string(file).map_err(|error| {
        ConfigError::whole(file, format!("cannot be read: {error}"), "it must be UTF-8 text")
    })
}

fn parse_raw(source: &Source<'_>) -> Result<RawConfig, ConfigError> {
    let deserializer = toml::Deserializer::parse(source.text).map_err(|error| syntax(source, &error))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = as_written(&error.path().to_string());
        let inner = error.into_inner();
        let at = inner.span().unwrap_or(0..0);
        let message = inner.message().to_owned();
        let key = if path == "." { String::new() } else { path };
        let remedy = if message.starts_with("unknown field") {
            "remove the key or correct its name; docs/configuration.md lists every key"
        } else if message.starts_with("missing field") {
            "add the key; docs/configuration.md says what it means"
        } else {
            "correct the value; docs/configuration.md says what it may be"
        };
        source.error(at, key, message, remedy)
    })
}

/// The path of a key as it stands in the file, without the steps of the reader that notes places.
fn as_written(path: &str) -> String {
    let steps = path.split('.').filter(|step| !step.starts_with("$__serde_spanned"));
    steps.collect::<Vec<_>>().join(".")
}

fn syntax(source: &Source<'_>, error: &toml::de::Error) -> ConfigError {
    // An error at the end of the file has an empty range, and still a place.
    let at = error.span().map_or(0..0, |span| span.start..span.start + 1);
    source.error(
        at,
        "",
        format!("this is not TOML: {}", error.message()),
        "correct the syntax at this place; see toml.io for the format",
    )
}

#[cfg(test)]
mod tests;
