//! A request that passes on an approval: used once, and settled whatever happens.

use std::sync::Arc;
use std::time::Duration;

use crate::approvals::Approvals;
use crate::state::{Step, Use};

/// How long after a caller hung up the journal is asked: a commit may still be under way.
const GRACE: Duration = Duration::from_secs(2);

/// Dropped without being told, which is what happens when the caller hangs up, it finds out by itself what became
/// of the request.
pub(crate) struct Passing {
    approvals: Approvals,
    id: Arc<str>,
    taken: Use,
    settled: bool,
}

impl Passing {
    /// To be made before the approval is taken, so that it cannot stay taken by nobody.
    pub(crate) fn new(approvals: Approvals, id: Arc<str>, taken: Use) -> Self {
        Self { approvals, id, taken, settled: false }
    }

    /// It did not come to use.
    pub(crate) fn forget(mut self) {
        self.settled = true;
    }

    /// It surely did nothing, so it can be used again.
    pub(crate) async fn release(mut self) {
        self.settled = true;
        if let Err(error) = self.approvals.step(&self.id, Step::Release(self.taken.request)).await {
            tracing::error!(approval = &*self.id, %error, "an approval could not be given back");
        }
    }

    /// Says what became of it. The caller may hang up meanwhile; it is settled all the same.
    pub(crate) async fn settle(mut self, answered: bool) {
        self.settled = true;
        let (approvals, id, taken) = (self.approvals.clone(), Arc::clone(&self.id), self.taken);
        let settled = tokio::spawn(async move { approvals.settle(&id, taken, answered).await }).await;
        if let Err(error) = settled {
            tracing::error!(approval = &*self.id, %error, "what became of an approval could not be kept");
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        // Without a runtime the process is ending, and the next start settles it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (approvals, id, taken) = (self.approvals.clone(), Arc::clone(&self.id), self.taken);
        runtime.spawn(async move {
            tokio::time::sleep(GRACE).await;
            approvals.settle(&id, taken, false).await;
        });
    }
}
