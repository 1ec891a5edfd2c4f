//! The turns of one session.
//!
//! A session's turns in the order in which they ended, the newest [`TURNS`] of them. All requests without a
//! session share one lane.

use std::collections::VecDeque;
use std::sync::Arc;

use affinity_layer::admin::StoredKey;
use serde::{Serialize, Serializer};

use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;

/// Turns of a session that are kept.
pub(super) const TURNS: usize = 100;

/// A turn, and its place in its session.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Told {
    #[serde(flatten, serialize_with = "shared")]
    turn: Arc<Turn>,
    /// From 1, since the session was seen here first.
    number: u64,
}

fn shared<S: Serializer>(turn: &Arc<Turn>, serializer: S) -> Result<S::Ok, S::Error> {
    turn.as_ref().serialize(serializer)
}

/// A session, or all requests without one.
#[derive(Debug, Serialize)]
pub(super) struct Lane {
    session: Option<SessionTag>,
    scope: Option<String>,
    turns: VecDeque<Told>,
    /// Which turn of the history was the last one here.
    #[serde(skip)]
    pub(super) newest: u64,
}

impl Lane {
    pub(super) fn of(turn: &Turn) -> Self {
        let (session, scope) = (turn.session, turn.scope.clone());
        Self { session, scope, turns: VecDeque::new(), newest: 0 }
    }

    /// What the pin of the session is called in the store.
    pub(super) fn keys(&self) -> Option<&[StoredKey]> {
        self.turns.back().map(|last| last.turn.keys.as_slice())
    }

    pub(super) fn add(&mut self, turn: Arc<Turn>) -> Told {
        let number = self.turns.back().map_or(1, |last| last.number + 1);
        let told = Told { turn, number };
        if self.turns.len() == TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(told.clone());
        told
    }
}
