//! Reading a value from where it is, and judging whether it can be one.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::Source;
use crate::error::Problem;

const MAX_VALUE: usize = 16 * 1024;

/// A value as read, wiped when dropped.
pub(crate) struct Value {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Others than the owner and the group may read the file.
    pub(crate) world_readable: bool,
}

impl Source {
    pub(crate) fn read(&self) -> Result<Value, Problem> {
        match self {
            Self::File(path) => read_file(path),
            Self::Env(variable) => {
                let text = Zeroizing::new(std::env::var(variable).map_err(|_| Problem::NotSet)?);
                let bytes = judged(Zeroizing::new(text.as_bytes().to_vec()))?;
                Ok(Value { bytes, world_readable: false })
            }
        }
    }
}

fn read_file(path: &Path) -> Result<Value, Problem> {
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    // Room for all of it at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 2));
    file.take(MAX_VALUE as u64 + 2).read_to_end(&mut bytes).map_err(|error| unreadable(&error))?;
    Ok(Value { bytes: judged(bytes)?, world_readable: is_world_readable(&metadata) })
}

fn judged(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, Problem> {
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    if bytes.len() > MAX_VALUE {
        return Err(Problem::TooLarge);
    }
    if !bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(Problem::NotHeaderSafe);
    }
    if bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') {
        return Err(Problem::Padded);
    }
    Ok(bytes)
}

fn unreadable(error: &std::io::Error) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::Missing,
        kind => Problem::Unreadable(kind.to_string()),
    }
}

#[cfg(unix)]
fn is_world_readable(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o004 != 0
}

#[cfg(not(unix))]
fn is_world_readable(_metadata: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_in_a_header_is_a_value() {
        let judge = |bytes: &[u8]| judged(Zeroizing::new(bytes.to_vec())).map(|value| value.to_vec());
        assert_eq!(judge(b"sk-1\n"), Ok(b"sk-1".to_vec()));
        assert_eq!(judge(b"sk-1\r\n\n"), Ok(b"sk-1".to_vec()));
        assert_eq!(judge(b"two words"), Ok(b"two words".to_vec()));
        assert_eq!(judge(b""), Err(Problem::Empty));
        assert_eq!(judge(b"\n"), Err(Problem::Empty));
        assert_eq!(judge(b"a\nb"), Err(Problem::NotHeaderSafe));
        assert_eq!(judge(b"a\0b"), Err(Problem::NotHeaderSafe));
        assert_eq!(judge(b"a\r\nx-evil: 1"), Err(Problem::NotHeaderSafe));
        assert_eq!(judge("\u{feff}sk-1".as_bytes()), Err(Problem::NotHeaderSafe));
        assert_eq!(judge(b" sk-1"), Err(Problem::Padded));
        assert_eq!(judge(b"sk-1 \n"), Err(Problem::Padded));
        assert_eq!(judge(&vec![b'a'; MAX_VALUE + 1]), Err(Problem::TooLarge));
        assert!(judge(&vec![b'a'; MAX_VALUE]).is_ok());
    }
}
