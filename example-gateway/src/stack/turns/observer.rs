//! The observer of turns.
//!
//! The stack knows only this trait. [`hub`](crate::ops::hub) implements it, so that no layer depends on the
//! ledger or on the live page.

use std::fmt::Debug;
use std::sync::Arc;

use affinity_layer::{ModelName, RouteName};

use super::switch::SwitchRecord;
use super::tag::SessionTag;
use super::turn::Turn;
use crate::prices::Cost;

/// Learns what happens in the stack. All that operators see of turns comes through here.
pub(crate) trait TurnObserver: Debug + Send + Sync {
    /// `model` has begun to answer `session`. Says whether another model answered it before.
    fn answers(&self, session: SessionTag, model: &ModelName) -> bool;

    /// What a turn has cost; `None` if that is not known.
    fn cost(&self, turn: &Turn) -> Option<Cost>;

    /// A turn has ended.
    fn ended(&self, turn: Arc<Turn>);

    /// A turn that a pin of `route` served was routed once more in the shadow.
    fn judged(&self, route: Option<&RouteName>, verdict: Verdict);

    /// A session stayed or moved where a turn of the user began.
    fn weighed(&self, record: SwitchRecord);
}

/// What the router would have done with a turn that was served by a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It would have chosen the pinned model.
    Agreed,
    /// It would have chosen another model.
    Otherwise,
    /// No route matched.
    NoMatch,
    /// It gave no answer.
    Failed,
}

impl Verdict {
    pub(crate) const ALL: [Self; 4] = [Self::Agreed, Self::Otherwise, Self::NoMatch, Self::Failed];

    /// The label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Otherwise => "otherwise",
            Self::NoMatch => "no_match",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what it learns.
    #[derive(Debug, Default)]
    pub(crate) struct Notes {
        ended: Mutex<Vec<Arc<Turn>>>,
        verdicts: Mutex<Vec<Verdict>>,
        weighed: Mutex<Vec<SwitchRecord>>,
    }

    impl Notes {
        /// The oldest turn that was not taken yet.
        pub(crate) fn next(&self) -> Option<Arc<Turn>> {
            let mut ended = self.ended.lock().unwrap();
            (!ended.is_empty()).then(|| ended.remove(0))
        }

        /// What was decided where turns of users began, in order.
        pub(crate) fn weighed(&self) -> Vec<SwitchRecord> {
            self.weighed.lock().unwrap().clone()
        }

        /// How often each verdict occurred, in the order of [`Verdict::ALL`].
        pub(crate) fn verdicts(&self) -> [usize; 4] {
            let told = self.verdicts.lock().unwrap();
            Verdict::ALL.map(|verdict| told.iter().filter(|told| **told == verdict).count())
        }
    }

    impl TurnObserver for Notes {
        fn answers(&self, _: SessionTag, _: &ModelName) -> bool {
            false
        }

        fn cost(&self, _: &Turn) -> Option<Cost> {
            None
        }

        fn ended(&self, turn: Arc<Turn>) {
            self.ended.lock().unwrap().push(turn);
        }

        fn judged(&self, _: Option<&RouteName>, verdict: Verdict) {
            self.verdicts.lock().unwrap().push(verdict);
        }

        fn weighed(&self, record: SwitchRecord) {
            self.weighed.lock().unwrap().push(record);
        }
    }
}
