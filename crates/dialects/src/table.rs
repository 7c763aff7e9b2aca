//! The tables of routes: data in `routes/*.toml`, read once into a tree of path segments.

use std::sync::{Arc, LazyLock};

use gatewayd_core::{Action, Dialect};
use http::Method;
use serde::Deserialize;

use crate::peek::Members;

/// The tables in the order in which a shared route is given to a dialect.
const SOURCES: [&str; 6] = [
    include_str!("../routes/openai.toml"),
    include_str!("../routes/anthropic.toml"),
    include_str!("../routes/ollama.toml"),
    include_str!("../routes/vllm.toml"),
    include_str!("../routes/llama-cpp.toml"),
    include_str!("../routes/kserve.toml"),
];

static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::read(&SOURCES).expect("the embedded tables are read by this crate's tests"));

/// What is known of a route before its request is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) dialect: Dialect,
    pub(crate) action: Action,
    /// The template, with its mount.
    pub(crate) template: Arc<str>,
    pub(crate) body: BodyKind,
    /// The members of the JSON body that name models.
    pub(crate) members: Members,
    /// Its JSON body names the model, so it must be an object.
    pub(crate) needs_object: bool,
    pub(crate) streams: Streams,
    /// A query parameter and the value it must have.
    pub(crate) query: Option<(String, String)>,
    /// Which of the captured segments names the model.
    pub(crate) model_segment: Option<usize>,
}

/// How a request's body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BodyKind {
    /// None is allowed.
    Empty,
    /// JSON whatever its content type says: read whole.
    Json,
    /// A multipart form, or JSON.
    Form,
    /// Anything: streams through unread.
    Opaque,
}

/// Whether the answer is a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Streams {
    /// If `stream` is true.
    OnRequest,
    /// Unless `stream` is false.
    ByDefault,
    /// Whatever the request says.
    Always,
}

/// A route that matched.
#[derive(Debug)]
pub(crate) struct Match<'p> {
    pub(crate) route: &'static Route,
    /// The segment that names the model, as sent.
    pub(crate) model: Option<&'p str>,
}

/// The routes of a path and method that matched, of which the query may choose.
pub(crate) fn find<'p>(method: &Method, path: &'p str, anthropic: bool) -> Option<Candidates<'p>> {
    let table: &'static Table = &TABLE;
    table.find(method, path, anthropic)
}

/// Every known route as `(dialect, method, template, action)`, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = (Dialect, &'static Method, &'static str, Action)> {
    let table: &'static Table = &TABLE;
    table.routes.iter().map(|(method, route)| (route.dialect, method, &*route.template, route.action))
}

/// Routes that share a path and a method: the same action, unless the query tells them apart.
pub(crate) struct Candidates<'p> {
    routes: &'static [Arc<Route>],
    captured: Vec<&'p str>,
    prefers_anthropic: bool,
}

impl<'p> Candidates<'p> {
    /// The name of the query parameter that chooses, if one does.
    pub(crate) fn chooser(&self) -> Option<&'static str> {
        self.routes.first()?.query.as_ref().map(|(name, _)| name.as_str())
    }

    /// The route for that value of the chooser.
    pub(crate) fn choose(self, value: Option<&str>) -> Option<Match<'p>> {
        let fits = |route: &&Arc<Route>| {
            route.query.as_ref().is_none_or(|(_, wanted)| value == Some(wanted.as_str()))
        };
        let theirs = |route: &&Arc<Route>| route.dialect == Dialect::Anthropic && fits(route);
        let theirs = if self.prefers_anthropic { self.routes.iter().find(theirs) } else { None };
        let route: &'static Route = theirs.or_else(|| self.routes.iter().find(fits))?;
        let model = route.model_segment.and_then(|at| self.captured.get(at).copied());
        Some(Match { route, model })
    }
}

struct Table {
    root: Node,
    routes: Vec<(Method, Arc<Route>)>,
}

#[derive(Default)]
struct Node {
    literal: Vec<(Box<str>, Node)>,
    segment: Option<Box<Node>>,
    rest: Option<Box<Node>>,
    routes: Vec<(Method, Vec<Arc<Route>>)>,
}

