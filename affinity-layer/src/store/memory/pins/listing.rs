//! Looking at entries without using them.
//!
//! A listing goes over the rings place by place, and not over the map: a place stays the same while
//! entries come and go, so a page can end and go on there. It copies up to 64 places under the lock
//! of a ring, lets go of it, and looks the entries up.

use super::{Digest, Held, Pins};

/// How many stretches of places one page looks at.
///
/// So a page looks at 4,096 places at most, and a listing of a store that is nearly empty does not
/// hold up its thread.
const MAX_STRETCHES: usize = 64;

/// Some pins, and where to continue.
type Page = (Vec<(Digest, Held)>, Option<(usize, usize)>);

impl Pins {
    /// The pin of `digest`. Does not count as a use.
    pub(in crate::store) fn look(&self, digest: Digest) -> Option<Held> {
        let now = self.now();
        self.slots
            .of(digest)
            .get(&digest)
            .filter(|slot| slot.is_live(now))
            .map(|slot| slot.held(now))
    }

    /// About `limit` pins from a place on, and the place at which to continue; `None` at the end. Does
    /// not count as a use.
    pub(in crate::store) fn page(
        &self,
        (mut part, mut from): (usize, usize),
        limit: usize,
    ) -> Page {
        let (now, mut found) = (self.now(), Vec::new());
        for _ in 0..MAX_STRETCHES {
            let Some(stretch) = self.clocks.stretch(part, from) else {
                return (found, None);
            };
            found.extend(stretch.entries.into_iter().filter_map(|(digest, index)| {
                let slot = self.slots.of(digest).get(&digest)?;
                // At its own place only, so that it is listed once.
                let is_here = slot.position.index() == index && slot.is_live(now);
                is_here.then(|| (digest, slot.held(now)))
            }));
            (part, from) = stretch.next.map_or((part + 1, 0), |next| (part, next));
            if found.len() >= limit {
                break;
            }
        }
        let more = part < self.clocks.parts();
        (found, more.then_some((part, from)))
    }
}
