//! Connections of which nothing is known yet. Where there is no place left, the one that came first gives
//! way: those without a token cannot keep out one who has it, nor those beyond the limit of connections one
//! that asks after our health.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::sync::CancellationToken;

use crate::extensions::Introduction;

/// How many ended connections are remembered at most.
const MEMORY: usize = 1024;

/// The strangers of a listener, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<VecDeque<Weak<Stranger>>>>);

/// A connection; it belongs to whoever serves it.
#[derive(Debug, Default)]
pub(super) struct Stranger {
    pub(super) introduction: Introduction,
    /// Cancelled when it has to give way.
    pub(super) end: CancellationToken,
}

impl Strangers {
    /// Notes a connection that was just accepted.
    pub(super) fn arrived(&self) -> Arc<Stranger> {
        let stranger = Arc::<Stranger>::default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MEMORY {
            all.retain(|known| known.strong_count() > 0);
        }
        all.push_back(Arc::downgrade(&stranger));
        stranger
    }

    /// Ends the connection that has been a stranger for longest. Whether there was one.
    pub(super) fn send_one_away(&self) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = all.pop_front() {
            if let Some(stranger) = first.upgrade()
                && !stranger.introduction.is_made()
            {
                stranger.end.cancel();
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_stranger_gives_way_and_no_one_who_is_known() {
        let strangers = Strangers::default();
        let all = [(); 4].map(|()| strangers.arrived());
        all[0].introduction.make();
        let [known, gone, second, third] = all;
        drop(gone);
        assert!(strangers.send_one_away() && second.end.is_cancelled());
        assert!(!third.end.is_cancelled() && !known.end.is_cancelled());
        assert!(strangers.send_one_away() && third.end.is_cancelled());
        assert!(!strangers.send_one_away() && !known.end.is_cancelled());
    }
}
