//! What happens to replicas and Redis without any request.

use crate::state::{Link, Near, Phase, Pin, Replica, State};
use crate::variant::{Mistake, Variant};

impl<const N: usize, const S: usize> State<N, S> {
    /// The copy is out of date, and so is every reply that is under way.
    pub(crate) fn heed_invalidation(&mut self, variant: &Variant<N, S>, r: usize, s: usize) {
        self.replicas[r].pending[s] = false;
        let near = &mut self.replicas[r].near[s];
        if !matches!(near, Near::Own(_)) {
            *near = Near::Unknown;
        }
        if variant.mistake != Mistake::FillAfterInvalidation {
            self.spoil(s, r);
        }
    }

    /// The connection breaks; the invalidations on it are lost.
    pub(crate) fn cut(&mut self, r: usize) {
        let replica = &mut self.replicas[r];
        if replica.link == Link::Up {
            replica.link = Link::Silent;
            replica.pending = [false; S];
        }
    }

    /// From here on, what the replica holds is only good for want of Redis.
    pub(crate) fn notice(&mut self, r: usize) {
        self.replicas[r].link = Link::Down;
        (0..S).for_each(|s| self.spoil(s, r));
    }

    /// Tracking is armed before any copy is made. Copies need Redis' word again; if Redis has lost
    /// data, they are claimed like decisions of this replica's own.
    pub(crate) fn reconnect(&mut self, variant: &Variant<N, S>, r: usize) {
        for s in 0..S {
            let lost = self.replicas[r].lost;
            let near = self.replicas[r].near[s];
            self.replicas[r].near[s] = match near {
                Near::Fresh(pin) | Near::Known(pin) if lost => Near::Own(pin.model),
                Near::Fresh(_) if variant.mistake == Mistake::FreshOverReconnect => near,
                Near::Fresh(pin) => Near::Known(pin),
                Near::Own(model) if variant.mistake == Mistake::OwnAsPin => {
                    Near::Fresh(Pin { epoch: self.redis.clock[s] + 1, model })
                }
                Near::Known(_) | Near::Own(_) | Near::Unknown => near,
            };
        }
        self.replicas[r].link = Link::Up;
        self.replicas[r].lost = false;
    }

    /// Redis' winner stands and replaces what was decided here. It is known, not fresh: the next
    /// request asks Redis.
    pub(crate) fn reconcile(&mut self, variant: &Variant<N, S>, r: usize, s: usize) {
        if let Near::Own(model) = self.replicas[r].near[s] {
            let pin = Pin { epoch: self.stamp(variant, s, r), model };
            let winner = self.change(variant, s, r, None, pin);
            self.replicas[r].near[s] = winner.map_or(Near::Unknown, Near::Known);
        }
    }

    /// Everything that the replica held is gone, its clients get no answer, and it starts anew.
    pub(crate) fn crash(&mut self, r: usize) {
        let counter = self.replicas[r].counter;
        self.replicas[r] = Replica {
            link: Link::Up,
            near: [Near::Unknown; S],
            pending: [false; S],
            lost: false,
            counter,
        };
        for request in self.requests.iter_mut().flatten().filter(|request| request.serves(r)) {
            request.end();
        }
    }

    /// Redis restarts, with its data or without. That it loses data is a legitimate end of a pin
    /// here: nothing that is not replicated can survive it.
    pub(crate) fn restart(&mut self, lost: bool) {
        (0..N).for_each(|r| self.cut(r));
        if lost {
            self.redis.pins = [None; S];
            self.redis.standby = [None; S];
            self.redis.marks = [None; S];
            self.redis.standby_marks = [None; S];
            self.replicas.iter_mut().for_each(|replica| replica.lost = true);
            (0..S).for_each(|s| self.end(s, self.redis.clock[s]));
        }
    }

    /// The standby takes over with what it has. Unlike a restart this is no excuse: a session that
    /// sees another model because of it counts as moved. Whoever was waiting for the standby's word
    /// gets an error, and answers as unpinned.
    pub(crate) fn failover(&mut self, variant: &Variant<N, S>) {
        (0..N).for_each(|r| self.cut(r));
        for (s, k) in Self::slots() {
            let asks = if variant.marks {
                self.is_marked(variant, s, k)
            } else {
                self.waits(variant, s, k)
            };
            if asks {
                self.requests[s][k].end();
            }
        }
        self.redis.pins = self.redis.standby;
        self.redis.marks = self.redis.standby_marks;
        self.replicas.iter_mut().for_each(|replica| replica.lost = true);
    }

    /// The time of a pin is over, everywhere at once: a copy carries the time that Redis had left
    /// when it was read, counted from before the read, and so never outlives the pin.
    pub(crate) fn expire(&mut self, s: usize) {
        self.redis.pins[s] = None;
        self.redis.standby[s] = None;
        self.redis.marks[s] = None;
        self.redis.standby_marks[s] = None;
        self.end(s, self.redis.clock[s]);
        for r in 0..N {
            let near = &mut self.replicas[r].near[s];
            if !matches!(near, Near::Own(_)) {
                *near = Near::Unknown;
            }
            self.spoil(s, r);
        }
    }

    /// Whether a request is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.requests.iter().flatten().any(|request| request.phase != Phase::Idle)
    }
}
