//! What is known of a session, what its requests agree on, and which model one request gets.
//!
//! Two types, because two questions are asked. An [`Agreement`] belongs to a session: all requests of one
//! flight get the same, and it says what was stored. A [`Verdict`] belongs to one request: of those that
//! share an agreement one has `claimed` and the others have `joined`.

use std::sync::Arc;

use crate::cooldown::Question;
use crate::store::Claim;
use crate::{Epoch, ModelName, Outcome, Pin, Selection};

/// What concurrent requests of a session agree on. It is cloned for each of them, so the selection is
/// shared. It holds no refusal: what is wrong with one request must not be the answer to another.
#[derive(Clone, Debug)]
pub(crate) enum Agreement {
    /// There is a pin: the one who decided made it, or another replica did before.
    Pinned(Claim),
    /// A decision that the store did not take.
    Unstored(Arc<Selection>),
    /// The router gave none.
    RouterUnavailable,
}

impl Agreement {
    /// The model that was agreed on, and the epoch of its pin.
    pub(crate) fn model(&self) -> Option<(&ModelName, Option<Epoch>)> {
        match self {
            Self::Pinned(claim) => Some((claim.pin.selection.model(), Some(claim.pin.epoch))),
            Self::Unstored(selection) => Some((selection.model(), None)),
            Self::RouterUnavailable => None,
        }
    }
}

/// The model of one request, and how it was found. `Shared::given` makes a `PinnedModel` of it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// `None` if the request gets no model.
    pub(crate) selection: Option<Arc<Selection>>,
    /// The epoch of the pin behind the model, if there is one.
    pub(crate) epoch: Option<Epoch>,
    /// What the response says in `x-plano-affinity`, unless an inner layer knows better.
    pub(crate) outcome: Outcome,
    /// What the session had before this request moved it.
    pub(crate) stood: Option<Arc<Selection>>,
    /// What the request asked for, if it was decided now and the answer may be needed once more.
    pub(crate) asked: Option<Question>,
}

impl Verdict {
    /// The pin that the session had.
    pub(crate) fn hit(pin: Pin) -> Self {
        Self::by_pin(pin, Outcome::Hit)
    }

    /// A pin, whoever made it.
    pub(crate) fn by_pin(pin: Pin, outcome: Outcome) -> Self {
        let (selection, epoch) = (Some(pin.selection), Some(pin.epoch));
        Self { selection, epoch, outcome, stood: None, asked: None }
    }

    /// The same for a session that is observed, unless something failed.
    pub(crate) fn observed(self) -> Self {
        let is_routed = self.outcome == Outcome::None;
        Self { outcome: if is_routed { Outcome::Observed } else { self.outcome }, ..self }
    }

    /// A model without a pin behind it.
    pub(crate) fn unpinned(selection: Option<Arc<Selection>>, outcome: Outcome) -> Self {
        Self { selection, epoch: None, outcome, stood: None, asked: None }
    }
}
