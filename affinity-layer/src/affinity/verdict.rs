//! What is known of a session, what its requests agree on, and which model one request gets.

use std::sync::Arc;

use crate::store::Claim;
use crate::{Epoch, Outcome, Pin, Selection};

/// What concurrent requests of a session agree on.
#[derive(Clone, Debug)]
pub(super) enum Agreement {
    /// There is a pin: the one who decided made it, or another replica did before.
    Pinned(Claim),
    /// A decision that the store did not take.
    Unstored(Arc<Selection>),
    /// The router gave none.
    RouterUnavailable,
}

/// The model of one request, and how it was found.
#[derive(Debug)]
pub(super) struct Verdict {
    /// `None` if the request gets no model.
    pub(super) selection: Option<Arc<Selection>>,
    /// The epoch of the pin behind the model, if there is one.
    pub(super) epoch: Option<Epoch>,
    pub(super) outcome: Outcome,
}

impl Verdict {
    /// The pin that the session had.
    pub(super) fn hit(pin: Pin) -> Self {
        Self::by_pin(pin, Outcome::Hit)
    }

    /// A pin, whoever made it.
    pub(super) fn by_pin(pin: Pin, outcome: Outcome) -> Self {
        Self { selection: Some(pin.selection), epoch: Some(pin.epoch), outcome }
    }

    /// A model without a pin behind it.
    pub(super) fn unpinned(selection: Option<Arc<Selection>>, outcome: Outcome) -> Self {
        Self { selection, epoch: None, outcome }
    }
}
