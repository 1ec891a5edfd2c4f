//! The protocol's choices, the assumptions about the world, and the mistakes to be caught.

use crate::state::{Budget, SLOTS};

/// Whose answers wait until a change is safe: until every replica that may still serve an older
/// copy has dropped it or has lost its lease, and, where failovers happen, until the standby has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Nobody,
    /// The request that made the change.
    Changer,
    /// Also every request that read it from Redis.
    Everyone,
}

/// Where epochs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Epochs {
    /// The shared clock, read at the moment of the change.
    AtRedis,
    /// The shared clock, read when the command is sent: it may arrive after younger ones.
    AtSender,
    /// Each replica counts for itself.
    PerReplica,
    /// One more than what stands, from 1 where nothing stands.
    Restarting,
}

/// What may go wrong; each occurrence costs one of the budget's faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// A replica's connection breaks.
    pub(crate) cut: bool,
    /// A replica dies and starts anew.
    pub(crate) crash: bool,
    /// A client or a timeout ends a request at any point.
    pub(crate) cancel: bool,
    /// Redis restarts with its data.
    pub(crate) restart: bool,
    /// Redis restarts empty.
    pub(crate) loss: bool,
    /// The standby takes over, without what it had not received.
    pub(crate) failover: bool,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        cut: false,
        crash: false,
        cancel: false,
        restart: false,
        loss: false,
        failover: false,
    };

    /// All but the failover, which has a configuration of its own.
    pub(crate) const ALL: Self =
        Self { cut: true, crash: true, cancel: true, restart: true, loss: true, failover: false };
}

/// A mistake in the protocol that some property must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    /// Claim by GET and then SET.
    ClaimOverwrites,
    /// Repin whatever stands.
    BlindRepin,
    /// Near copies without invalidation.
    Deaf,
    /// Near copies stay fresh over a reconnect.
    FreshOverReconnect,
    /// A decision made during an outage passes for a pin afterwards, without a claim.
    OwnAsPin,
    /// A reply overtaken by an invalidation is kept as a near copy.
    FillAfterInvalidation,
    /// A replica, which hears no echo of its own changes, keeps its copy while it makes one.
    NoFence,
    /// What is known from before an outage is told as if Redis had confirmed it.
    KnownAsPinned,
    /// Requests that wait take over what was found, however old it is.
    StaleHandover,
    /// When the request that leads goes away, those that wait for it are forgotten.
    OrphanedWaiters,
    /// A change is undone although somebody has confirmed it.
    BlindUndo,
}

/// One configuration to check, over `N` replicas and `S` sessions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<const N: usize, const S: usize> {
    pub(crate) wait: Wait,
    pub(crate) near_copies: bool,
    /// Changes are marked until the standby has them, and undone when it does not in time. Whoever
    /// reads a mark waits for the standby, and nobody else does.
    pub(crate) marks: bool,
    pub(crate) epochs: Epochs,
    pub(crate) faults: Faults,
    pub(crate) mistake: Mistake,
    /// Requests to send from each slot of each session; two slots overlap.
    pub(crate) requests: [u8; SLOTS],
    pub(crate) budget: Budget,
}

impl<const N: usize, const S: usize> Variant<N, S> {
    /// The protocol as specified, one request at a time, no faults.
    pub(crate) const fn sequential(requests: u8, changes: u8) -> Self {
        Self {
            wait: Wait::Everyone,
            near_copies: true,
            marks: false,
            epochs: Epochs::AtRedis,
            faults: Faults::NONE,
            mistake: Mistake::None,
            requests: [requests, 0],
            budget: Budget { changes, faults: 0 },
        }
    }

    /// The same with two requests of a session under way at once.
    pub(crate) const fn overlapping(requests: [u8; SLOTS], changes: u8) -> Self {
        Self { requests, ..Self::sequential(0, changes) }
    }

    /// With up to `count` of these faults.
    pub(crate) const fn with_faults(mut self, faults: Faults, count: u8) -> Self {
        self.faults = faults;
        self.budget.faults = count;
        self
    }

    pub(crate) const fn with_mistake(self, mistake: Mistake) -> Self {
        Self { mistake, ..self }
    }

    pub(crate) const fn with_wait(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    pub(crate) const fn with_epochs(self, epochs: Epochs) -> Self {
        Self { epochs, ..self }
    }

    pub(crate) const fn with_marks(self) -> Self {
        Self { marks: true, ..self }
    }

    pub(crate) const fn without_near_copies(self) -> Self {
        Self { near_copies: false, ..self }
    }
}
