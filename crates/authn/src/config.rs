//! Settings, and whether they hold.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use http::Uri;

use crate::Error;

/// Settings of [`Authn`](crate::Authn).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The OpenID Connect providers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// How far the clocks of the issuers and of this machine may differ. Five minutes at most.
    pub leeway: Duration,
    /// How many verified tokens are remembered; each takes a few hundred bytes.
    pub verdict_capacity: usize,
    /// Accept `http://` issuers that are not on this machine. Whoever is on the way can then make keys,
    /// and with them be anybody.
    pub dangerous_allow_http: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            leeway: Duration::from_secs(30),
            verdict_capacity: 10_000,
            dangerous_allow_http: false,
        }
    }
}

impl Config {
    /// Whether the settings hold, without opening anything.
    ///
    /// # Errors
    /// The first setting that does not, and what to write instead.
    pub fn validate(&self) -> Result<(), Error> {
        if self.leeway > Duration::from_secs(300) {
            return Err(Error::Leeway(self.leeway));
        }
        let mut seen = BTreeSet::new();
        for issuer in &self.issuers {
            if !seen.insert(issuer.issuer.as_str()) {
                return Err(Error::DuplicateIssuer(issuer.issuer.clone()));
            }
            issuer
                .validate(self.dangerous_allow_http)
                .map_err(|problem| Error::Issuer { issuer: issuer.issuer.clone(), problem })?;
        }
        Ok(())
    }
}

/// One OpenID Connect provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// The issuer, exactly as its tokens spell it in `iss`; discovery starts from it.
    pub issuer: String,
    /// Audiences that mean this gateway. A token must name one of them; an empty list is refused.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms. There is no way to name `none` or an HMAC.
    pub algorithms: Vec<Algorithm>,
    /// Where the caller's groups are. A token without the claim has no groups.
    pub groups_claim: ClaimPath,
    /// Put before every group, so that one issuer cannot speak of another one's groups.
    pub group_prefix: String,
    /// Accepted clients (`azp`, else `client_id`); empty accepts every client.
    pub clients: Vec<String>,
    /// Where the keys are, if discovery is not wanted.
    pub jwks_url: Option<String>,
    /// Refuse tokens issued longer ago than this, however late they expire.
    pub max_token_age: Option<Duration>,
    /// Keys are fetched again after this time, or sooner where the issuer's `max-age` is shorter.
    pub refresh: Duration,
    /// Keys that could not be confirmed for this long are no longer used.
    pub max_staleness: Duration,
}

impl IssuerConfig {
    /// An issuer with the safe defaults.
    pub fn new<A: Into<String>>(issuer: impl Into<String>, audiences: impl IntoIterator<Item = A>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: audiences.into_iter().map(Into::into).collect(),
            algorithms: Algorithm::ALL.to_vec(),
            groups_claim: ClaimPath::default(),
            group_prefix: String::new(),
            clients: Vec::new(),
            jwks_url: None,
            max_token_age: None,
            refresh: Duration::from_secs(3600),
            max_staleness: Duration::from_secs(24 * 3600),
        }
    }

    /// Where discovery starts (OpenID Connect Discovery, section 4).
    pub(crate) fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    /// `None` if keys may be fetched from `url`, else what is wrong with it.
    pub(crate) fn objection(&self, url: &str, dangerous_allow_http: bool) -> Option<&'static str> {
        // An issuer that itself needs TLS may not send us to a place without.
        let plain_allowed = self.issuer.starts_with("http://");
        objection(url, plain_allowed, dangerous_allow_http)
    }

    fn validate(&self, dangerous_allow_http: bool) -> Result<(), String> {
        if let Some(problem) = objection(&self.issuer, true, dangerous_allow_http) {
            return Err(format!("the URL {problem}"));
        }
        if self.issuer.contains(['?', '#']) {
            return Err("the URL must have no query and no fragment".to_owned());
        }
        if let Some(url) = &self.jwks_url
            && let Some(problem) = self.objection(url, dangerous_allow_http)
        {
            return Err(format!("the JWKS URL `{url}` {problem}"));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(
                "name at least one audience, so that tokens for other services are not accepted".into()
            );
        }
        if self.algorithms.is_empty() {
            return Err("name at least one algorithm, such as RS256".to_owned());
        }
        if self.refresh < Duration::from_secs(1) || self.max_staleness < self.refresh {
            return Err(
                "refresh must be at least a second, and max_staleness no shorter than refresh".to_owned()
            );
        }
        Ok(())
    }
}

