//! A turn that is under way.
//!
//! [`record`](super::record) makes one for each turn, and the answer layer feeds it as the answer passes.
//! It reports in its `Drop`: an answer that breaks off, or whose client hangs up, is a turn too.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{
    PinnedModel,
    answer::{AnswerObserver, Usage},
    ext::{AnyModel, ObservedPin, PassedOver, Probe, RequestedModel},
};
use http::Extensions;
use http::response::Parts;
use tokio::time::Instant;

use super::observer::TurnObserver;
use super::tag::SessionTag;
use super::turn::{Group, Turn};
use crate::extensions::{Arrived, RouterClock};
use crate::prices::TokenCounts;
use crate::stack::sessions::Sessions;

/// A turn that has not ended. Dropping it reports it to its observer.
#[derive(Debug)]
pub(super) struct Draft {
    turn: Arc<Turn>,
    since: Instant,
    observed: Option<ObservedPin>,
    observer: Arc<dyn TurnObserver>,
}

impl Draft {
    /// A draft for a request that goes to a model to be answered.
    pub(super) fn begin(
        request: &Extensions,
        observer: &Arc<dyn TurnObserver>,
        sessions: &Sessions,
    ) -> Option<Self> {
        let model = request.get::<PinnedModel>()?;
        if request.get::<Probe>().is_some() {
            return None;
        }
        let now = Instant::now();
        let since = request.get().map_or(now, |Arrived(since)| *since);
        let requested = request.get().map(|RequestedModel(model)| model.clone());
        let (key, observed) = (model.key(), request.get::<ObservedPin>().cloned());
        let session = observed.as_ref().map(ObservedPin::session).or(key);
        let turn = Turn {
            at: SystemTime::now().checked_sub(since.elapsed()).unwrap_or(UNIX_EPOCH),
            session: session.map(SessionTag::of),
            keys: key.map(|key| sessions.inspect().stored_keys(key)).unwrap_or_default(),
            scope: session.and_then(|key| key.scope()).map(Into::into),
            requested: requested.filter(|_| request.get::<AnyModel>().is_none()),
            model: model.model().clone(),
            route: model.route().cloned(),
            outcome: model.outcome(),
            pinned: model.is_pinned(),
            epoch: model.epoch(),
            switched: false,
            router: request.get().and_then(RouterClock::read),
            first_byte: None,
            total: since.elapsed(),
            status: None,
            complete: false,
            passed_over: None,
            tokens: TokenCounts::default(),
            cost: None,
            group: match (&observed, key) {
                (Some(_), _) => Group::Observed,
                (None, Some(_)) => Group::Enforced,
                (None, None) => Group::None,
            },
            would_pin: None,
        };
        Some(Self { turn: Arc::new(turn), since, observed, observer: observer.clone() })
    }

    fn turn(&mut self) -> &mut Turn {
        // The observer does not have it yet.
        Arc::make_mut(&mut self.turn)
    }
}

impl AnswerObserver for Draft {
    fn on_head(&mut self, head: &Parts) {
        let turn = self.turn();
        turn.status = Some(head.status.as_u16());
        turn.passed_over = head.extensions.get().map(|PassedOver(model)| model.clone());
        // A layer below that moved the session says so.
        if let Some(moved) = head.extensions.get::<PinnedModel>() {
            turn.model = moved.model().clone();
            turn.outcome = moved.outcome();
            turn.pinned = moved.is_pinned();
            turn.epoch = moved.epoch();
        }
        let Turn { session, model, .. } = &*self.turn;
        if let Some(session) = session.filter(|_| head.status.is_success()) {
            let switched = self.observer.answers(session, model);
            self.turn().switched = switched;
        }
    }

    fn on_data(&mut self, usage: Usage) {
        let since = self.since;
        let turn = self.turn();
        turn.first_byte.get_or_insert_with(|| since.elapsed());
        turn.tokens = usage.into();
    }

    fn on_end(mut self: Box<Self>) {
        self.turn().complete = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let total = self.since.elapsed();
        let cost = self.observer.cost(&self.turn);
        let would_pin = self.observed.as_ref().and_then(ObservedPin::turn);
        let turn = self.turn();
        turn.would_pin = would_pin.map(|pin| pin.model().clone());
        (turn.total, turn.cost) = (total, cost);
        self.observer.ended(self.turn.clone());
    }
}
