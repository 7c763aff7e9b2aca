//! One version of a credential: the value, ready to be sent, and a name that says nothing of it.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use bytes::Bytes;
use gatewayd_core::{CredentialVersion, Secret, Timestamp};
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::CredentialConfig;
use crate::error::Problem;

pub(crate) struct Version {
    pub(crate) id: CredentialVersion,
    pub(crate) secret: Secret,
    /// Prefix and value in memory that is wiped once the last request has let go of it.
    pub(crate) header: HeaderValue,
    pub(crate) since: Timestamp,
}

impl Version {
    pub(crate) fn new(
        config: &CredentialConfig,
        value: &[u8],
        key: Option<&hmac::Key>,
        since: Timestamp,
    ) -> Result<Self, Problem> {
        let version = match key {
            Some(key) => derived_name(key, &config.name, value),
            None => random_name()?,
        };
        let line = Zeroizing::new([config.prefix.as_bytes(), value].concat());
        let header = sensitive_header(line)?;
        let id = CredentialVersion { credential: config.name.as_str().into(), version };
        Ok(Self { id, secret: Secret::new(value.to_vec()), header, since })
    }

    pub(crate) fn has_value(&self, value: &[u8]) -> bool {
        verify_slices_are_equal(self.secret.expose(), value).is_ok()
    }
}

/// A header value that lives in the very memory of `line`: clones share it, and the last one wipes it.
fn sensitive_header(line: Zeroizing<Vec<u8>>) -> Result<HeaderValue, Problem> {
    let mut header =
        HeaderValue::from_maybe_shared(Bytes::from_owner(line)).map_err(|_| Problem::NotHeaderSafe)?;
    header.set_sensitive(true);
    Ok(header)
}

fn derived_name(key: &hmac::Key, credential: &str, value: &[u8]) -> Arc<str> {
    let mut context = hmac::Context::with_key(key);
    // The length keeps name and value apart.
    context.update(&(credential.len() as u64).to_be_bytes());
    context.update(credential.as_bytes());
    context.update(value);
    short_hex(context.sign().as_ref())
}

fn random_name() -> Result<Arc<str>, Problem> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Problem::Randomness)?;
    Ok(short_hex(&bytes))
}

fn short_hex(bytes: &[u8]) -> Arc<str> {
    hex::encode(bytes.get(..8).unwrap_or(bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_no_copy_of_the_memory_that_is_wiped() {
        let line = Zeroizing::new(b"Bearer sk-1".to_vec());
        let memory = line.as_ptr();
        let header = sensitive_header(line).unwrap();
        assert_eq!(header.as_bytes().as_ptr(), memory);
        assert_eq!(header.clone().as_bytes().as_ptr(), memory);
    }
}
