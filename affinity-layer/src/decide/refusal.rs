//! Why no decision is made for a request.

use std::fmt;

use crate::Rejection;

/// What the protocol itself refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many requests wait for the first decision of the session.
    Overloaded,
    /// The store failed, and it is required.
    StoreUnavailable,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Overloaded => Self::Overloaded,
            Refusal::StoreUnavailable => Self::StoreUnavailable,
        }
    }
}

impl From<Refusal> for Undecided {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Overloaded => Self::Overloaded,
            Refusal::StoreUnavailable => Self::StoreUnavailable,
        }
    }
}

/// Why [`Affinity::decide`](crate::Affinity::decide) names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Undecided {
    /// [`max_waiters`](crate::Affinity::max_waiters) calls wait for the first decision of the session
    /// already. Try again in a second.
    Overloaded,
    /// The store failed, and [`require_store`](crate::Affinity::require_store) is set.
    StoreUnavailable,
    /// The router failed, or no route matched, and neither the [`Turn`](crate::Turn) nor the
    /// [default](crate::Affinity::default_target) names a target.
    NoTarget,
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overloaded => "too many calls wait for the first decision of this session",
            Self::StoreUnavailable => "the session store does not answer",
            Self::NoTarget => "the router named no target, and there is no default",
        })
    }
}

impl std::error::Error for Undecided {}