impl Table {
    fn read(sources: &[&str]) -> Result<Self, String> {
        let mut table = Self { root: Node::default(), routes: Vec::new() };
        for source in sources {
            let raw: RawTable = toml::from_str(source).map_err(|error| error.to_string())?;
            for route in &raw.routes {
                table.add_everywhere(&raw, route).map_err(|why| format!("{}: {why}", route.on))?;
            }
        }
        Ok(table)
    }

    fn add_everywhere(&mut self, raw: &RawTable, row: &RawRoute) -> Result<(), String> {
        let (methods, path) = row.on.split_once(' ').ok_or("it is not `METHOD /path`")?;
        let deployments = if row.deployment { raw.deployments.as_deref() } else { None };
        for mount in raw.mounts.iter().map(String::as_str).chain(deployments) {
            let template = match (mount, path) {
                ("", path) => path.to_owned(),
                (mount, "/") => mount.to_owned(),
                (mount, path) => format!("{mount}{path}"),
            };
            for method in methods.split('|') {
                let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
                self.add(method, &template, raw.dialect, row)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        method: Method,
        template: &str,
        dialect: Dialect,
        row: &RawRoute,
    ) -> Result<(), String> {
        let mut node = &mut self.root;
        let mut captured = 0;
        let mut model_segment = None;
        let relative = template.strip_prefix('/').ok_or("a path starts with `/`")?;
        for segment in relative.split('/').filter(|segment| !segment.is_empty()) {
            let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) else {
                node = node.literal_child(segment);
                continue;
            };
            if name.trim_end_matches('+') == "model" {
                model_segment = Some(captured);
            }
            captured += 1;
            let child = if name.ends_with('+') { &mut node.rest } else { &mut node.segment };
            node = child.get_or_insert_default();
        }
        let bodiless = matches!(method, Method::GET | Method::HEAD);
        // Routes on which a model works are not useful without one, and neither are those whose row says where it stands.
        let works = matches!(row.action, Action::Infer | Action::Embed | Action::Tokenize);
        let route = Arc::new(Route {
            dialect,
            needs_object: model_segment.is_none() && (works || row.model.is_some()),
            action: row.action,
            template: template.into(),
            body: row.body.unwrap_or(if bodiless { BodyKind::Empty } else { BodyKind::Json }),
            members: Members {
                model: row.model.clone().unwrap_or_else(|| vec!["model".to_owned()]),
                others: row.others.clone(),
                unread: row.unread.clone(),
            },
            streams: row.streams.unwrap_or(Streams::OnRequest),
            query: row.query()?,
            model_segment,
        });
        node.add(&method, &route)?;
        self.routes.push((method, route));
        Ok(())
    }

    fn find<'p>(&'static self, method: &Method, path: &'p str, anthropic: bool) -> Option<Candidates<'p>> {
        let rest = path.strip_prefix('/')?;
        // `/v1/models/` means what `/v1/models` means, to every server that answers both.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut captured = Vec::new();
        let mut routes = self.root.walk(method, rest, &mut captured);
        if routes.is_none() && method == Method::HEAD {
            routes = self.root.walk(&Method::GET, rest, &mut captured);
        }
        Some(Candidates { routes: routes?, captured, prefers_anthropic: anthropic })
    }
}

impl Node {
    fn literal_child(&mut self, segment: &str) -> &mut Self {
        let at = match self.literal.binary_search_by(|(name, _)| (**name).cmp(segment)) {
            Ok(at) => at,
            Err(at) => {
                self.literal.insert(at, (segment.into(), Self::default()));
                at
            }
        };
        &mut self.literal.get_mut(at).expect("found or inserted above").1
    }

    fn add(&mut self, method: &Method, route: &Arc<Route>) -> Result<(), String> {
        let at = self.routes.iter().position(|(known, _)| known == method).unwrap_or_else(|| {
            self.routes.push((method.clone(), Vec::new()));
            self.routes.len() - 1
        });
        let (_, routes) = self.routes.get_mut(at).expect("found or pushed above");
        for other in routes.iter().filter(|other| other.query == route.query) {
            if other.dialect == route.dialect {
                return Err("it is listed twice".to_owned());
            }
            // A header tells dialects apart, and a header is the caller's word: it must not change the action.
            if (other.action, other.body, other.model_segment, &other.members)
                != (route.action, route.body, route.model_segment, &route.members)
            {
                return Err(format!("{} says otherwise", other.dialect.as_str()));
            }
        }
        routes.push(Arc::clone(route));
        Ok(())
    }

