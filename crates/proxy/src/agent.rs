//! Calls the admin API, for the command line.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use gatewayd_core::{Body, Secret};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use reqwest::{Client, Url, redirect};

use crate::error::{AgentError, ConfigError, in_one_line};
use crate::tls::{self, Trust};
use crate::upstreams::{USER_AGENT, base_url, plain_client};

/// How the admin API is called.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Base URL of the admin listener.
    pub url: String,
    /// The bearer token to show.
    pub token: Option<Secret>,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Longest wait for a whole answer; a streamed one may take longer.
    pub timeout: Duration,
}

impl AgentConfig {
    /// Calls that URL, without a token, waiting half a minute.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, ca: None, timeout: Duration::from_secs(30) }
    }
}

/// Calls a JSON API with a bearer token. It follows no redirect: the token goes nowhere else.
#[derive(Debug, Clone)]
pub struct Agent {
    client: Client,
    base: Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// What the API answered, whatever the status.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Agent {
    /// Sets the client up.
    ///
    /// # Errors
    /// If the URL, the token or the authorities cannot be used.
    pub fn new(config: &AgentConfig) -> Result<Self, ConfigError> {
        let base = base_url("admin", &config.url)?;
        let trust = match &config.ca {
            _ if base.scheme() == "http" => Trust::Nobody,
            Some(path) => Trust::Only(path),
            None => Trust::System,
        };
        let tls = tls::client_config(trust, None, &[b"h2", b"http/1.1"])?;
        let client = plain_client(tls)
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(config.timeout)
            .build()
            .map_err(|error| ConfigError::Client(error.to_string()))?;
        let authorization = match &config.token {
            None => None,
            Some(token) => {
                let mut value = b"Bearer ".to_vec();
                value.extend_from_slice(token.expose());
                let mut value = HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| {
                    ConfigError::Client("the token holds characters no header can".to_owned())
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { client, base, authorization, timeout: config.timeout })
    }

    /// `GET`s a path (with its query).
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn get(&self, path: &str) -> Result<Answer, AgentError> {
        self.call(Method::GET, path, None).await
    }

    /// `POST`s JSON to a path.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer, AgentError> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `DELETE`s a path.
    ///
    /// # Errors
    /// If there is no whole answer.
    pub async fn delete(&self, path: &str) -> Result<Answer, AgentError> {
        self.call(Method::DELETE, path, None).await
    }

    /// `GET`s a path and gives the body as it comes.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn stream(&self, path: &str) -> Result<(StatusCode, Body), AgentError> {
        let request = self.request(Method::GET, path, None)?;
        let sent = tokio::time::timeout(self.timeout, self.client.execute(request));
        let answer = sent.await.map_err(|_elapsed| self.late())?.map_err(|error| self.failed(error))?;
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        Ok((parts.status, Body::new(body)))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, AgentError> {
        let request = self.request(method, path, body)?;
        let exchange = async {
            let answer = self.client.execute(request).await?;
            Ok(Answer { status: answer.status(), body: answer.bytes().await? })
        };
        let done = tokio::time::timeout(self.timeout, exchange).await.map_err(|_elapsed| self.late())?;
        done.map_err(|error| self.failed(error))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<reqwest::Request, AgentError> {
        let bad = || AgentError::BadPath(path.to_owned());
        if !path.starts_with('/') || path.starts_with("//") {
            return Err(bad());
        }
        let whole = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let url = self.base.join(&whole).map_err(|_| bad())?;
        if url.origin() != self.base.origin() {
            return Err(bad());
        }
        let mut request = reqwest::Request::new(method, url);
        if let Some(value) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        if let Some(json) = body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(json.to_string().into());
        }
        Ok(request)
    }

    fn late(&self) -> AgentError {
        AgentError::Broken { origin: self.origin(), why: format!("nothing within {:?}", self.timeout) }
    }

    fn failed(&self, error: reqwest::Error) -> AgentError {
        let origin = self.origin();
        let is_connect = error.is_connect();
        let why = in_one_line(&error.without_url());
        if is_connect { AgentError::Connect { origin, why } } else { AgentError::Broken { origin, why } }
    }

    fn origin(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

impl Answer {
    /// The body as JSON, if it is.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}
