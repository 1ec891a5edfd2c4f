//! What the model remembers: Redis, the replicas, the clients, and a little history to judge by.

use stateright::Representative;

/// Requests that one session may have under way at once.
pub(crate) const SLOTS: usize = 2;

/// One of two models, 0 or 1.
pub(crate) type Model = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pin {
    pub(crate) epoch: u8,
    pub(crate) model: Model,
}

/// What Redis holds. Keys do not touch each other, so each has an epoch counter of its own: only
/// the order of one key's epochs is ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Redis<const S: usize> {
    pub(crate) pins: [Option<Pin>; S],
    /// The last epoch that was handed out: the clock that all replicas share.
    pub(crate) clock: [u8; S],
    /// What the standby has received of it; used where failovers happen.
    pub(crate) standby: [Option<Pin>; S],
    /// Where a pin is marked as unconfirmed, what it has replaced.
    pub(crate) marks: [Option<Option<Pin>>; S],
    pub(crate) standby_marks: [Option<Option<Pin>>; S],
}

/// A replica's connection to Redis, commands and tracking together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Link {
    Up,
    /// Broken, and the replica does not know yet: nothing arrives, fresh copies are still served.
    Silent,
    Down,
}

/// What a replica knows of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Near {
    Unknown,
    /// A copy that is served without asking Redis.
    Fresh(Pin),
    /// A copy that is served only while Redis is away.
    Known(Pin),
    /// A model chosen here while Redis was away, or all that is left of a pin that Redis lost: to
    /// be claimed when Redis is back.
    Own(Model),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Replica<const S: usize> {
    pub(crate) link: Link,
    pub(crate) near: [Near; S],
    /// Whether an invalidation is under way to this replica. Handling one twice changes nothing,
    /// so those under way for one key count as one.
    pub(crate) pending: [bool; S],
    /// Redis has lost data since this replica last spoke to it: another run id.
    pub(crate) lost: bool,
    /// Counts the epochs made here, where epochs are counted per replica.
    pub(crate) counter: [u8; S],
}

/// Where a request stands. `fill` says that the reply may still become a near copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Idle,
    /// Another request of the same replica and session is finding the pin.
    Waiting,
    /// The near copy answered.
    Hit(Pin),
    /// Redis answered a read, or a claim that another had won.
    Got {
        pin: Option<Pin>,
        fill: bool,
        /// It was marked as unconfirmed.
        marked: bool,
    },
    /// A claim (`from` is none) or repin is on its way, its epoch already chosen.
    Sent {
        from: Option<u8>,
        pin: Pin,
    },
    /// Redis has made the change that this request asked for.
    Changed {
        pin: Pin,
        fill: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) at: usize,
    pub(crate) phase: Phase,
    /// Requests that the client will still send from this slot.
    pub(crate) left: u8,
    /// The highest epoch that this slot was told as pinned: a slot is one sequential client.
    pub(crate) seen: u8,
}

impl Request {
    pub(crate) fn serves(&self, replica: usize) -> bool {
        self.phase != Phase::Idle && self.at == replica
    }

    /// Marks the reply as too old to be kept.
    pub(crate) fn spoil(&mut self) {
        if let Phase::Got { fill, .. } | Phase::Changed { fill, .. } = &mut self.phase {
            *fill = false;
        }
    }

    /// Answered, or given up by its client.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Idle;
        self.at = 0;
    }
}

/// What an onlooker who sees everything wrote down about one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    /// Bit `2 * epoch + model`: Redis held this pin at some time.
    pub(crate) made: u32,
    /// The same for answers.
    pub(crate) told: u32,
    /// Up to this epoch something legitimate ended the pin: a repin, a release, an expiry.
    pub(crate) ended: u8,
    /// The model told for the epochs after that.
    pub(crate) kept: Option<Model>,
    pub(crate) unclaimed: bool,
    pub(crate) went_back: bool,
    pub(crate) moved: bool,
}

/// What may still happen; every budget only shrinks, so every run of the model ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) changes: u8,
    pub(crate) faults: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State<const N: usize, const S: usize> {
    pub(crate) redis: Redis<S>,
    pub(crate) replicas: [Replica<S>; N],
    pub(crate) requests: [[Request; SLOTS]; S],
    pub(crate) history: [History; S],
    pub(crate) budget: Budget,
}

impl<const N: usize, const S: usize> State<N, S> {
    /// Nothing pinned, everything connected, `requests[slot]` to be sent from each slot.
    pub(crate) fn initial(requests: [u8; SLOTS], budget: Budget) -> Self {
        let replica = Replica {
            link: Link::Up,
            near: [Near::Unknown; S],
            pending: [false; S],
            lost: false,
            counter: [0; S],
        };
        let slot = |left| Request { at: 0, phase: Phase::Idle, left, seen: 0 };
        Self {
            redis: Redis {
                pins: [None; S],
                clock: [0; S],
                standby: [None; S],
                marks: [None; S],
                standby_marks: [None; S],
            },
            replicas: [replica; N],
            requests: [requests.map(slot); S],
            history: [History::default(); S],
            budget,
        }
    }

    /// All places of requests, as (session, slot).
    pub(crate) fn slots() -> impl Iterator<Item = (usize, usize)> {
        (0..S).flat_map(|s| (0..SLOTS).map(move |k| (s, k)))
    }
}

/// Replicas are alike: states that differ only in their order are one.
impl<const N: usize, const S: usize> Representative for State<N, S> {
    fn representative(&self) -> Self {
        // A replica is ordered together with the requests that it serves, or two replicas alike
        // but for their requests would be ordered by chance.
        let rank = |r: usize| {
            let serves = |(s, k): (usize, usize)| self.requests[s][k].serves(r);
            let requests =
                Self::slots().fold(0_u8, |bits, slot| bits << 1 | u8::from(serves(slot)));
            (self.replicas[r], requests)
        };
        let mut order: [usize; N] = std::array::from_fn(|r| r);
        order.sort_by_key(|r| rank(*r));
        let mut next = *self;
        next.replicas = order.map(|r| self.replicas[r]);
        for request in next.requests.iter_mut().flatten().filter(|r| r.phase != Phase::Idle) {
            request.at = order.iter().position(|r| *r == request.at).unwrap_or(request.at);
        }
        next
    }
}
