//! What must hold in every state, and what must be seen at least once.

use stateright::{Model, Property};

use crate::action::Action;
use crate::state::{Link, Near, Phase, State};
use crate::variant::Variant;

pub(crate) const ONE_MODEL: &str = "one model within one epoch";
pub(crate) const FORWARD: &str = "epochs told as pinned never go back for a sequential client";
pub(crate) const CLAIMED: &str = "no pin is told that was not made in Redis";
pub(crate) const COHERENT: &str = "a fresh copy with no invalidation under way is what Redis holds";
pub(crate) const KEPT: &str = "a session changes its model only after a repin, release or expiry";
pub(crate) const ANSWERED: &str = "no request is left without an answer";

pub(crate) const HIT: &str = "a near copy is served";
pub(crate) const REPINNED: &str = "three epochs are told";
pub(crate) const ALONE: &str = "a replica decides alone and another pin stands";

impl<const N: usize, const S: usize> Model for Variant<N, S> {
    type State = State<N, S>;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        vec![State::initial(self.requests, self.budget)]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Action>) {
        state.enabled(self, actions);
    }

    fn next_state(&self, last: &Self::State, action: Action) -> Option<Self::State> {
        Some(last.after(self, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_MODEL, |_, state: &State<N, S>| {
                state.history.iter().all(|it| it.told & it.told >> 1 & EVEN_BITS == 0)
            }),
            Property::always(FORWARD, |_, state: &State<N, S>| {
                !state.history.iter().any(|it| it.went_back)
            }),
            Property::always(CLAIMED, |_, state: &State<N, S>| {
                !state.history.iter().any(|it| it.unclaimed)
            }),
            Property::always(COHERENT, |_, state: &State<N, S>| state.is_coherent()),
            Property::always(KEPT, |_, state: &State<N, S>| {
                !state.history.iter().any(|it| it.moved)
            }),
            Property::always(ANSWERED, |variant: &Self, state: &State<N, S>| {
                !state.is_busy() || {
                    let mut actions = Vec::new();
                    state.enabled(variant, &mut actions);
                    !actions.is_empty()
                }
            }),
            Property::sometimes(HIT, |_, state: &State<N, S>| {
                state.requests.iter().flatten().any(|it| matches!(it.phase, Phase::Hit(_)))
            }),
            Property::sometimes(REPINNED, |_, state: &State<N, S>| {
                state.history.iter().any(|it| it.told.count_ones() > 2)
            }),
            Property::sometimes(ALONE, |_, state: &State<N, S>| {
                let other = |s: usize, near| {
                    matches!((near, state.redis.pins[s]),
                        (Near::Own(model), Some(pin)) if model != pin.model)
                };
                state.replicas.iter().any(|it| (0..S).any(|s| other(s, it.near[s])))
            }),
        ]
    }
}

/// The bits of model 0.
const EVEN_BITS: u32 = 0x5555_5555;

impl<const N: usize, const S: usize> State<N, S> {
    fn is_coherent(&self) -> bool {
        self.replicas.iter().filter(|replica| replica.link == Link::Up).all(|replica| {
            (0..S).all(|s| match replica.near[s] {
                Near::Fresh(pin) => replica.pending[s] || self.redis.pins[s] == Some(pin),
                _ => true,
            })
        })
    }

    fn after(mut self, variant: &Variant<N, S>, action: Action) -> Self {
        if action.is_fault() {
            self.budget.faults -= 1;
        }
        match action {
            Action::Send { s, k, r } => {
                self.requests[s][k].left -= 1;
                self.begin(variant, s, k, r);
            }
            Action::Wake { s, k } => self.begin(variant, s, k, self.requests[s][k].at),
            Action::Route { s, k, model } => self.route(variant, s, k, model),
            Action::Arrive { s, k } => self.arrive(variant, s, k),
            Action::Repin { s, k } => self.repin(variant, s, k),
            Action::Answer { s, k } => self.answer(variant, s, k),
            Action::Final { s, k } => self.finish(variant, s, k),
            Action::Unpinned { s, k } | Action::Cancel { s, k } => self.requests[s][k].end(),
            Action::Invalidate { r, s } => self.heed_invalidation(variant, r, s),
            Action::Notice { r } => self.notice(r),
            Action::Reconnect { r } => self.reconnect(variant, r),
            Action::Reconcile { r, s } => self.reconcile(variant, r, s),
            Action::Cut { r } => self.cut(r),
            Action::Crash { r } => self.crash(r),
            Action::Restart { lost } => self.restart(lost),
            Action::Replicate { s } => {
                self.redis.standby[s] = self.redis.pins[s];
                self.redis.standby_marks[s] = self.redis.marks[s];
            }
            Action::Undo { s, k } => {
                let request = self.requests[s][k];
                if let Phase::Changed { pin, .. } = request.phase {
                    self.undo(variant, s, request.at, pin);
                }
                self.requests[s][k].end();
            }
            Action::Failover => self.failover(variant),
            Action::Expire { s } => {
                self.budget.changes -= 1;
                self.expire(s);
            }
        }
        self
    }
}