    /// The routes of this path and method: literals first, then one segment, then the rest.
    fn walk<'t, 'p>(
        &'t self,
        method: &Method,
        rest: &'p str,
        captured: &mut Vec<&'p str>,
    ) -> Option<&'t [Arc<Route>]> {
        if rest.is_empty() {
            let known = self.routes.iter().find(|(known, _)| known == method);
            return known.map(|(_, routes)| routes.as_slice());
        }
        let (segment, tail) = rest.split_once('/').unwrap_or((rest, ""));
        if let Ok(at) = self.literal.binary_search_by(|(name, _)| (**name).cmp(segment))
            && let Some((_, child)) = self.literal.get(at)
            && let Some(found) = child.walk(method, tail, captured)
        {
            return Some(found);
        }
        let depth = captured.len();
        if let Some(child) = &self.segment {
            captured.push(segment);
            if let Some(found) = child.walk(method, tail, captured) {
                return Some(found);
            }
            captured.truncate(depth);
        }
        if let Some(child) = &self.rest {
            captured.push(rest);
            if let Some(found) = child.walk(method, "", captured) {
                return Some(found);
            }
            captured.truncate(depth);
        }
        None
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    dialect: Dialect,
    mounts: Vec<String>,
    deployments: Option<String>,
    routes: Vec<RawRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    on: String,
    action: Action,
    body: Option<BodyKind>,
    model: Option<Vec<String>>,
    #[serde(default)]
    others: Vec<String>,
    #[serde(default)]
    unread: Vec<String>,
    streams: Option<Streams>,
    query: Option<String>,
    #[serde(default)]
    deployment: bool,
}

impl RawRoute {
    fn query(&self) -> Result<Option<(String, String)>, String> {
        let Some(query) = &self.query else { return Ok(None) };
        let (name, value) = query.split_once('=').ok_or("a query is `name=value`")?;
        Ok(Some((name.to_owned(), value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on<'p>(method: &Method, path: &'p str) -> Option<Match<'p>> {
        find(method, path, false).and_then(|candidates| candidates.choose(None))
    }

    #[test]
    fn the_embedded_tables_are_sound() {
        let table = Table::read(&SOURCES).expect("every table reads");
        assert!(table.routes.len() > 400, "{}", table.routes.len());
        for (_, route) in &table.routes {
            assert_ne!(route.action, Action::Unknown, "{route:?}");
            for segment in route.template.split('/').filter(|segment| !segment.starts_with('{')) {
                // No literal holds a character that could be sent percent-encoded.
                assert!(
                    segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
                    "{segment}"
                );
            }
        }
    }

    #[test]
    fn two_dialects_may_not_disagree_about_one_route() {
        let one =
            "dialect = \"openai\"\nmounts = [\"\"]\nroutes = [{ on = \"POST /a\", action = \"infer\" }]";
        let other =
            "dialect = \"vllm\"\nmounts = [\"\"]\nroutes = [{ on = \"POST /a\", action = \"delete\" }]";
        assert!(Table::read(&[one, other]).is_err_and(|why| why.contains("says otherwise")));
        assert!(Table::read(&[one, one]).is_err_and(|why| why.contains("twice")));
    }

    #[test]
    fn a_literal_that_leads_nowhere_falls_back_to_a_segment() {
        // `load` is a literal for POST; for GET it is the name of a model.
        let found = on(&Method::GET, "/models/load").expect("a model named `load`");
        assert_eq!((found.route.action, found.model), (Action::ListModels, Some("load")));
        let found = on(&Method::POST, "/models/load").expect("the route");
        assert_eq!(found.route.action, Action::ManageModel);
    }

    #[test]
    fn the_rest_of_a_path_can_be_one_name() {
        let found = on(&Method::GET, "/v1/models/meta/llama-3").expect("a model");
        assert_eq!(found.model, Some("meta/llama-3"));
        assert!(on(&Method::POST, "/v1/models/meta/llama-3").is_none());
    }
}
