//! Collects turns for their observers: the ledger and the readers of the live page.
//!
//! It implements the trait by which the stack [reports](crate::stack::turns). The ledger is added to at once,
//! under a lock that is held for a few sums. Readers get a bounded channel, and one that is too slow loses
//! turns rather than slowing a request.

use std::sync::Arc;

use affinity_layer::{ModelName, RouteName};
use tokio::sync::broadcast;

use crate::ops::ledger::books::Ledger;
use crate::prices::Cost;
use crate::stack::turns::observer::{TurnObserver, Verdict};
use crate::stack::turns::switch::SwitchRecord;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;
use crate::upstream::providers::Upstreams;

/// Turns that a live reader may be behind; a slower one loses the oldest, and learns how many.
const BACKLOG: usize = 1024;

/// Takes in turns and hands them on. Clones share the readers and the ledger.
#[derive(Clone, Debug)]
pub(crate) struct TurnHub {
    live: broadcast::Sender<Arc<Turn>>,
    ledger: Arc<Ledger>,
}

impl TurnHub {
    pub(crate) fn new(upstreams: Arc<Upstreams>) -> Self {
        let ledger = Arc::new(Ledger::new(upstreams));
        Self { live: broadcast::Sender::new(BACKLOG), ledger }
    }

    /// Every turn from now on, in the order in which they end.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Turn>> {
        self.live.subscribe()
    }

    /// What all turns add up to.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl TurnObserver for TurnHub {
    fn answers(&self, session: SessionTag, model: &ModelName) -> bool {
        self.ledger.answers(session, model)
    }

    fn cost(&self, turn: &Turn) -> Option<Cost> {
        self.ledger.cost(turn)
    }

    fn ended(&self, turn: Arc<Turn>) {
        self.ledger.add(&turn);
        // It fails if there are no readers.
        let _ = self.live.send(turn);
    }

    fn weighed(&self, record: SwitchRecord) {
        self.ledger.weighed(record);
    }

    fn judged(&self, route: Option<&RouteName>, verdict: Verdict) {
        self.ledger.judged(route, verdict);
    }
}
