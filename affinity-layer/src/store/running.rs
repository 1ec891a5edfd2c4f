//! The sessions whose answers run in this process.
//!
//! A pin must not expire under a running answer, and its maximum age takes effect when the last one
//! has ended. So somebody has to know which answer is the last. Each answer
//! [enters](RunningSessions::enter) its session and [leaves](RunningSessions::leave) it when it is
//! dropped, whatever ended it; the one that leaves last is told.
//!
//! Nothing is kept of a session without a running answer, so the requests under way bound the memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::AffinityKey;

/// Which sessions have answers that run, and when the pin of each was last renewed.
#[derive(Debug, Default)]
pub(crate) struct RunningSessions(DashMap<AffinityKey, Arc<Mutex<Instant>>>);

impl RunningSessions {
    /// An answer of `key` begins. `first` runs if no other is under way; until it returns, none of the
    /// session enters or leaves.
    pub(crate) fn enter(&self, key: AffinityKey, first: impl FnOnce()) -> RunningAnswer {
        let mut is_new = false;
        let entry = self.0.entry(key.clone()).or_insert_with(|| {
            is_new = true;
            Arc::new(Mutex::new(Instant::now()))
        });
        if is_new {
            first();
        }
        RunningAnswer { key, renewed: Some(entry.clone()) }
    }

    /// An answer has ended. `last` runs if no other of its session is under way; until it returns, none
    /// enters.
    pub(crate) fn leave(&self, answer: &mut RunningAnswer, last: impl FnOnce(&AffinityKey)) {
        let mut own = answer.renewed.take();
        self.0.remove_if(&answer.key, |key, current| {
            let is_ours = own.take().is_some_and(|own| Arc::ptr_eq(current, &own));
            // Our own reference is gone and no answer can enter while the shard is locked, so the
            // map's is the last one exactly when no other answer is left.
            let is_last = is_ours && Arc::strong_count(current) == 1;
            if is_last {
                last(key);
            }
            is_last
        });
    }
}

/// One answer that runs.
#[derive(Debug)]
pub(crate) struct RunningAnswer {
    key: AffinityKey,
    /// `None` once it has left.
    renewed: Option<Arc<Mutex<Instant>>>,
}

impl RunningAnswer {
    /// Whose answer it is.
    pub(crate) fn key(&self) -> &AffinityKey {
        &self.key
    }

    /// Takes the turn to renew the pin, unless an answer of the session has done so less than `pause`
    /// ago: then it returns when that is over.
    pub(crate) fn take_turn(&self, pause: Duration) -> Option<Instant> {
        let mut renewed = self.renewed.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = *renewed + pause;
        if next > now {
            return Some(next);
        }
        *renewed = now;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_answer_of_a_session_is_told_and_the_turns_are_shared() {
        let sessions = RunningSessions::default();
        let key = |id| AffinityKey::new(id).unwrap();
        let mut firsts = 0;
        let mut enter = |id| sessions.enter(key(id), || firsts += 1);
        let (mut one, mut two, mut other) = (enter("s"), enter("s"), enter("t"));
        assert_eq!(firsts, 2, "one for each session");
        let pause = Duration::from_secs(1);
        assert!(one.take_turn(pause).is_some(), "it has just begun");
        tokio::time::advance(pause).await;
        assert_eq!(one.take_turn(pause), None);
        assert_eq!(two.take_turn(pause), Some(Instant::now() + pause), "the other has done so");
        assert_eq!(other.take_turn(pause), None);
        let mut lasts = Vec::new();
        sessions.leave(&mut one, |_| lasts.push("s too early"));
        sessions.leave(&mut one, |_| lasts.push("twice"));
        sessions.leave(&mut two, |_| lasts.push("s"));
        sessions.leave(&mut other, |_| lasts.push("t"));
        assert_eq!(lasts, ["s", "t"]);
        assert!(sessions.0.is_empty(), "nothing is left behind");
    }
}
