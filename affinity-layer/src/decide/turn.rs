//! What a call wants of its session, said without HTTP.

use super::TargetName;
use super::ask::Ask;
use super::refusal::Refusal;
use super::rules::Rules;
use crate::outcome::Control;
use crate::{AffinityKey, ModelName};

/// What one call wants of its session: what the HTTP layer reads from the `x-plano-affinity` header and the
/// marks of [`ext`](crate::ext).
///
/// By default a call uses the pin, or makes one.
///
/// ```
/// use affinity_layer::{TargetName, Turn};
///
/// // The router decides anew, and the session moves to its answer. If the router is away, and there is no
/// // pin yet, the call goes to `shard-a`.
/// let turn = Turn::new().refresh().asking_for(TargetName::new("shard-a")?);
/// # let _ = turn;
/// # Ok::<(), affinity_layer::BoxError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Turn {
    control: Control,
    is_probe: bool,
    begins: bool,
    continues: bool,
    requested: Option<TargetName>,
}

impl Turn {
    /// A call that uses the pin, or makes one.
    pub const fn new() -> Self {
        Self {
            control: Control::Use,
            is_probe: false,
            begins: false,
            continues: false,
            requested: None,
        }
    }

    /// The router decides for this call alone: no pin is read or changed.
    pub fn bypass(self) -> Self {
        Self { control: Control::Bypass, ..self }
    }

    /// The router decides, and the session moves to its answer.
    pub fn refresh(self) -> Self {
        Self { control: Control::Refresh, ..self }
    }

    /// The call uses a pin and makes none: without a pin it gets the target that it
    /// [asks for](Self::asking_for), and the router is not asked. It is no use that keeps a pin alive.
    pub fn probe(self) -> Self {
        Self { is_probe: true, ..self }
    }

    /// The call begins a turn: an existing pin moves to a new decision, as far as
    /// [`escalation`](super::Affinity::escalation) allows.
    pub fn begins(self) -> Self {
        Self { begins: true, ..self }
    }

    /// The call continues a turn: it keeps the target, also while its session
    /// [warms up](super::Affinity::warm_up).
    pub fn continues(self) -> Self {
        Self { continues: true, ..self }
    }

    /// The target for this call if the router has no answer, instead of the
    /// [default](super::Affinity::default_target). It need not be one that
    /// [`accept_targets`](super::Affinity::accept_targets) accepts.
    pub fn asking_for(self, target: TargetName) -> Self {
        Self { requested: Some(target), ..self }
    }

    /// Whether a pin at hand is the end of it.
    pub(super) fn uses_pin(&self) -> bool {
        self.control == Control::Use && !self.begins
    }

    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    pub(super) fn is_continued(&self) -> bool {
        self.continues
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self::new()
    }
}

/// A call as the protocol sees it: all of it is at hand.
pub(super) struct Asked<Q> {
    pub(super) turn: Turn,
    pub(super) question: Q,
}

impl<Q: Clone + Send> Ask for Asked<Q> {
    type Question = Q;
    type Error = Refusal;

    fn control(&self) -> Control {
        self.turn.control
    }

    fn is_probe(&self) -> bool {
        self.turn.is_probe
    }

    fn begins_turn(&self) -> bool {
        self.turn.begins
    }

    fn continues_turn(&self) -> bool {
        self.turn.continues
    }

    async fn read(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn question(&self, _: Option<&AffinityKey>) -> Q {
        self.question.clone()
    }

    fn requested(&self, rules: &Rules) -> Option<ModelName> {
        self.turn.requested.clone().or_else(|| rules.default_model.clone())
    }
}
