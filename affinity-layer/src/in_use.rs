//! A pin that is in use for as long as its answer runs.
//!
//! A model may think for longer than the idle time of a pin, before its first byte or between two of
//! them, and nobody else uses the session meanwhile. So whoever waits for the answer also waits for a
//! timer. There is no task of its own that could outlive the answer: when the process dies, the pin
//! ends with its idle time. Only where the library does not see the waiting, at a
//! [`Decision`](crate::Decision), is there a task, which ends with it.
//!
//! 1. When its answer begins, and while the head or a piece is awaited, the pin is
//!    [renewed](AffinityStore::renew) whenever a quarter of the idle time has passed since the last
//!    time. Two renewals in a row may fail without loss of the pin. Answers of one session share them.
//! 2. The end of the last answer of a session is a use as well, so that the idle time runs from there,
//!    and only then does the maximum age of the pin take effect.
//! 3. A store that cannot note this without waiting is read in the background instead, which counts as
//!    a use, for 1 s at most; the answer never waits.
//!
//! An idle time that outlasts every answer would do without all this, but it would keep the pins of dead
//! sessions as long. A probe is no use of its pin.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::observed::ObservedPin;
use crate::store::{AnswerState, RunningAnswer, SharedStore};
use crate::telemetry::Call;
use crate::{AffinityKey, AffinityStore, Expiry, PinRead, PinnedModel};

/// The longest that one renewal may take.
const LONGEST_RENEWAL: Duration = Duration::from_secs(1);

/// The shortest time between two renewals, whatever the idle time: a pin that idles out in 4 ms must not
/// make each answer call the store a thousand times a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Keeps a sliding pin from expiring. The end is a use too, however it comes.
#[derive(Debug)]
pub(crate) struct InUse {
    answer: RunningAnswer,
    store: SharedStore,
    expiry: Expiry,
    /// The time from one renewal to the next.
    pause: Duration,
    /// Made when something is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl InUse {
    /// `None` for a request without a pin, and for a pin whose lifetime no use changes.
    pub(crate) fn begin(model: &PinnedModel) -> Option<Self> {
        model.epoch?;
        Self::of(model.key.as_ref()?, &model.store, model.expiry)
    }

    /// The same for the claim of an observed session, which may still be made.
    pub(crate) fn observed(pin: &ObservedPin) -> Option<Self> {
        Self::of(pin.key(), pin.store(), *pin.expiry())
    }

    fn of(key: &AffinityKey, store: &SharedStore, expiry: Expiry) -> Option<Self> {
        let (idle, _) = expiry.limits()?;
        let answer = store.running().enter(key.clone(), || {
            store.renew(key, &expiry, AnswerState::Running);
        });
        let store = store.clone();
        let pause = (idle / 4).max(SHORTEST_PAUSE);
        Some(Self { answer, store, expiry, pause, timer: None })
    }

    /// To be called whenever the answer lets one wait; it wakes the task of `cx` in time.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) {
        let first = || Box::pin(sleep_until(Instant::now() + self.pause));
        let timer = self.timer.get_or_insert_with(first);
        while timer.as_mut().poll(cx).is_ready() {
            let next = self.answer.take_turn(self.pause);
            if next.is_none() {
                let (store, key) = (&self.store, self.answer.key());
                if !store.renew(key, &self.expiry, AnswerState::Running) {
                    use_now(store, key, self.expiry);
                }
            }
            timer.as_mut().reset(next.unwrap_or_else(|| Instant::now() + self.pause));
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let is_due = self.answer.take_turn(self.pause).is_none();
        self.store.running().leave(&mut self.answer, |key| {
            if !self.store.renew(key, &self.expiry, AnswerState::Ended) && is_due {
                use_now(&self.store, key, self.expiry);
            }
        });
    }
}

/// Uses a pin: at hand if the store can, else in the background.
fn use_now(store: &SharedStore, key: &AffinityKey, expiry: Expiry) {
    if store.peek(key, &expiry).is_some() {
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

/// A pin in use by somebody who waits for no answer here: a task renews it until this is dropped.
#[derive(Debug)]
pub(crate) struct KeptInUse(AbortHandle);

impl KeptInUse {
    /// `None` as with [`InUse::begin`], and outside of a runtime.
    pub(crate) fn begin(model: &PinnedModel) -> Option<Self> {
        let runtime = Handle::try_current().ok()?;
        let mut in_use = InUse::begin(model)?;
        let renewing = poll_fn(move |cx| {
            in_use.wait(cx);
            Poll::<()>::Pending
        });
        Some(Self(runtime.spawn(renewing).abort_handle()))
    }
}

impl Drop for KeptInUse {
    fn drop(&mut self) {
        self.0.abort();
    }
}
