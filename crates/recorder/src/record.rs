//! A request as the database and the entries tell of it together, made ready to be shown.

use gatewayd_core::{Action, Dialect, Effect, Ending, IdentityKind, RequestId};
use rusqlite::Row;

use crate::error::Error;
use crate::facts::{self, Masks, Salt, What, Who, Words};
use crate::leaf::{Bodies, Intent, Kind, Leaf, Outcome, Refused, Stored};
use crate::read::Filter;
use crate::replay::Wanted;
use crate::store::index;
use crate::view::{Bundle, EventView, StoredBody, Summary};

/// A row of the database and the entries it belongs to.
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) id: [u8; 16],
    outcome_at: Option<u64>,
    salt: Option<Salt>,
    who: Option<Vec<u8>>,
    what: Option<Vec<u8>>,
    masks: Option<Vec<u8>>,
    pub(crate) erased: bool,
    first: Leaf,
    last: Option<Leaf>,
    /// The bytes of both.
    entries: (Vec<u8>, Option<Vec<u8>>),
}

pub(crate) const SESSIONS: &str = "SELECT s.number, s.id, s.outcome, s.salt, s.who, s.what, s.masks, s.erased IS NOT NULL, first.data, last.data
  FROM sessions s JOIN leaves first ON first.idx = s.number LEFT JOIN leaves last ON last.idx = s.outcome";

pub(crate) fn damaged(error: crate::codec::DecodeError) -> Error {
    Error::Damaged(error.to_string())
}

pub(crate) fn decode(bytes: &[u8], at: i64) -> Result<Leaf, Error> {
    Leaf::decode(bytes).map_err(|error| Error::Damaged(format!("entry {at}: {error}")))
}

/// What both kinds of first entries say.
struct Head<'a> {
    identity: Option<IdentityKind>,
    dialect: Option<Dialect>,
    action: Option<Action>,
    effect: Option<Effect>,
    who: &'a [u8; 32],
    what: &'a [u8; 32],
}

impl Session {
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self, Error> {
        let number: i64 = row.get(0)?;
        let outcome: Option<i64> = row.get(2)?;
        let entries: (Vec<u8>, Option<Vec<u8>>) = (row.get(8)?, row.get(9)?);
        Ok(Self {
            number: index(number),
            id: row.get(1)?,
            outcome_at: outcome.map(index),
            salt: row.get(3)?,
            who: row.get(4)?,
            what: row.get(5)?,
            masks: row.get(6)?,
            erased: row.get(7)?,
            first: decode(&entries.0, number)?,
            last: entries.1.as_deref().map(|last| decode(last, outcome.unwrap_or(-1))).transpose()?,
            entries,
        })
    }

