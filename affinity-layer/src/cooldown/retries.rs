//! Sessions whose last request no candidate has served.
//!
//! A client whose request fails sends it again, a few times within a minute. The router has nothing new to
//! say then, and to ask every candidate again for each of these requests would multiply the load on
//! providers that have just said that they have too much. So the decision is kept for a while, and each
//! repetition tries one candidate: the one whose failure is the oldest.
//!
//! The minute begins with the first failure: however often the client repeats, the router is asked once a
//! minute. A request that asks for something else is no repetition.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::ext::RoutingHints;
use crate::{AffinityKey, ModelName, Selection};

/// How long after the first failure a request of the session counts as a repetition.
const RETRIED_WITHIN: Duration = Duration::from_secs(60);

/// The most sessions that are remembered.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<AffinityKey, GiveUp>);

/// What became of the last request of a session.
#[derive(Clone, Debug)]
pub(crate) struct GiveUp {
    /// `None` if it was not decided for that request.
    pub(crate) asked: Option<Question>,
    pub(crate) selection: Arc<Selection>,
    /// The candidates that were tried, the oldest failure first.
    pub(crate) failed: Vec<ModelName>,
    /// When the first request failed of which the last was a repetition.
    pub(crate) since: Instant,
}

impl GiveUp {
    /// Whether a request with `selection` has the same candidates.
    pub(crate) fn is_of(&self, selection: &Selection) -> bool {
        self.selection.model() == selection.model()
            && self.selection.candidates() == selection.candidates()
    }
}

/// A digest of all that a decision depends on but the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question(u64);

impl Question {
    /// That of a request for `model`, or for any.
    pub(crate) fn new(request: &Parts, model: Option<&ModelName>) -> Self {
        let mut digest = DefaultHasher::new();
        let hints = request.extensions.get::<RoutingHints>();
        (request.uri.path(), model, hints).hash(&mut digest);
        Self(digest.finish())
    }
}

impl Retries {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that a request of `key` was served by none of the candidates that it tried.
    pub(super) fn gave_up(&mut self, key: &AffinityKey, last: GiveUp, now: Instant) {
        let GiveUp { asked, selection, failed, since } = last;
        let mut before = self.0.remove(key).map(|before| before.failed).unwrap_or_default();
        for model in failed {
            before.retain(|other| *other != model);
            before.push(model);
        }
        // A session that moves on has other candidates.
        before.retain(|model| model == selection.model() || selection.candidates().contains(model));
        if self.0.len() >= MOST {
            self.make_room(now);
        }
        self.0.insert(key.clone(), GiveUp { asked, selection, failed: before, since });
    }

    /// What became of the last request of `key`, if it failed a short while ago.
    pub(super) fn last(&self, key: &AffinityKey, now: Instant) -> Option<&GiveUp> {
        self.0.get(key).filter(|last| now < last.since + RETRIED_WITHIN)
    }

    /// Forgets a session that was served.
    pub(super) fn served(&mut self, key: &AffinityKey) {
        self.0.remove(key);
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, last| now < last.since + RETRIED_WITHIN);
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, last)| last.since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&oldest);
            }
        }
    }
}
