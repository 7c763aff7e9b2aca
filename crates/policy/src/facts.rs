//! What a decision looks at.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use gatewayd_core::{Action, Identity, IdentityKind, Operation, Timestamp, UpstreamName};

use crate::model::normalise_model;
use crate::named::Named;

/// The inputs of one decision.
pub(crate) struct Facts<'a> {
    pub(crate) identity: &'a Identity,
    /// The caller's groups once more, to be found at once.
    pub(crate) groups: HashSet<&'a str>,
    pub(crate) operation: &'a Operation,
    pub(crate) upstream: &'a UpstreamName,
    pub(crate) source: Option<IpAddr>,
    pub(crate) now: Timestamp,
    /// Normalised; `None` where the request names no model.
    pub(crate) model: Option<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(
        identity: &'a Identity,
        operation: &'a Operation,
        upstream: &'a UpstreamName,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Self {
        Self::on(operation.model.as_deref(), identity, operation, upstream, source, now)
    }

    /// The same question about another model that the request names.
    pub(crate) fn about(&self, model: &'a str) -> Self {
        Self::on(Some(model), self.identity, self.operation, self.upstream, self.source, self.now)
    }

    fn on(
        model: Option<&'a str>,
        identity: &'a Identity,
        operation: &'a Operation,
        upstream: &'a UpstreamName,
        source: Option<IpAddr>,
        now: Timestamp,
    ) -> Self {
        let model = model.map(normalise_model).filter(|name| !name.is_empty());
        // `::ffff:10.0.0.1` is 10.0.0.1, whatever the listener's socket makes of it.
        let source = source.map(|address| address.to_canonical());
        let groups = identity.groups.iter().map(|group| &**group).collect();
        Self { identity, groups, operation, upstream, source, now, model }
    }

    /// True if the model server takes one of its models by itself when none is named, so that a rule
    /// that keeps callers from a model must assume that it is that one.
    pub(crate) fn server_picks_model(&self) -> bool {
        matches!(self.operation.action, Action::Infer | Action::Embed | Action::Tokenize | Action::Unknown)
    }

    /// The question in Cedar's terms, with the only entities it needs. Groups, and the time, that no rule names
    /// are left out: they cost much and change nothing.
    pub(crate) fn question<'w>(
        &self,
        types: &EntityTypes,
        named: &Named,
        windows: impl Iterator<Item = &'w str>,
    ) -> Result<(Request, Entities), String> {
        let principal = types.user(&self.identity.key());
        let upstream = types.upstream(&self.upstream.0);
        let mut entities = vec![self.principal_entity(types, named, &principal)?];
        let resource = match &self.model {
            None => upstream,
            Some(model) => {
                let uid = types.model(&self.upstream.0, model);
                let name = RestrictedExpression::new_string(model.clone().into_owned());
                let attributes = [("name".to_owned(), name)].into_iter().collect();
                let parents = [upstream].into_iter().collect();
                let entity = Entity::new(uid.clone(), attributes, parents).map_err(|e| e.to_string())?;
                entities.push(entity);
                uid
            }
        };
        let action = types.action(self.operation.action);
        let context = self.context(named, windows)?;
        let request = Request::new(principal, action, resource, context, None).map_err(|e| e.to_string())?;
        let entities = Entities::from_entities(entities, None).map_err(|e| e.to_string())?;
        Ok((request, entities))
    }

    fn principal_entity(
        &self,
        types: &EntityTypes,
        named: &Named,
        uid: &EntityUid,
    ) -> Result<Entity, String> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let attributes = [
            ("issuer".to_owned(), text(&self.identity.issuer)),
            ("subject".to_owned(), text(&self.identity.subject)),
            ("kind".to_owned(), text(kind_name(self.identity.kind))),
        ];
        let groups = self.groups.iter().filter(|group| named.has(group));
        let parents = groups.map(|group| types.group(group)).collect();
        Entity::new(uid.clone(), attributes.into_iter().collect(), parents).map_err(|e| e.to_string())
    }

    fn context<'w>(&self, named: &Named, windows: impl Iterator<Item = &'w str>) -> Result<Context, String> {
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        // What is no time of this calendar is an error even if nobody asks: no rule with hours could be trusted.
        let now =
            jiff::Timestamp::from_millisecond(self.now.0.div_euclid(1000)).map_err(|e| e.to_string())?;
        let mut pairs = vec![
            ("dialect".to_owned(), text(self.operation.dialect.as_str())),
            ("route".to_owned(), text(&self.operation.route)),
            ("streaming".to_owned(), RestrictedExpression::new_bool(self.operation.streaming)),
            ("windows".to_owned(), RestrictedExpression::new_set(windows.map(text))),
        ];
        if named.has("now") {
            pairs.push(("now".to_owned(), RestrictedExpression::new_datetime(format!("{now:.3}"))));
        }
        if let Some(source) = self.source {
            pairs.push(("source".to_owned(), RestrictedExpression::new_ip(source.to_string())));
        }
        Context::from_pairs(pairs).map_err(|e| e.to_string())
    }
}

/// Names of the entity types, parsed once.
#[derive(Debug, Clone)]
pub(crate) struct EntityTypes {
    user: EntityTypeName,
    group: EntityTypeName,
    upstream: EntityTypeName,
    model: EntityTypeName,
    action: EntityTypeName,
}

impl EntityTypes {
    pub(crate) fn new() -> Self {
        let name = |name: &str| -> EntityTypeName {
            name.parse().expect("the names below are Cedar identifiers; a test loads the schema with them")
        };
        Self {
            user: name("Gatewayd::User"),
            group: name("Gatewayd::Group"),
            upstream: name("Gatewayd::Upstream"),
            model: name("Gatewayd::Model"),
            action: name("Gatewayd::Action"),
        }
    }

    pub(crate) fn action(&self, action: Action) -> EntityUid {
        uid(&self.action, action.as_str())
    }

    fn user(&self, key: &str) -> EntityUid {
        uid(&self.user, key)
    }

    fn group(&self, name: &str) -> EntityUid {
        uid(&self.group, name)
    }

    fn upstream(&self, name: &str) -> EntityUid {
        uid(&self.upstream, name)
    }

    /// No two pairs of upstream and model share an id.
    fn model(&self, upstream: &str, name: &str) -> EntityUid {
        uid(&self.model, &format!("{}:{upstream}/{name}", upstream.len()))
    }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn kind_name(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Oidc => "oidc",
        IdentityKind::Saml => "saml",
        IdentityKind::GatewayToken => "gateway-token",
        IdentityKind::LocalAdmin => "local-admin",
    }
}
