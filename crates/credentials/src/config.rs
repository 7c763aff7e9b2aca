//! Settings, and whether they hold.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gatewayd_core::Secret;
use http::HeaderName;
use http::header;

use crate::Error;

/// Settings of [`Credentials`](crate::Credentials). There is no place in it for a value: a configuration
/// file is copied, mailed and checked in, and a credential must not be.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The credentials, each with the upstreams that get it.
    pub credentials: Vec<CredentialConfig>,
    /// Upstreams that want no credential. What is neither here nor bound to a credential is refused.
    pub without: Vec<String>,
    /// With a key, the same value has the same version id also after a restart: the id is an HMAC.
    /// Without one, ids are random.
    pub version_key: Option<Secret>,
}

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialConfig {
    /// Its name, for records and messages.
    pub name: String,
    /// Where its value is.
    pub source: Source,
    /// The header it is sent in.
    pub header: HeaderName,
    /// Put before the value, such as `Bearer ` with its space.
    pub prefix: String,
    /// The upstreams that get it, and no other.
    pub upstreams: Vec<String>,
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file with the value and nothing else; a new line at its end is not part of it.
    File(PathBuf),
    /// An environment variable. It cannot change while the process runs.
    Env(String),
}

impl Config {
    /// Whether the settings hold, without opening anything.
    ///
    /// # Errors
    /// The first setting that does not, and what to write instead.
    pub fn validate(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        let mut upstreams = BTreeSet::new();
        for credential in &self.credentials {
            if credential.name.is_empty() || !names.insert(&credential.name) {
                return Err(Error::Name(credential.name.clone()));
            }
            if credential.upstreams.is_empty() {
                return Err(Error::Unbound(credential.name.clone()));
            }
            credential.validate()?;
        }
        let bound = self.credentials.iter().flat_map(|credential| &credential.upstreams);
        for upstream in bound.chain(&self.without) {
            if !upstreams.insert(upstream) {
                return Err(Error::Upstream(upstream.clone()));
            }
        }
        Ok(())
    }
}

impl CredentialConfig {
    fn validate(&self) -> Result<(), Error> {
        if has_another_meaning(&self.header) {
            return Err(Error::Header { name: self.name.clone(), header: self.header.to_string() });
        }
        if !self.prefix.bytes().all(|b| (0x20..0x7f).contains(&b)) || self.prefix.starts_with(' ') {
            return Err(Error::Prefix(self.name.clone()));
        }
        let is_named = match &self.source {
            Source::File(path) => !path.as_os_str().is_empty(),
            Source::Env(variable) => !variable.is_empty() && !variable.contains(['=', '\0']),
        };
        if is_named { Ok(()) } else { Err(Error::Source(self.name.clone())) }
    }
}

/// Headers that frame or steer a message; a credential there would break it.
fn has_another_meaning(name: &HeaderName) -> bool {
    const STEERING: [HeaderName; 14] = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::EXPECT,
        header::HOST,
        header::RANGE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VIA,
    ];
    STEERING.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(name: &str, upstreams: &[&str]) -> CredentialConfig {
        CredentialConfig {
            name: name.to_owned(),
            source: Source::Env("KEY".to_owned()),
            header: header::AUTHORIZATION,
            prefix: "Bearer ".to_owned(),
            upstreams: upstreams.iter().map(|&upstream| upstream.to_owned()).collect(),
        }
    }

    fn verdict(credentials: Vec<CredentialConfig>, without: &[&str]) -> Result<(), Error> {
        let without = without.iter().map(|&upstream| upstream.to_owned()).collect();
        Config { credentials, without, version_key: None }.validate()
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        assert_eq!(verdict(vec![credential("a", &["x"]), credential("b", &["y"])], &["z"]), Ok(()));
        let twice = vec![credential("a", &["x"]), credential("a", &["y"])];
        assert_eq!(verdict(twice, &[]), Err(Error::Name("a".into())));
        let both = vec![credential("a", &["x"]), credential("b", &["x"])];
        assert_eq!(verdict(both, &[]), Err(Error::Upstream("x".into())));
        assert_eq!(verdict(vec![credential("a", &["x"])], &["x"]), Err(Error::Upstream("x".into())));
        assert_eq!(verdict(vec![credential("a", &[])], &[]), Err(Error::Unbound("a".into())));
        for name in ["host", "connection", "transfer-encoding", "content-length", "proxy-connection"] {
            let mut bad = credential("a", &["x"]);
            bad.header = HeaderName::from_static(name);
            assert!(matches!(verdict(vec![bad], &[]), Err(Error::Header { .. })), "{name}");
        }
        for prefix in ["Bearer\r\nx: y", "Bearer\t", "é", " Bearer"] {
            let mut bad = credential("a", &["x"]);
            bad.prefix = prefix.to_owned();
            assert_eq!(verdict(vec![bad], &[]), Err(Error::Prefix("a".into())), "{prefix:?}");
        }
        let mut nowhere = credential("a", &["x"]);
        nowhere.source = Source::Env("A=B".to_owned());
        assert_eq!(verdict(vec![nowhere], &[]), Err(Error::Source("a".into())));
    }
}