/// A signature algorithm. Only those that need a public key to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519; tokens may name it `EdDSA` or, after RFC 9864, `Ed25519`.
    EdDsa,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name used in tokens and configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name; the comparison is exact.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Where a claim is inside a token: one key, or several from the outside in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// From keys, taken as they are: `["https://example.com/claims", "groups"]`.
    ///
    /// # Errors
    /// If there is no key, or an empty one.
    pub fn keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Result<Self, Error> {
        let keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        if keys.is_empty() || keys.iter().any(String::is_empty) {
            return Err(Error::ClaimPath(keys.join(".")));
        }
        Ok(Self(keys))
    }

    pub(crate) fn find<'c>(
        &self,
        claims: &'c serde_json::Map<String, serde_json::Value>,
    ) -> Option<&'c serde_json::Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, key| value.get(key))
    }

    pub(crate) fn outermost(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl Default for ClaimPath {
    /// `groups`.
    fn default() -> Self {
        Self(vec!["groups".to_owned()])
    }
}

impl FromStr for ClaimPath {
    type Err = Error;

    /// `groups`; `realm_access.roles` goes inside; a name with `://` is one key, dots and all.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text.contains("://") {
            return Self::keys([text]);
        }
        Self::keys(text.split('.')).map_err(|_| Error::ClaimPath(text.to_owned()))
    }
}

/// What is wrong with a URL that keys would be fetched from.
fn objection(url: &str, plain_allowed: bool, dangerous_allow_http: bool) -> Option<&'static str> {
    let Ok(uri) = url.parse::<Uri>() else { return Some("is no URL") };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Some("must be absolute: https://host/path");
    };
    if authority.as_str().contains('@') {
        return Some("must hold no user name and no password");
    }
    if url.contains('#') {
        return Some("must have no fragment");
    }
    match scheme {
        "https" => None,
        "http" if !plain_allowed => Some("must be https, like the issuer"),
        "http" if is_loopback(authority.host()) || dangerous_allow_http => None,
        "http" => Some("must be https: over http, whoever is on the way can make keys"),
        _ => Some("must be https"),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in ["https://id.example", "http://127.0.0.1:9100", "http://[::1]:1/x", "http://localhost"] {
            assert_eq!(objection(good, true, false), None, "{good}");
        }
        for bad in [
            "http://id.example",
            "http://127.0.0.1.evil.example",
            "http://localhost.evil.example",
            "http://10.0.0.1",
            "ftp://127.0.0.1",
            "https://user:pw@id.example",
            "https://id.example/#x",
            "//id.example",
            "id.example",
            "/path",
            "",
        ] {
            assert!(objection(bad, true, false).is_some(), "{bad}");
        }
        assert_eq!(objection("http://id.example", true, true), None);
    }

    #[test]
    fn an_issuer_with_tls_cannot_send_us_to_a_place_without() {
        let issuer = IssuerConfig::new("https://id.example", ["a"]);
        assert!(issuer.objection("http://127.0.0.1/jwks", false).is_some());
        assert!(issuer.objection("http://id.example/jwks", true).is_some());
        assert!(issuer.objection("https://keys.example/jwks", false).is_none());
    }

    #[test]
    fn paths_are_read_as_documented() {
        let keys = |text: &str| text.parse::<ClaimPath>().map(|path| path.0);
        assert_eq!(keys("groups").unwrap(), ["groups"]);
        assert_eq!(keys("realm_access.roles").unwrap(), ["realm_access", "roles"]);
        assert_eq!(keys("https://example.com/groups").unwrap(), ["https://example.com/groups"]);
        for bad in ["", ".", "a..b", ".a", "a."] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn neither_none_nor_an_hmac_has_a_name() {
        for name in ["none", "None", "NONE", "HS256", "HS384", "HS512", "rs256", "RS256 ", "", "ES512"] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.as_str()), Some(algorithm));
        }
    }
}
