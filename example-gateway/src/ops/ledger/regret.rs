//! Pinned turns that were routed once more, to see whether the pin is regretted.
//!
//! [`shadow`](crate::stack::shadow) makes the verdicts. A share of `otherwise` that grows says that pins keep
//! sessions on models that the router would leave.

use serde::{Deserialize, Serialize};

use crate::stack::turns::observer::Verdict;

/// How often each verdict occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Regret {
    pub(crate) agreed: u64,
    pub(crate) otherwise: u64,
    pub(crate) no_match: u64,
    pub(crate) failed: u64,
}

impl Regret {
    pub(super) fn add(&mut self, verdict: Verdict) {
        let count = match verdict {
            Verdict::Agreed => &mut self.agreed,
            Verdict::Otherwise => &mut self.otherwise,
            Verdict::NoMatch => &mut self.no_match,
            Verdict::Failed => &mut self.failed,
        };
        *count = count.saturating_add(1);
    }
}
