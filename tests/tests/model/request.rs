//! A request's way through a replica.

use crate::state::{Link, Model, Near, Phase, Pin, Request, State};
use crate::variant::{Epochs, Mistake, Variant, Wait};

impl<const N: usize, const S: usize> State<N, S> {
    /// Whether another request at `r` is finding the pin of `s`.
    pub(crate) fn is_led(&self, s: usize, k: usize, r: usize) -> bool {
        let leads = |(other, request): (usize, &Request)| {
            other != k
                && request.serves(r)
                && !matches!(request.phase, Phase::Waiting | Phase::Hit(_))
        };
        self.requests[s].iter().enumerate().any(leads)
    }

    /// Whether a change of `s` was sent from `r` and is not done with.
    fn is_changing(&self, s: usize, r: usize) -> bool {
        let changes = |phase| matches!(phase, Phase::Sent { .. } | Phase::Changed { .. });
        self.requests[s].iter().any(|request| request.serves(r) && changes(request.phase))
    }

    /// The near copy answers, or Redis, or, without Redis, the replica alone.
    pub(crate) fn begin(&mut self, variant: &Variant<N, S>, s: usize, k: usize, r: usize) {
        self.requests[s][k].at = r;
        let replica = &self.replicas[r];
        self.requests[s][k].phase = match (replica.link, replica.near[s]) {
            (Link::Down, Near::Fresh(pin) | Near::Known(pin)) => {
                let confirmed = variant.mistake == Mistake::KnownAsPinned;
                return self.tell(s, k, pin, confirmed);
            }
            (Link::Down, Near::Own(_)) => return self.requests[s][k].end(),
            (Link::Down, Near::Unknown) => Phase::Got { pin: None, fill: false, marked: false },
            (Link::Up | Link::Silent, Near::Fresh(pin)) => Phase::Hit(pin),
            _ if self.is_led(s, k, r) => Phase::Waiting,
            _ => {
                let fenced = variant.mistake != Mistake::NoFence && self.is_changing(s, r);
                let marked = self.redis.marks[s].is_some();
                let fill = variant.near_copies && !fenced;
                Phase::Got { pin: self.redis.pins[s], fill, marked }
            }
        };
    }

    /// The router chose `model`.
    pub(crate) fn route(&mut self, variant: &Variant<N, S>, s: usize, k: usize, model: Model) {
        let r = self.requests[s][k].at;
        if self.replicas[r].link == Link::Down {
            self.decide_alone(s, k, model);
        } else {
            self.send(variant, s, k, None, model);
        }
    }

    /// Without Redis a choice is remembered, and told as unpinned.
    fn decide_alone(&mut self, s: usize, k: usize, model: Model) {
        let near = &mut self.replicas[self.requests[s][k].at].near[s];
        if !matches!(near, Near::Own(_)) {
            *near = Near::Own(model);
        }
        self.requests[s][k].end();
    }

    /// The pinned model failed and the other one answered.
    pub(crate) fn repin(&mut self, variant: &Variant<N, S>, s: usize, k: usize) {
        if let Phase::Hit(pin) | Phase::Got { pin: Some(pin), .. } = self.requests[s][k].phase {
            self.budget.changes -= 1;
            self.send(variant, s, k, Some(pin.epoch), 1 - pin.model);
        }
    }

    /// Sends a claim (`from` is none) or a repin.
    fn send(
        &mut self,
        variant: &Variant<N, S>,
        s: usize,
        k: usize,
        from: Option<u8>,
        model: Model,
    ) {
        let r = self.requests[s][k].at;
        self.fence(variant, s, r);
        let pin = Pin { epoch: self.stamp(variant, s, r), model };
        self.requests[s][k].phase = Phase::Sent { from, pin };
        if variant.epochs != Epochs::AtSender {
            self.arrive(variant, s, k);
        }
    }

    /// Redis does not tell a connection of the changes that came over it. So, before it changes a
    /// pin, a replica gives up its copy and the copies about to be made.
    pub(crate) fn fence(&mut self, variant: &Variant<N, S>, s: usize, r: usize) {
        if variant.mistake == Mistake::NoFence {
            return;
        }
        let near = &mut self.replicas[r].near[s];
        if let Near::Fresh(pin) = *near {
            *near = Near::Known(pin);
        }
        self.spoil(s, r);
    }

    /// No reply about `s` that is under way to `r` may become a near copy any more.
    pub(crate) fn spoil(&mut self, s: usize, r: usize) {
        self.requests[s].iter_mut().filter(|request| request.serves(r)).for_each(|it| it.spoil());
    }

    /// A command arrives, or turns out not to have.
    pub(crate) fn arrive(&mut self, variant: &Variant<N, S>, s: usize, k: usize) {
        let request = self.requests[s][k];
        let Phase::Sent { from, pin } = request.phase else { return };
        let fill = variant.near_copies;
        if self.replicas[request.at].link != Link::Up {
            return match from {
                None => self.decide_alone(s, k, pin.model),
                Some(_) => self.requests[s][k].end(),
            };
        }
        self.requests[s][k].phase = match self.change(variant, s, request.at, from, pin) {
            Some(stands) if stands == pin => Phase::Changed { pin, fill },
            Some(stands) if from.is_none() => {
                Phase::Got { pin: Some(stands), fill, marked: self.redis.marks[s].is_some() }
            }
            // A repin that lost: the answer came from a model that may not be the pinned one.
            Some(_) | None => return self.requests[s][k].end(),
        };
    }

