//! Erasing: what is known of whoever asked goes, that people decided stays.

use gatewayd_core::{Identity, RequestId};

use crate::approvals::Approvals;
use crate::error::Error;
use crate::state::{State, Step};
use crate::store;

/// Whose approvals are erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Those that this request asked for first, or that it used.
    Request(RequestId),
    /// All that this caller asked for, named by [`Identity::key`].
    Caller(String),
}

/// What was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Approvals that lost their words this time.
    pub approvals: u64,
    /// Of these, those that were open and are cancelled: nobody can agree to them or pass on them any more.
    pub withdrawn: u64,
}

impl Approvals {
    /// Takes the words out of approvals for good, and withdraws those that nobody has used. When this returns, they
    /// stand in no file of the store. What is erased already is not counted, so that it can be done again after an
    /// error. A request that is passing just now goes on.
    ///
    /// A withdrawal is recorded as evidence; that something was erased is for the caller of this to record, afterwards.
    ///
    /// # Errors
    /// If the store cannot be used, a withdrawal cannot be recorded, or another process reads in the store for so long
    /// that its write-ahead log cannot be emptied. Some may be erased then, or all: do it again.
    pub async fn erase(&self, whose: Whose, by: &Identity) -> Result<Erased, Error> {
        let names = self.0.store.run(move |db| store::names_of(db, &whose)).await?;
        let mut done = Erased::default();
        for name in names {
            let before = self.get(&name.as_str().into()).await?;
            if before.progress.erased.is_some() {
                continue;
            }
            let was_open =
                before.progress.state_at(self.now()) != State::Expired && !before.progress.state.is_final();
            let after = self.step(&name, Step::Erase { by: by.clone() }).await?;
            done.approvals += 1;
            done.withdrawn += u64::from(was_open && after.progress.state == State::Cancelled);
        }
        self.0.store.run(|db| store::fold_log(db)).await?;
        Ok(done)
    }

    /// The requests that asked for the approvals of this request, or used them: erasing those of one erases what is
    /// kept of these here, too.
    ///
    /// # Errors
    /// If the store cannot be used.
    pub async fn requests_with(&self, request: RequestId) -> Result<Vec<RequestId>, Error> {
        let names = self.0.store.run(move |db| store::names_of(db, &Whose::Request(request))).await?;
        let mut others = Vec::new();
        for name in names {
            let record = self.get(&name.as_str().into()).await?;
            let using = record.progress.in_use.map(|taken| taken.request);
            others.extend([record.asked.request, record.progress.used_by, using].into_iter().flatten());
        }
        others.retain(|other| *other != request);
        others.sort_unstable();
        others.dedup();
        Ok(others)
    }
}
