//! The books of single sessions: of the newest, as many as fit.
//!
//! Clients choose how many sessions there are, so the number of pages is bounded and the one that was used
//! longest ago gives way. Its turns stay in all other sums.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use affinity_layer::{ModelName, RouteName};

use super::observed::{Course, Models, ObservedSums};
use super::sums::Sums;
use crate::stack::turns::tag::SessionTag;
use crate::stack::turns::turn::Turn;

/// Sessions that are kept, a few hundred bytes each; the one whose last turn is the longest ago goes.
pub(crate) const MAX_PINS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Pins {
    by_session: HashMap<SessionTag, Page>,
    /// The sessions by their last use.
    order: BTreeMap<u64, SessionTag>,
    uses: u64,
}

/// The page of one session.
#[derive(Debug, Default)]
pub(super) struct Page {
    place: u64,
    pub(super) scope: Option<String>,
    /// What answered last.
    pub(super) model: Option<ModelName>,
    pub(super) route: Option<RouteName>,
    /// The arrival of the newest turn that has ended.
    pub(super) last: Option<SystemTime>,
    pub(super) sums: Sums,
    course: Course,
}

impl Pins {
    /// A model answers a session; says whether another one did before.
    pub(super) fn answers(&mut self, session: SessionTag, model: &ModelName) -> bool {
        let page = self.page(session);
        let before = page.model.replace(model.clone());
        before.is_some_and(|before| before != *model)
    }

    /// Adds a turn to the page of its session. Returns what a pin would have done, and what the turn tells of
    /// its model's cache.
    pub(super) fn add(
        &mut self,
        turn: &Turn,
        models: &Models<'_>,
    ) -> (ObservedSums, Option<(u64, u64)>) {
        let Some(session) = turn.session else { return Default::default() };
        let page = self.page(session);
        let (observed, learnt) = page.course.add(turn, models);
        page.sums.add(turn, &observed);
        if page.last.is_none_or(|last| last <= turn.at) {
            page.last = Some(turn.at);
            page.route.clone_from(&turn.route);
            page.scope.clone_from(&turn.scope);
        }
        (observed, learnt)
    }

    /// The sessions, the last used first.
    pub(super) fn newest(&self) -> impl Iterator<Item = (SessionTag, &Page)> {
        let sessions = self.order.values().rev();
        sessions.filter_map(|session| Some((*session, self.by_session.get(session)?)))
    }

    /// The page of a session, which is the last used one from now on.
    fn page(&mut self, session: SessionTag) -> &mut Page {
        let is_known = self.by_session.contains_key(&session);
        if !is_known
            && self.by_session.len() >= MAX_PINS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.by_session.remove(&oldest);
        }
        self.uses += 1;
        let page = self.by_session.entry(session).or_default();
        if is_known {
            self.order.remove(&page.place);
        }
        page.place = self.uses;
        self.order.insert(page.place, session);
        page
    }
}
