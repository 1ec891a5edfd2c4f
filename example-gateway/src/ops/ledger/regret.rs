//! Pinned turns that were routed once more, to see whether the pin is regretted.

use serde::{Deserialize, Serialize};

/// What the router would have done with a turn that was served by a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It would have chosen the pinned model.
    Agreed,
    /// It would have chosen another model.
    Otherwise,
    /// No route matched.
    NoMatch,
    /// It gave no answer.
    Failed,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Agreed, Self::Otherwise, Self::NoMatch, Self::Failed];

    /// The label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Otherwise => "otherwise",
            Self::NoMatch => "no_match",
            Self::Failed => "failed",
        }
    }
}

/// How often each verdict was given.
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
