//! What can happen next in a state. What it does is in `request` and `environment`.

use crate::state::{Link, Model, Near, Phase, Request, State};
use crate::variant::{Mistake, Variant};

/// One step. `s` is a session, `k` one of its slots, `r` a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The client sends its next request to `r`.
    Send {
        s: usize,
        k: usize,
        r: usize,
    },
    /// A request that waited for another goes on by itself.
    Wake {
        s: usize,
        k: usize,
    },
    /// The router answers `model`, which is claimed.
    Route {
        s: usize,
        k: usize,
        model: Model,
    },
    /// A command that was sent reaches Redis.
    Arrive {
        s: usize,
        k: usize,
    },
    /// The pinned model fails; the other one is tried and the pin moved to it.
    Repin {
        s: usize,
        k: usize,
    },
    /// The client gets its answer.
    Answer {
        s: usize,
        k: usize,
    },
    /// The same, and the pin is released with it.
    Final {
        s: usize,
        k: usize,
    },
    /// The standby did not confirm in time: the answer is told as unpinned.
    Unpinned {
        s: usize,
        k: usize,
    },
    /// The same, and the change that it asked for is undone.
    Undo {
        s: usize,
        k: usize,
    },
    /// A client or a timeout ends the request.
    Cancel {
        s: usize,
        k: usize,
    },
    /// An invalidation arrives.
    Invalidate {
        r: usize,
        s: usize,
    },
    /// A replica notices that its connection is broken, or its lease runs out.
    Notice {
        r: usize,
    },
    Reconnect {
        r: usize,
    },
    /// A replica that is connected again claims what it decided alone.
    Reconcile {
        r: usize,
        s: usize,
    },
    Cut {
        r: usize,
    },
    Crash {
        r: usize,
    },
    Restart {
        lost: bool,
    },
    /// The standby receives a key.
    Replicate {
        s: usize,
    },
    Failover,
    Expire {
        s: usize,
    },
}

impl<const N: usize, const S: usize> State<N, S> {
    /// Everything that can happen next.
    pub(crate) fn enabled(&self, variant: &Variant<N, S>, actions: &mut Vec<Action>) {
        for (s, k) in Self::slots() {
            self.enabled_for_request(variant, s, k, actions);
        }
        for (r, replica) in self.replicas.iter().enumerate() {
            match replica.link {
                Link::Silent => actions.push(Action::Notice { r }),
                Link::Down => actions.push(Action::Reconnect { r }),
                Link::Up => {
                    for s in 0..S {
                        if replica.pending[s] {
                            actions.push(Action::Invalidate { r, s });
                        }
                        if matches!(replica.near[s], Near::Own(_)) {
                            actions.push(Action::Reconcile { r, s });
                        }
                    }
                }
            }
        }
        if variant.faults.failover {
            let redis = &self.redis;
            let behind = |s: &usize| {
                redis.standby[*s] != redis.pins[*s] || redis.standby_marks[*s] != redis.marks[*s]
            };
            actions.extend((0..S).filter(behind).map(|s| Action::Replicate { s }));
        }
        if self.budget.changes > 0 {
            let pinned = |s: &usize| self.redis.pins[*s].is_some();
            actions.extend((0..S).filter(pinned).map(|s| Action::Expire { s }));
        }
        self.enabled_faults(variant, actions);
    }

    fn enabled_for_request(
        &self,
        variant: &Variant<N, S>,
        s: usize,
        k: usize,
        actions: &mut Vec<Action>,
    ) {
        let request = self.requests[s][k];
        let up = self.replicas[request.at].link == Link::Up;
        let silent = self.replicas[request.at].link == Link::Silent;
        let budgeted = self.budget.changes > 0;
        match request.phase {
            Phase::Idle if request.left > 0 => {
                let sends = (0..N).filter(|r| self.can_begin(s, *r));
                actions.extend(sends.map(|r| Action::Send { s, k, r }));
            }
            Phase::Idle => {}
            Phase::Waiting => {
                let alone = !self.is_led(s, k, request.at) && self.can_begin(s, request.at);
                if alone && variant.mistake != Mistake::OrphanedWaiters {
                    actions.push(Action::Wake { s, k });
                }
            }
            Phase::Got { pin: None, .. } if silent => {}
            Phase::Got { pin: None, .. } => match self.replicas[request.at].near[s] {
                Near::Own(model) => actions.push(Action::Route { s, k, model }),
                _ => {
                    let models = if self.is_new(s) { 0..1 } else { 0..2 };
                    actions.extend(models.map(|model| Action::Route { s, k, model }));
                }
            },
            Phase::Sent { .. } if silent => {}
            Phase::Sent { .. } => actions.push(Action::Arrive { s, k }),
            Phase::Hit(pin) | Phase::Got { pin: Some(pin), .. } | Phase::Changed { pin, .. } => {
                if self.may_tell(variant, s, k, pin) {
                    actions.push(Action::Answer { s, k });
                    if up && budgeted {
                        actions.push(Action::Final { s, k });
                    }
                } else if !self.is_safe(variant, s, k, pin) {
                    actions.push(Action::Unpinned { s, k });
                }
                let changed = matches!(request.phase, Phase::Changed { .. });
                if up && changed && variant.marks {
                    actions.push(Action::Undo { s, k });
                }
                if up && budgeted && !changed && !self.is_marked(variant, s, k) {
                    actions.push(Action::Repin { s, k });
                }
            }
        }
    }

    /// Without a connection, and before it knows, a replica can only answer from a fresh copy.
    fn can_begin(&self, s: usize, r: usize) -> bool {
        let replica = &self.replicas[r];
        replica.link != Link::Silent || matches!(replica.near[s], Near::Fresh(_))
    }

    /// Whether no model was chosen for `s` so far. Models are alike, so the first is called 0.
    fn is_new(&self, s: usize) -> bool {
        let sent = |request: &Request| matches!(request.phase, Phase::Sent { .. });
        self.history[s].made == 0
            && !self.requests[s].iter().any(sent)
            && !self.replicas.iter().any(|it| matches!(it.near[s], Near::Own(_)))
    }

    fn enabled_faults(&self, variant: &Variant<N, S>, actions: &mut Vec<Action>) {
        if self.budget.faults == 0 {
            return;
        }
        let faults = variant.faults;
        for (r, replica) in self.replicas.iter().enumerate() {
            if faults.cut && replica.link == Link::Up {
                actions.push(Action::Cut { r });
            }
            if faults.crash {
                actions.push(Action::Crash { r });
            }
        }
        if faults.cancel {
            let busy = Self::slots().filter(|(s, k)| self.requests[*s][*k].phase != Phase::Idle);
            actions.extend(busy.map(|(s, k)| Action::Cancel { s, k }));
        }
        let possible = [
            (faults.restart, Action::Restart { lost: false }),
            (faults.loss, Action::Restart { lost: true }),
            (faults.failover, Action::Failover),
        ];
        actions.extend(possible.iter().filter(|(on, _)| *on).map(|(_, action)| *action));
    }
}

impl Action {
    /// Whether this costs one of the budget's faults.
    pub(crate) fn is_fault(self) -> bool {
        matches!(
            self,
            Self::Cancel { .. }
                | Self::Cut { .. }
                | Self::Crash { .. }
                | Self::Restart { .. }
                | Self::Failover
        )
    }
}
