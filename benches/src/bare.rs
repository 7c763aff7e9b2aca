//! The gateway's proxy alone.
use std::net::SocketAddr;

/// Serves.
///
/// # Errors
/// Not there yet.
pub fn serve(_listen: SocketAddr, _upstream: SocketAddr) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
