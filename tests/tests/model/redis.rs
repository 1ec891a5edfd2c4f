//! Redis' part: atomic changes of a key, and the invalidations that follow from them.

use crate::state::{Link, Pin, State};
use crate::variant::{Epochs, Mistake, Variant};

impl<const N: usize, const S: usize> State<N, S> {
    /// The epoch for a change that `r` is about to make.
    pub(crate) fn stamp(&mut self, variant: &Variant<N, S>, s: usize, r: usize) -> u8 {
        let counter = match variant.epochs {
            Epochs::AtRedis | Epochs::AtSender => &mut self.redis.clock[s],
            Epochs::PerReplica => &mut self.replicas[r].counter[s],
            Epochs::Restarting => return self.redis.pins[s].map_or(0, |pin| pin.epoch) + 1,
        };
        *counter += 1;
        *counter
    }

    /// Claims (`from` is none: SET NX GET) or repins (compare-and-set), and says what stands.
    pub(crate) fn change(
        &mut self,
        variant: &Variant<N, S>,
        s: usize,
        r: usize,
        from: Option<u8>,
        pin: Pin,
    ) -> Option<Pin> {
        let stands = self.redis.pins[s];
        let expected = stands.map(|stands| stands.epoch) == from;
        let forced = match from {
            None => variant.mistake == Mistake::ClaimOverwrites,
            Some(_) => variant.mistake == Mistake::BlindRepin,
        };
        if !expected && !forced {
            return stands;
        }
        self.redis.pins[s] = Some(pin);
        self.history[s].made |= 1 << (2 * pin.epoch + pin.model);
        self.redis.marks[s] = variant.marks.then_some(stands);
        if expected && let Some(from) = from.filter(|_| !variant.marks) {
            self.end(s, from);
        }
        self.invalidate(variant, s, r);
        Some(pin)
    }

    /// Removes the pin if it is still of this epoch.
    pub(crate) fn release(&mut self, variant: &Variant<N, S>, s: usize, r: usize, epoch: u8) {
        if self.redis.pins[s].is_some_and(|pin| pin.epoch == epoch) {
            self.redis.pins[s] = None;
            self.redis.marks[s] = None;
            self.end(s, epoch);
            self.invalidate(variant, s, r);
        }
    }

    /// The standby has `pin`: the mark goes, and what it replaced has come to its end.
    pub(crate) fn confirm(&mut self, s: usize, pin: Pin) {
        if self.redis.pins[s] == Some(pin)
            && let Some(Some(before)) = self.redis.marks[s].take()
        {
            self.end(s, before.epoch);
        }
    }

    /// The standby did not have `pin` in time: what was before it stands again, unless somebody has
    /// confirmed it.
    pub(crate) fn undo(&mut self, variant: &Variant<N, S>, s: usize, r: usize, pin: Pin) {
        let marked = self.redis.marks[s].is_some() || variant.mistake == Mistake::BlindUndo;
        if self.redis.pins[s] == Some(pin) && marked {
            self.redis.pins[s] = self.redis.marks[s].take().flatten();
            self.invalidate(variant, s, r);
        }
    }

    /// Pins up to `epoch` have come to an end that the session may notice.
    pub(crate) fn end(&mut self, s: usize, epoch: u8) {
        self.history[s].ended = self.history[s].ended.max(epoch);
        self.history[s].kept = None;
    }

    /// Tells every replica that tracks, except the one that made the change.
    fn invalidate(&mut self, variant: &Variant<N, S>, s: usize, writer: usize) {
        if !variant.near_copies || variant.mistake == Mistake::Deaf {
            return;
        }
        for (r, replica) in self.replicas.iter_mut().enumerate() {
            replica.pending[s] |= r != writer && replica.link == Link::Up;
        }
    }
}
