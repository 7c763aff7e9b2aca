//! What can go wrong, and what to do about it.

use crate::State;

/// Why approvals cannot be opened, read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is wrong.
    #[error("approvals, `{key}`: {problem}; {remedy}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// A requirement is wrong.
    #[error("approval requirement `{}`, key `{key}`: {problem}; {remedy}", .name.escape_debug())]
    Requirement {
        /// Its name.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// The store cannot be used.
    #[error("the approval store cannot be used: {0}; nothing was done")]
    Store(String),
    /// The change could not be recorded as evidence, so it was not made.
    #[error("the change could not be recorded: {0}; nothing was done, try again")]
    Journal(String),
    /// There is no such approval.
    #[error("there is no approval `{}`; `gatewayd approvals list --all` shows those there are", .0.escape_debug())]
    NotFound(String),
    /// The change does not fit what happened before, or who asks for it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is decided already.
    #[error("it is {} already; nothing was done", .0.as_str())]
    AlreadyDecided(State),
    /// Nobody votes on their own request.
    #[error("this is your own request; somebody else must decide it")]
    OwnRequest,
    /// Each person votes once.
    #[error("you voted on it already, and each person counts once")]
    AlreadyVoted,
    /// The voter is in none of the groups that are asked.
    #[error("your groups are not asked; it takes {0}")]
    NotAnApprover(String),
    /// The voter signed in with a token issued to a program.
    #[error("a program's token cannot vote; sign in as a person")]
    NotAPerson,
    /// Only the requester or somebody who could vote may cancel.
    #[error("only the one who asks, or one who could vote, can cancel it")]
    NotYours,
    /// Too many wait already.
    #[error("too many of yours wait for people; wait for them, or cancel some")]
    NoRoom,
    /// Another request is using it right now.
    #[error("another request is using it right now")]
    InUse,
    /// It is not approved, so it cannot be used.
    #[error("it is {}, so it cannot be used", .0.as_str())]
    NotUsable(State),
}