    fn head(&self) -> Result<Head<'_>, Error> {
        match &self.first.kind {
            Kind::Intent(intent) => Ok(Head {
                identity: Some(intent.identity),
                dialect: Some(intent.dialect),
                action: Some(intent.action),
                effect: intent.effect,
                who: &intent.who,
                what: &intent.what,
            }),
            Kind::Refusal(refused) => Ok(Head {
                identity: refused.identity,
                dialect: refused.dialect,
                action: refused.action,
                effect: refused.effect,
                who: &refused.who,
                what: &refused.what,
            }),
            other => Err(Error::Damaged(format!(
                "session {} begins with an entry of kind {}",
                self.number,
                other.name()
            ))),
        }
    }

    fn intent(&self) -> Option<&Intent> {
        if let Kind::Intent(intent) = &self.first.kind { Some(intent) } else { None }
    }

    fn outcome(&self) -> Option<&Outcome> {
        match self.last.as_ref().map(|leaf| &leaf.kind) {
            Some(Kind::Outcome(outcome) | Kind::Interruption(outcome)) => Some(outcome),
            _ => None,
        }
    }

    fn refused(&self) -> Option<&Refused> {
        if let Kind::Refusal(refused) = &self.first.kind { Some(refused) } else { None }
    }

    fn bodies(&self) -> Option<&Bodies> {
        self.outcome().map(|o| &o.bodies).or_else(|| self.refused().map(|r| &r.bodies))
    }

    /// Where its blocks are.
    pub(crate) fn wanted(&self) -> Wanted<'_> {
        let bodies = self.bodies();
        Wanted {
            number: self.number,
            id: &self.id,
            request: bodies.and_then(|b| b.request.as_ref()),
            response: bodies.and_then(|b| b.response.as_ref()),
            open: self.outcome_at.is_none(),
        }
    }

    fn words(&self) -> Result<(Who, What), Error> {
        let who = self.who.as_deref().map(Who::decode).transpose().map_err(damaged)?;
        let what = self.what.as_deref().map(What::decode).transpose().map_err(damaged)?;
        Ok((who.unwrap_or_default(), what.unwrap_or_default()))
    }

    /// Its entries, each with its index.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let last = self.outcome_at.zip(self.entries.1.as_deref());
        std::iter::once((self.number, self.entries.0.as_slice())).chain(last)
    }

    /// True if the row is not that of its entries: other words, another request, another outcome.
    fn is_altered(&self, head: &Head<'_>) -> bool {
        let named = match (self.intent(), self.outcome_at, self.outcome()) {
            (Some(intent), None, _) => intent.id == self.id,
            (Some(intent), Some(_), Some(end)) => {
                (intent.id, end.id, end.intent) == (self.id, self.id, self.number)
            }
            (Some(_), Some(_), None) => false,
            (None, at, _) => at == Some(self.number) && self.refused().is_some_and(|r| r.id == self.id),
        };
        if !named || self.erased {
            return !named;
        }
        let (Some(salt), Some(who), Some(what)) = (&self.salt, &self.who, &self.what) else { return true };
        let masks = self.masks.as_deref().map(|masks| facts::digest(Words::Masks, salt, masks));
        facts::digest(Words::Who, salt, who) != *head.who
            || facts::digest(Words::What, salt, what) != *head.what
            || masks != self.outcome().and_then(|end| end.mask_digest)
    }

    pub(crate) fn summary(&self) -> Result<Summary, Error> {
        let head = self.head()?;
        let (who, what) = self.words()?;
        let ending = self.outcome().map(|o| o.ending).or_else(|| self.refused().map(|r| r.ending));
        let refusal =
            self.outcome().and_then(|o| o.refusal).or_else(|| self.refused().and_then(|r| r.refusal));
        let shown_rule = || match &self.first.kind {
            Kind::Intent(intent) => intent.rule.shown(),
            Kind::Refusal(refused) => refused.rule.shown(),
            _ => None,
        };
        Ok(Summary {
            id: RequestId::from_bytes(self.id),
            number: self.number,
            time: self.first.time,
            issuer: who.issuer,
            subject: who.subject,
            name: who.name,
            groups: who.groups,
            method: what.method,
            path: what.path,
            dialect: head.dialect.map(Dialect::as_str),
            action: head.action.map(Action::as_str),
            model: what.model,
            upstream: what.upstream,
            effect: head.effect.map(effect_name),
            rule: what.rule.or_else(shown_rule),
            status: self
                .outcome()
                .map(|o| o.status)
                .or_else(|| self.refused().map(|r| r.status))
                .unwrap_or(0),
            ending: ending.map_or("open", Ending::as_str),
            refusal: refusal.map(gatewayd_core::RefusalCode::as_str),
            // Whoever closed it after a crash did not see what passed; the intent did.
            request_bytes: self
                .bodies()
                .map_or(0, |b| b.request_len)
                .max(self.intent().map_or(0, |i| i.request_len)),
            response_bytes: self.bodies().map_or(0, |b| b.response_len),
            duration_us: self
                .outcome()
                .map(|o| o.duration)
                .or_else(|| self.refused().map(|r| r.duration))
                .unwrap_or(0),
            masked: self.outcome().map_or(0, |o| o.masks),
            erased: self.erased,
            altered: self.is_altered(&head),
        })
    }

    pub(crate) fn matches(&self, filter: &Filter, summary: &Summary) -> Result<bool, Error> {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let masked = match &filter.masked_rule {
            None => true,
            Some(rule) => match &self.masks {
                None => false,
                Some(masks) => {
                    Masks::decode(masks).map_err(damaged)?.counts.iter().any(|mask| *mask.rule == **rule)
                }
            },
        };
        Ok(masked
            && is(&filter.subject, &summary.subject)
            && is(&filter.issuer, &summary.issuer)
            && is(&filter.model, &summary.model)
            && is(&filter.rule, &summary.rule)
            && filter.group.as_ref().is_none_or(|group| summary.groups.contains(group))
            && filter.action.is_none_or(|action| summary.action == Some(action.as_str()))
            && filter.status.is_none_or(|status| summary.status == status)
            && filter.since.is_none_or(|since| summary.time >= since)
            && filter.until.is_none_or(|until| summary.time < until))
    }

    /// What passed and is not in the recording, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let Some(bodies) = self.bodies() else { return Vec::new() };
        let cut = |cut: bool, what: &str, stored: Option<&Stored>, passed: u64| {
            let kept = stored.map_or(0, |stored| stored.plain);
            cut.then(|| format!("the {what} is longer than what is kept of a body: {kept} bytes are stored, {passed} passed"))
        };
        let whole = [
            cut(bodies.request_cut, "request", bodies.request.as_ref(), bodies.request_len),
            cut(bodies.response_cut, "answer", bodies.response.as_ref(), bodies.response_len),
            bodies
                .request_withheld
                .then(|| "the request could not be masked, so it is not stored whole".to_owned()),
            bodies.lost.then(|| "the bodies could not be written, so they are not stored".to_owned()),
        ];
        whole.into_iter().flatten().collect()
    }

    pub(crate) fn bundle(&self, events: Vec<EventView>) -> Result<Bundle, Error> {
        let (who, what) = self.words()?;
        let (intent, outcome) = (self.intent(), self.outcome());
        let masks =
            self.masks.as_deref().map(Masks::decode).transpose().map_err(damaged)?.unwrap_or_default();
        let bodies = self.bodies().cloned().unwrap_or_default();
        Ok(Bundle {
            identity_kind: self.head()?.identity.map(identity_name),
            peer: who.peer,
            tls: who.tls,
            route: what.route,
            streaming: intent.is_some_and(|i| i.streaming),
            side_effects: intent.is_some_and(|i| i.side_effects),
            policy_version: what.policy,
            claims: what.claims.iter().map(|(kind, id)| format!("{kind}:{id}")).collect(),
            credential: what.credential,
            credential_version: what.version,
            request_type: what.request_type,
            http_version: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            request_digest: intent.filter(|i| i.request_complete).map(|i| hex::encode(i.request)),
            masks: masks.counts,
            mask_places: masks.places,
            waited_us: intent.map_or(0, |i| i.waited),
            first_byte_us: outcome.map_or(0, |o| o.first_byte),
            outcome: self.outcome_at,
            stored_request: StoredBody {
                cut: bodies.request_cut,
                withheld: bodies.request_withheld,
                lost: bodies.lost,
                ..stored_body(bodies.request.as_ref())
            },
            stored_response: StoredBody {
                cut: bodies.response_cut,
                lost: bodies.lost,
                ..stored_body(bodies.response.as_ref())
            },
            missing: self.missing(),
            events,
            summary: self.summary()?,
        })
    }
}

fn stored_body(stored: Option<&Stored>) -> StoredBody {
    stored.map_or_else(StoredBody::default, |stored| StoredBody {
        blocks: stored.blocks,
        bytes: stored.plain,
        digest: Some(hex::encode(stored.digest)),
        ..StoredBody::default()
    })
}

fn effect_name(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Deny => "deny",
        Effect::Approve => "approve",
    }
}

fn identity_name(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Oidc => "oidc",
        IdentityKind::Saml => "saml",
        IdentityKind::GatewayToken => "gateway_token",
        IdentityKind::LocalAdmin => "local_admin",
    }
}
