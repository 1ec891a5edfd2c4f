//! A pin that is in use for as long as its answer runs.
//!
//! A model may think for longer than the idle time of a pin, before its first byte or between two of
//! them, and nobody else uses the session meanwhile. So whoever waits for the answer also waits for a
//! timer. There is no task of its own that could outlive the answer: when the process dies, the pin
//! ends with its idle time.
//!
//! 1. While the head or a piece is awaited, the pin is used whenever a quarter of the idle time has
//!    passed since the last use. Two uses in a row may fail without loss of the pin.
//! 2. A store that has the pin at hand notes the use at once, without waiting. Else it is read in the
//!    background, which counts as a use, for 1 s at most; the answer never waits.
//! 3. The end of the answer is a use as well, so that the idle time runs from there; in the background
//!    only if a quarter of it has passed since the last use.
//! 4. The maximum age of the pin counts meanwhile, and no use prolongs that.
//!
//! An idle time that outlasts every answer would do without all this, but it would keep the pins of dead
//! sessions as long. A probe uses its pin when it arrives and does not keep it in use.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::store::SharedStore;
use crate::telemetry::Call;
use crate::{AffinityKey, AffinityStore, Expiry, PinRead, PinnedModel};

/// The longest that one renewal may take.
const LONGEST_RENEWAL: Duration = Duration::from_secs(1);

/// The shortest time between two renewals, whatever the idle time: a pin that idles out in 4 ms must not
/// make each answer call the store a thousand times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Keeps a sliding pin from expiring. A use that the store has to hear of goes there in the
/// background, once in a quarter of the idle time. The end is a use too, however it comes.
#[derive(Debug)]
pub(super) struct InUse {
    key: AffinityKey,
    store: SharedStore,
    expiry: Expiry,
    /// The time from one use to the next.
    pause: Duration,
    /// When the pin was last used or the last try was made; at first, when the request passed.
    last: Instant,
    /// Made when something is waited for; most answers of a model are there sooner.
    timer: Option<Pin<Box<Sleep>>>,
}

impl InUse {
    /// `None` for a request without a pin, and for a pin whose lifetime no use changes.
    pub(super) fn begin(model: &PinnedModel) -> Option<Self> {
        let (idle, _) = model.expiry.limits()?;
        model.epoch?;
        Some(Self {
            key: model.key.clone()?,
            store: model.store.clone(),
            expiry: model.expiry,
            pause: (idle / 4).max(SHORTEST_PAUSE),
            last: Instant::now(),
            timer: None,
        })
    }

    /// To be called whenever the answer lets one wait; it wakes the task of `cx` in time.
    pub(super) fn wait(&mut self, cx: &mut Context<'_>) {
        let next = self.last + self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
        while timer.as_mut().poll(cx).is_ready() {
            use_now(&self.store, &self.key, self.expiry, true);
            self.last = Instant::now();
            timer.as_mut().reset(self.last + self.pause);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let is_due = self.last.elapsed() >= self.pause;
        use_now(&self.store, &self.key, self.expiry, is_due);
    }
}

/// Uses a pin: at hand if the store can, else in the background, if that `is_due`.
fn use_now(store: &SharedStore, key: &AffinityKey, expiry: Expiry, is_due: bool) {
    if store.peek(key, &expiry).is_some() || !is_due {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    let (store, key) = (store.clone(), key.clone());
    runtime.spawn(async move {
        let call = Call::store("renew");
        let Ok(read) = timeout(LONGEST_RENEWAL, store.get(&key, &expiry)).await else {
            return;
        };
        call.answered(&read, |read| match read {
            PinRead::Pinned(_) => "found",
            PinRead::Absent | PinRead::Decided { .. } => "absent",
        });
        if let Err(error) = read {
            tracing::debug!(%error, "a pin could not be renewed while its answer runs");
        }
    });
}