    /// Whether nobody can be told less than `pin` after this answer: see [`Wait`].
    pub(crate) fn may_tell(&self, variant: &Variant<N, S>, s: usize, k: usize, pin: Pin) -> bool {
        let others = self.replicas.iter().enumerate();
        let mut others = others.filter(|(r, _)| *r != self.requests[s][k].at);
        let dropped = others.all(|(_, it)| it.link != Link::Silent && !it.pending[s]);
        !self.waits(variant, s, k) || (dropped && self.is_safe(variant, s, k, pin))
    }

    /// Whether a failover cannot take `pin` away.
    pub(crate) fn is_safe(&self, variant: &Variant<N, S>, s: usize, k: usize, pin: Pin) -> bool {
        if !variant.marks {
            return self.is_replicated(variant, s, pin);
        }
        let stands = self.redis.pins[s] == Some(pin);
        let held = self.redis.marks[s].is_none() || self.redis.standby[s] == Some(pin);
        !self.is_marked(variant, s, k) || (stands && held)
    }

    /// Whether the pin of a request does not count before the standby has it.
    pub(crate) fn is_marked(&self, variant: &Variant<N, S>, s: usize, k: usize) -> bool {
        match self.requests[s][k].phase {
            Phase::Changed { .. } => variant.marks,
            Phase::Got { marked, .. } => marked,
            _ => false,
        }
    }

    /// Whether the standby has `pin` or a later one, where there is a standby.
    fn is_replicated(&self, variant: &Variant<N, S>, s: usize, pin: Pin) -> bool {
        let held = self.redis.standby[s].is_some_and(|held| held.epoch >= pin.epoch);
        held || !variant.faults.failover
    }

    /// Whether the answer waits for more than the reply.
    pub(crate) fn waits(&self, variant: &Variant<N, S>, s: usize, k: usize) -> bool {
        match self.requests[s][k].phase {
            Phase::Changed { .. } => variant.wait != Wait::Nobody,
            Phase::Got { pin, .. } => pin.is_some() && variant.wait == Wait::Everyone,
            // A copy is only made of a pin that was told before.
            _ => false,
        }
    }

    /// The answer reaches the client, the near copy is made, and those who waited have their pin.
    pub(crate) fn answer(&mut self, variant: &Variant<N, S>, s: usize, k: usize) {
        let request = self.requests[s][k];
        let (pin, fill) = match request.phase {
            Phase::Hit(pin) => (pin, false),
            Phase::Got { pin: Some(pin), fill, .. } | Phase::Changed { pin, fill } => (pin, fill),
            _ => return,
        };
        if self.is_marked(variant, s, k) {
            self.confirm(s, pin);
        }
        let near = &mut self.replicas[request.at].near[s];
        match near {
            _ if fill => *near = Near::Fresh(pin),
            // Redis has a pin, so what was decided here without it is void.
            Near::Own(_) => *near = Near::Unknown,
            _ => {}
        }
        // A reply that an invalidation has overtaken is older than those who wait: they ask anew.
        if fill || variant.mistake == Mistake::StaleHandover {
            let serves = |other: &&mut Request| other.serves(request.at);
            for other in self.requests[s].iter_mut().filter(serves) {
                if other.phase == Phase::Waiting {
                    other.phase = Phase::Got { pin: Some(pin), fill: false, marked: false };
                }
            }
        }
        self.tell(s, k, pin, true);
    }

    /// As [`Self::answer`], and the pin is released.
    pub(crate) fn finish(&mut self, variant: &Variant<N, S>, s: usize, k: usize) {
        let request = self.requests[s][k];
        if let Phase::Hit(pin) | Phase::Got { pin: Some(pin), .. } | Phase::Changed { pin, .. } =
            request.phase
        {
            self.budget.changes -= 1;
            self.answer(variant, s, k);
            self.fence(variant, s, request.at);
            if variant.mistake != Mistake::NoFence {
                self.replicas[request.at].near[s] = Near::Unknown;
            }
            self.release(variant, s, request.at, pin.epoch);
        }
    }

    /// Writes down what a client was told, `confirmed` by Redis or a fresh copy or else not.
    fn tell(&mut self, s: usize, k: usize, pin: Pin, confirmed: bool) {
        let history = &mut self.history[s];
        let bit = 1 << (2 * pin.epoch + pin.model);
        history.told |= bit;
        history.unclaimed |= history.made & bit == 0;
        let request = &mut self.requests[s][k];
        if confirmed {
            history.went_back |= pin.epoch < request.seen;
            request.seen = request.seen.max(pin.epoch);
            if pin.epoch > history.ended {
                history.moved |= *history.kept.get_or_insert(pin.model) != pin.model;
            }
        }
        request.end();
    }
}
