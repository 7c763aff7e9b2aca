//! Accepting connections and handing them to the workers in turn.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gatewayd_core::Peer;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A connection on its way to a worker, with its place among the connections allowed at once.
pub(crate) struct Accepted {
    pub stream: std::net::TcpStream,
    pub peer: Peer,
    pub tls: Option<TlsAcceptor>,
    pub permit: OwnedSemaphorePermit,
}

/// Pending connections that the kernel keeps for us.
const BACKLOG: u32 = 1024;

/// Binds the address.
///
/// # Errors
/// Says which address and why.
pub(crate) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    // A restarted gateway may bind while old connections linger; two gateways may not share a port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| {
        format!("cannot listen on {address}: is another gateway running, or the port below 1024?")
    })?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into()).context("cannot watch the listening socket")
}

/// Accepts until told to stop, and deals the connections out in turn.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limit: usize,
    workers: Vec<mpsc::UnboundedSender<Accepted>>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limit));
    for worker in workers.iter().cycle() {
        let permit = tokio::select! {
            permit = Arc::clone(&places).acquire_owned() => permit.expect("this semaphore is never closed"),
            () = stop.cancelled() => return,
        };
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer left between SYN and accept: neither is a reason to stop.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            () = stop.cancelled() => return,
        };
        let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { continue };
        let peer = Peer { address, tls: tls.is_some() };
        // A worker only goes away when the gateway stops.
        let _stopping = worker.send(Accepted { stream, peer, tls: tls.clone(), permit });
    }
}
