//! From a request to its operation, without HTTP machinery.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use gatewayd_core::{Action, Dialect, Operation, UpstreamName};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

use crate::config::{Config, ConfigError, Limits};
use crate::path::{self, PathProblem};
use crate::peek::{self, JsonProblem, Members, Peeked};
use crate::problem::Problem;
use crate::table::{self, BodyKind, Match, Streams};
use crate::upstreams::{Group, Upstreams};

static UNKNOWN: LazyLock<Arc<str>> = LazyLock::new(|| "unknown".into());

/// Says what a request asks for and where it goes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialects(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    upstreams: Upstreams,
    limits: Limits,
}

/// One request, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Classified {
    /// What is asked for.
    pub operation: Operation,
    /// Where it goes.
    pub upstream: UpstreamName,
    /// The path and query to send there, if they are not those of the request.
    pub path: Option<PathAndQuery>,
}

/// A known route, as listed by [`Dialects::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownRoute {
    /// Whose route it is.
    pub dialect: Dialect,
    /// Its method; `HEAD` is taken as `GET` unless listed itself.
    pub method: &'static Method,
    /// Its path, with `{name}` for one segment and `{name+}` for the rest.
    pub template: &'static str,
    /// What it does.
    pub action: Action,
}

/// What the head of a request says.
pub(crate) struct Head<'r> {
    pub(crate) route: Option<Match<'r>>,
    pub(crate) dialect: Dialect,
    group: &'r Group,
    below: &'r str,
    uri: &'r Uri,
    /// `model` and `stream` of the query.
    query: Peeked,
}

impl Dialects {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the upstream and says what to change.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let upstreams = Upstreams::new(&config.upstreams, config.default.as_deref())?;
        Ok(Self(Arc::new(Inner { upstreams, limits: config.limits })))
    }

    /// What a request asks for. `body` is its JSON, if it has one; without it, neither a model named in
    /// the body nor a wish for a stream is known.
    ///
    /// # Errors
    /// If the request could be read in two ways, or no upstream serves it.
    pub fn classify(&self, method: &Method, uri: &Uri, body: Option<&[u8]>) -> Result<Classified, Problem> {
        let headers = HeaderMap::new();
        let head = self.head(method, uri, &headers)?;
        let kind = head.body_kind();
        let peeked = match body {
            Some(body) if kind == BodyKind::Empty && !body.is_empty() => return Err(Problem::UnexpectedBody),
            Some(body) if matches!(kind, BodyKind::Json | BodyKind::Form) => head.peek(body)?,
            _ => Peeked::default(),
        };
        self.finish(head, peeked)
    }

    /// As [`classify`](Self::classify), for a request of which only the model it names is known, wherever the
    /// route has its model: in the body under whatever key, in a form, or in the path. Of further models that it may
    /// have named nothing is known.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn classify_named(
        &self,
        method: &Method,
        uri: &Uri,
        model: Option<&str>,
    ) -> Result<Classified, Problem> {
        let headers = HeaderMap::new();
        let head = self.head(method, uri, &headers)?;
        model.map_or(Ok(()), peek::check_model)?;
        let peeked = Peeked { model: model.map(str::to_owned), ..Peeked::default() };
        self.finish(head, peeked)
    }

    /// Every route of the tables.
    pub fn routes() -> impl Iterator<Item = KnownRoute> {
        table::all().map(|(dialect, method, template, action)| KnownRoute {
            dialect,
            method,
            template,
            action,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Finds the route. It is looked up in the path that will be sent.
    pub(crate) fn head<'r>(
        &'r self,
        method: &Method,
        uri: &'r Uri,
        headers: &HeaderMap,
    ) -> Result<Head<'r>, Problem> {
        let path = uri.path();
        path::check(path)?;
        let group = self.0.upstreams.group(path);
        let below = group.below(path).ok_or(PathProblem::NotNormal)?;
        let anthropic = headers.contains_key("anthropic-version");
        // A prefix that is sent may belong to the upstream's own routes.
        let whole = if group.strips() { None } else { table::find(method, path, anthropic) };
        let candidates = whole.or_else(|| table::find(method, below, anthropic));
        let route = match candidates {
            Some(candidates) => match candidates.chooser() {
                Some(chooser) => {
                    let value = path::parameter(uri.query(), chooser)?;
                    candidates.choose(value.as_deref())
                }
                None => candidates.choose(None),
            },
            None => None,
        };
        let dialect =
            route.as_ref().map_or_else(|| Dialect::guess(uri, headers), |found| found.route.dialect);
        let mut head = Head { route, dialect, group, below, uri, query: Peeked::default() };
        if let (Some(found), Some(query)) = (&head.route, uri.query()) {
            head.query = peek_query(query, &found.route.members, head.is_judged_by_body())?;
        }
        Ok(head)
    }

    /// Puts head and body together.
    pub(crate) fn finish(&self, mut head: Head<'_>, peeked: Peeked) -> Result<Classified, Problem> {
        head.check_query(&peeked)?;
        let said = match (peeked.model, head.query.model.take()) {
            (Some(said), Some(query)) if said != query => return Err(Problem::ModelsDisagree),
            (said, query) => said.or(query),
        };
        let path_model = head.path_model();
        let model = match (path_model, said) {
            (Some(path), Some(said)) if *path != *said => return Err(Problem::ModelsDisagree),
            (Some(path), _) => {
                peek::check_model(&path)?;
                Some(Arc::from(&*path))
            }
            (None, said) => said.map(Arc::from),
        };
        let asked = peeked.stream.or(head.query.stream);
        let (action, route, streaming) = match &head.route {
            Some(found) => {
                let streaming = match found.route.streams {
                    Streams::OnRequest => asked.unwrap_or(false),
                    Streams::ByDefault => asked.unwrap_or(true),
                    Streams::Always => true,
                };
                (found.route.action, Arc::clone(&found.route.template), streaming)
            }
            None => (Action::Unknown, Arc::clone(&UNKNOWN), asked.unwrap_or(false)),
        };
        let upstream = self.0.upstreams.choose(head.group, model.as_deref()).ok_or(Problem::NoUpstream)?;
        let other_models = other_models(model.as_deref(), &peeked.others);
        let path = head.stripped_path()?;
        let operation = Operation { dialect: head.dialect, action, model, other_models, streaming, route };
        Ok(Classified { operation, upstream, path })
    }
}

