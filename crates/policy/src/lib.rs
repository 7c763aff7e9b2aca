//! Which caller may do which operation: rules in, decisions out, and a tower layer around them.
//!
//! ```
//! use gatewayd_core::{Action, Dialect, Effect, Identity, IdentityKind, Operation, Timestamp, UpstreamName};
//! use gatewayd_policy::{Config, Policy, RuleSpec};
//!
//! #[derive(serde::Deserialize)]
//! struct File { rule: Vec<RuleSpec> }
//!
//! let file: File = toml::from_str(r#"
//!     [[rule]]
//!     name = "ml-eng-may-infer"
//!     effect = "allow"
//!     groups = ["ml-eng"]
//!     actions = ["infer", "list-models"]
//!
//!     [[rule]]
//!     name = "nobody-touches-the-big-one"
//!     effect = "deny"
//!     models = ["*-405b"]
//! "#)?;
//! let policy = Policy::new(&Config { rules: file.rule, ..Config::default() })?;
//!
//! let alice = Identity {
//!     kind: IdentityKind::Oidc,
//!     issuer: "https://id.example".into(),
//!     subject: "alice".into(),
//!     name: None,
//!     groups: ["ml-eng".into()].into(),
//!     expires: None,
//! };
//! let chat = |model: &str| Operation {
//!     dialect: Dialect::OpenAi,
//!     action: Action::Infer,
//!     model: Some(model.into()),
//!     other_models: [].into(),
//!     streaming: false,
//!     route: "/v1/chat/completions".into(),
//! };
//! let llama = UpstreamName("llama".into());
//! let now = Timestamp(0);
//!
//! let decision = policy.decide(&alice, &chat("llama-3-8b"), &llama, None, now);
//! assert_eq!((decision.effect, &*decision.rule), (Effect::Allow, "ml-eng-may-infer"));
//!
//! // Upper case does not get around a rule, and a deny wins.
//! let decision = policy.decide(&alice, &chat("Llama-3-405B"), &llama, None, now);
//! assert_eq!((decision.effect, &*decision.rule), (Effect::Deny, "nobody-touches-the-big-one"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The rules of the rules
//!
//! 1. What no rule allows is denied ([`DEFAULT_DENY`]).
//! 2. A matching `deny` wins over everything; a matching `approve` wins over `allow`. Order does not matter
//!    for the effect; it picks which of several matching rules is named.
//! 3. All keys of a rule must match; within a key, one of the values must.
//! 4. A route that no table knows is denied unless a rule names the action `unknown`.
//! 5. Names of models are compared after [`normalise_model`], so that a spelling does not get around a rule.
//! 6. What keeps callers out errs on the safe side: a `deny` or `approve` rule with `models` also matches a request
//!    that names no model where the server would pick one; one with `sources` also matches where the source is not known.
//! 7. An error while deciding is a deny.
//!
//! # Cedar
//!
//! Rules are compiled to [Cedar](https://www.cedarpolicy.com) policies; [`Policy::to_cedar`] shows them. Files of
//! Cedar policies can stand beside them ([`CedarFile`]), checked in strict mode against [`Policy::schema_text`]:
//!
//! ```
//! use gatewayd_policy::{CedarFile, Config, Policy};
//!
//! let file = CedarFile {
//!     name: "extra.cedar".into(),
//!     text: r#"
//!         @id("contractors-need-two-people")
//!         @approval("two-people")
//!         permit (principal in Gatewayd::Group::"contractors", action == Gatewayd::Action::"train", resource);
//!     "#.into(),
//! };
//! let config = Config { cedar: vec![file], approvals: vec!["two-people".into()], ..Config::default() };
//! assert!(Policy::new(&config).is_ok());
//! ```
//!
//! # In a service
//!
//! [`PolicyLayer`] sits behind whatever puts `Identity`, `Operation` and `UpstreamName` into the request's extensions.
//! [`PolicyHandle::replace`] puts another policy in force without a restart.
#![forbid(unsafe_code)]

mod cache;
mod cedar_file;
mod compile;
mod engine;
mod error;
mod explain;
mod facts;
mod judge;
mod layer;
mod matching;
mod model;
mod named;
mod rule;
mod spec;
mod table;
mod window;

pub use engine::{DEFAULT_DENY, Policy};
pub use error::Error;
pub use explain::{Explanation, RuleOutcome, RuleTrace};
pub use layer::{PolicyFuture, PolicyHandle, PolicyLayer, PolicyService};
pub use model::normalise_model;
pub use spec::{CedarFile, Config, RuleEffect, RuleSpec};
pub use table::{Case, CaseResult, TestTable};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
