//! What the programs in `src/bin/` share: what a host brings along itself.
//!
//! Each program puts one control into an axum service. A control takes what it needs to know from the request's
//! extensions, so it does not matter who put it there: another control of gatewayd, or, as here, code of your own.
//!
//! - [`sign_in`] stands for your own login. It ends in an [`Identity`], the one word that all controls know.
//! - [`wants`] makes an [`Operation`], the word for what a request is about to do.
//! - [`note_peer`] tells the controls where a request came from, as axum knows it.
//! - [`Redactor`] lets the masker work for those controls that store or show text. They know the [`Redact`] trait
//!   and not the masker, so that neither drags the other along; these lines are all that is between them.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use gatewayd_core::{Action, Dialect, Identity, IdentityKind, Operation, Peer, Redact, RedactStream};
use gatewayd_masker::Masker;
use gatewayd_masker::format::{BodyKind, BodyStream};

/// Who is signed in, by the name of their session. Stands for whatever your service has.
#[derive(Clone, Default)]
pub struct Logins(Arc<HashMap<String, Identity>>);

impl Logins {
    /// These sessions.
    #[must_use]
    pub fn new<const N: usize>(sessions: [(&str, Identity); N]) -> Self {
        Self(Arc::new(sessions.map(|(session, who)| (session.to_owned(), who)).into()))
    }
}

/// A person, in the words of the controls. `groups` is sorted and without duplicates there.
#[must_use]
pub fn person(subject: &str, groups: &[&str]) -> Identity {
    let mut groups: Vec<Arc<str>> = groups.iter().map(|&group| group.into()).collect();
    groups.sort();
    groups.dedup();
    Identity {
        kind: IdentityKind::Oidc,
        issuer: "https://login.example".into(),
        subject: subject.into(),
        name: None,
        groups: groups.into(),
        expires: None,
    }
}

/// What a request wants, in the words of the controls. `route` is a template, fit for metrics; `model` is what the
/// request is about.
#[must_use]
pub fn wants(action: Action, model: Option<String>, route: &str) -> Operation {
    Operation {
        // Errors are RFC 9457 problem details; for a model's API it would be the API's own shape.
        dialect: Dialect::Unknown,
        action,
        model: model.map(Into::into),
        other_models: [].into(),
        streaming: false,
        route: route.into(),
    }
}

/// Middleware: finds out who is calling, and says it in the request's extensions.
///
/// The session's name goes no further, so that no layer inside can store, show or send it.
pub async fn sign_in(State(logins): State<Logins>, mut request: Request, next: Next) -> Response {
    let header = request.headers_mut().remove(header::AUTHORIZATION);
    let session = header.as_ref().and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(who) = session.and_then(|session| logins.0.get(session)) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    request.extensions_mut().insert(who.clone());
    next.run(request).await
}

/// Middleware: says where a request came from, for rules with `sources` and for the record.
///
/// It is the other end of the connection and nothing that a header claims. Behind a load balancer of yours, put here what
/// you have reason to believe. Serve the router with `into_make_service_with_connect_info::<SocketAddr>()`.
pub async fn note_peer(
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(Peer { address, tls: false });
    next.run(request).await
}

/// The masker, as controls know it that store or show text.
#[derive(Debug, Clone)]
pub struct Redactor(pub Masker);

impl Redact for Redactor {
    fn start(&self, content_type: Option<&str>) -> Box<dyn RedactStream> {
        Box::new(Redacting(self.0.body(BodyKind::of(content_type))))
    }
}

struct Redacting(BodyStream);

impl RedactStream for Redacting {
    fn push(&mut self, chunk: &[u8]) -> Result<Bytes, String> {
        self.0.push(chunk).map(Bytes::from).map_err(|error| error.to_string())
    }

    fn finish(&mut self) -> Result<Bytes, String> {
        self.0.finish().map(Bytes::from).map_err(|error| error.to_string())
    }
}
