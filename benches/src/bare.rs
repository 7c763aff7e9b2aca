//! The gateway's proxy alone: no control, the same way of serving as the gateway's.
//!
//! One thread accepts and deals connections out to workers; each worker is a single-threaded runtime with
//! upstream connections of its own. What this adds to direct is the price of being a proxy at all; what the
//! whole gateway adds to this is the price of the controls.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use gatewayd_core::{Body, UpstreamName};
use gatewayd_proxy::{Config, Proxy, UpstreamConfig, Upstreams};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::Service;

const NAME: &str = "bench";

/// Serves on `listen` for ever.
///
/// # Errors
/// The address is taken, or a client cannot be set up.
pub fn serve(listen: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let config = Config { upstreams: vec![UpstreamConfig::new(NAME, format!("http://{upstream}"))] };
    let upstreams = Upstreams::new(&config)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut workers = Vec::with_capacity(cores);
    for number in 0..cores {
        let (sender, receiver) = mpsc::unbounded_channel();
        let proxy = Proxy::new(upstreams.fresh()?);
        std::thread::Builder::new().name(format!("bare-{number}")).spawn(move || work(receiver, &proxy))?;
        workers.push(sender);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        for worker in workers.iter().cycle() {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            worker.send(stream.into_std()?).context("a worker is gone")?;
        }
        Ok(())
    })
}

fn work(mut incoming: mpsc::UnboundedReceiver<std::net::TcpStream>, proxy: &Proxy) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        while let Some(stream) = incoming.recv().await {
            let stream = TcpStream::from_std(stream)?;
            let service = TowerToHyperService::new(Named(proxy.clone()));
            let service = hyper::service::service_fn(move |request: Request<Incoming>| service.call(request));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .half_close(false)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
        Ok(())
    })
}

/// Names the only upstream there is, as the dialects layer would.
#[derive(Clone)]
struct Named(Proxy);

impl Service<Request<Incoming>> for Named {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Proxy as Service<Request<Incoming>>>::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        Service::<Request<Incoming>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(UpstreamName(NAME.into()));
        self.0.call(request)
    }
}