impl Head<'_> {
    /// How the body is to be read.
    pub(crate) fn body_kind(&self) -> BodyKind {
        self.route.as_ref().map_or(BodyKind::Opaque, |found| found.route.body)
    }

    /// Reads a JSON body, which may be empty.
    pub(crate) fn peek(&self, body: &[u8]) -> Result<Peeked, JsonProblem> {
        match &self.route {
            Some(found) => peek::peek(body, &found.route.members, found.route.needs_object),
            None => peek::peek(body, &Members::default(), false),
        }
    }

    /// True if what is done is told by the body, so that the query has no say in it.
    fn is_judged_by_body(&self) -> bool {
        matches!(self.body_kind(), BodyKind::Json | BodyKind::Form)
    }

    /// Some servers take `model` from the query before they look into the body, others never look at the query:
    /// only where both say the same is there one reading.
    fn check_query(&self, body: &Peeked) -> Result<(), Problem> {
        if !self.is_judged_by_body() {
            return Ok(());
        }
        let decides = |name: &str| Err(Problem::QueryDecides(name.to_owned()));
        if let Some(query) = &self.query.model
            && body.model.as_ref() != Some(query)
            && self.path_model().as_deref() != Some(query)
        {
            return decides("model");
        }
        if self.query.stream.is_some() && self.query.stream != body.stream {
            return decides("stream");
        }
        Ok(())
    }

    fn path_model(&self) -> Option<Cow<'_, str>> {
        self.route.as_ref().and_then(|found| found.model).map(path::decode)
    }

    fn stripped_path(&self) -> Result<Option<PathAndQuery>, Problem> {
        if !self.group.strips() {
            return Ok(None);
        }
        let text = match self.uri.query() {
            Some(query) => format!("{}?{query}", self.below),
            None => self.below.to_owned(),
        };
        PathAndQuery::try_from(text).map(Some).map_err(|_| PathProblem::AmbiguousCharacter.into())
    }
}

/// Reads the query of a known route. Where the body decides, a member of the body has no place in it.
fn peek_query(query: &str, members: &Members, body_decides: bool) -> Result<Peeked, Problem> {
    path::check_spelling(query, &members.names().chain(["model"]).collect::<Vec<_>>())?;
    let model = path::parameter(Some(query), "model")?.map(Cow::into_owned);
    if let Some(model) = &model {
        peek::check_model(model)?;
    }
    let stream = path::parameter(Some(query), "stream")?.map(|value| value == "true");
    if body_decides {
        for name in members.names().filter(|name| !matches!(*name, "model" | "stream")) {
            if path::parameter(Some(query), name)?.is_some() {
                return Err(Problem::QueryDecides(name.to_owned()));
            }
        }
    }
    Ok(Peeked { model, stream, ..Peeked::default() })
}

/// Every model that is named beside `model`. A name with commas is a list to some servers, which then ask each.
fn other_models(model: Option<&str>, others: &[String]) -> Arc<[Arc<str>]> {
    let list = model.filter(|name| name.contains(',')).into_iter().flat_map(|name| name.split(','));
    let list = list.map(str::trim).filter(|name| !name.is_empty());
    let others = list.chain(others.iter().map(String::as_str));
    others.filter(|other| Some(*other) != model).map(Arc::from).collect()
}
