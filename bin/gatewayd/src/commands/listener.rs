//! Who listens on this machine's admin port.
//!
//! The local administrator's key goes out in each request. While the gateway is stopped anybody on the machine may
//! listen in its place, so the kernel is asked first whose socket it is.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use procfs::net::{TcpNetEntry, TcpState};

/// Fails where somebody else than the owner of `key` or root listens at `address`. Says nothing where nobody does, or
/// where the kernel tells nothing: `/proc/net` may be hidden.
pub(super) fn must_belong_to_owner_of(key: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let owner = std::fs::metadata(key).with_context(|| format!("{} cannot be read", key.display()))?.uid();
    let sockets = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
    let stranger = sockets
        .filter(|socket| takes(socket, address))
        .map(|socket| socket.uid)
        .find(|uid| *uid != owner && *uid != 0);
    if let Some(uid) = stranger {
        bail!(
            "another user (uid {uid}) listens at {address}, not the one that runs the gateway; the administrator's key \
             is not sent there\n  remedy: start the gateway, or find out whose process has its port"
        );
    }
    Ok(())
}

/// Whether a socket takes connections to the address.
fn takes(socket: &TcpNetEntry, address: SocketAddr) -> bool {
    let bound = socket.local_address;
    socket.state == TcpState::Listen
        && bound.port() == address.port()
        && (bound.ip().is_unspecified() || bound.ip().to_canonical() == address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn own_listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_listener_of_the_keys_owner_is_trusted() {
        let (_listener, address) = own_listener();
        let key = tempfile::NamedTempFile::new().unwrap();
        must_belong_to_owner_of(key.path(), address).unwrap();
    }

    #[test]
    fn a_socket_is_known_by_where_it_takes_connections() {
        let (listener, address) = own_listener();
        let listens = |address| {
            procfs::net::tcp()
                .unwrap()
                .iter()
                .any(|socket| takes(socket, address) && socket.local_address.ip().is_loopback())
        };
        assert!(listens(address));
        assert!(!listens(SocketAddr::from(([127, 0, 0, 2], address.port()))));
        drop(listener);
        assert!(!listens(address));
    }
}
