//! The admin listener: health, metrics, approvals, sessions, tokens, the log's checkpoint.
//!
//! Health, metrics and the checkpoint are open: they hold no secret and no name of a caller. Everything
//! else needs the local administrator's key or a token of an identity provider.

mod approvals;
mod auth;
mod extract;
mod health;
mod keeping;
mod log;
mod moment;
mod places;
mod recheck;
mod sessions;
mod tokens;

use axum::Router;
use axum::body::Body as AxumBody;
use axum::routing::{delete, get, post};
use gatewayd_approvals::Approvals;
use gatewayd_authn::{Authn, TokenStore};
use gatewayd_core::{Body, Journal, RefusalCode};
use gatewayd_recorder::Recorder;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::serve::gateway::Gateway;
use auth::{Administrator, Problem};
use places::{Place, Places};

/// The largest body of an admin request.
const BODY_LIMIT: usize = 64 * 1024;
/// Time for a request's head, for its body, and for a TLS handshake.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Connections at once.
const PLACES: usize = 256;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct AdminState(Gateway);

impl AdminState {
    fn gateway(&self) -> &Gateway {
        &self.0
    }

    fn admin_authn(&self) -> Authn {
        self.0.controls().admin_authn.clone()
    }

    fn admin_groups(&self) -> Vec<String> {
        self.0.controls().config.admin.groups.clone()
    }

    fn approvals(&self) -> &Approvals {
        &self.0.lasting().approvals
    }

    fn tokens(&self) -> &TokenStore {
        &self.0.lasting().tokens
    }

    fn recorder(&self) -> &Recorder {
        &self.0.lasting().recorder
    }

    fn journal(&self) -> &dyn Journal {
        &self.0.lasting().recorder
    }
}

fn router(state: AdminState) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/log/tile/{*path}", get(log::tile))
        .route("/approvals/{id}", get(approvals::signpost))
        .route("/api/v1/approvals", get(approvals::list))
        .route("/api/v1/approvals/{id}", get(approvals::show).delete(approvals::cancel))
        .route("/api/v1/approvals/{id}/votes", post(approvals::vote))
        .route("/api/v1/sessions", get(sessions::list))
        .route("/api/v1/sessions/{id}", get(sessions::show))
        .route("/api/v1/sessions/{id}/replay", get(sessions::replay))
        .route("/api/v1/sessions/{id}/export", get(sessions::export))
        .route("/api/v1/sessions/{id}/proof", get(sessions::proof))
        .route("/api/v1/sessions/{id}/recheck", post(recheck::recheck))
        .route("/api/v1/events", get(sessions::events))
        .route("/api/v1/erasures", post(keeping::erase))
        .route("/api/v1/holds", get(keeping::holds).post(keeping::hold))
        .route("/api/v1/holds/{hold}/release", post(keeping::release))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
        .route("/api/v1/reload", post(reload))
        .fallback(async || Problem::new(RefusalCode::NotFound, "the admin API has no such route"))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state)
}

async fn reload(
    axum::extract::State(state): axum::extract::State<AdminState>,
    Administrator(by): Administrator,
) -> Result<&'static str, Problem> {
    match state.gateway().reload(Some(by)).await {
        Ok(()) => Ok("the new configuration is in force\n"),
        Err(error) => Err(Problem::new(RefusalCode::InvalidRequest, format!("{error:#}"))),
    }
}

/// Serves until told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    gateway: Gateway,
    stop: CancellationToken,
) {
    let router = router(AdminState(gateway));
    let places = Places::new(PLACES);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let (place, router, tls) = (places.take(), router.clone(), tls.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = talk(stream, tls, &place, router) => {}
                () = place.must_leave() => tracing::debug!("an admin connection made room for another"),
            }
        });
    }
}

async fn talk(stream: TcpStream, tls: Option<TlsAcceptor>, place: &Place, router: Router) {
    match tls {
        None => connection(stream, place, router).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                connection(stream, place, router).await;
            }
        }
    }
}

async fn connection<I>(stream: I, place: &Place, router: Router)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(64 * 1024);
    server.http2().timer(TokioTimer::new()).max_header_list_size(64 * 1024);
    let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
        let asked = place.ask(request.body().is_end_stream());
        let mut request = request.map(|body| AxumBody::new(Body::new(body)));
        request.extensions_mut().insert(asked.clone());
        let answer = router.clone().oneshot(request);
        async move {
            let is_answered_while_kept = move |frame| {
                let _kept = &asked;
                frame
            };
            answer.await.map(|answer| answer.map(|body| body.map_frame(is_answered_while_kept)))
        }
    });
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an admin connection ended early");
    }
}
