//! What Redis has to hear of the use of pins, and when: never on the path of a request.
//!
//! 1. **At once** ([`soon`](Renewals::soon)): a pin that has used up a quarter of its idle time.
//! 2. **A quarter of the idle time later** ([`later`](Renewals::later)): the end of an answer. Turns
//!    that follow each other within that time cost one renewal together, and a pin still ends its idle
//!    time after its last use, because a renewal counts from the use and not from when it is sent.
//! 3. **One at a time for each pin.** A use that comes while its renewal waits or is under way adds
//!    none; an answer that begins or ends takes the place of what waits, and a change that is reported
//!    while the pin is read has it read again.
//!
//! Both are bounded, and what is beyond the bound is left out: the pin then ends up to a quarter of
//! its idle time early, or is renewed by the next use. A session that is not used has no entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Expiry;
use crate::store::AnswerState;
use crate::store::memory::Digest;

/// The most pins that wait to be renewed at once, and the most that wait for later.
const MOST: usize = 65_536;

/// How many renewals are under way at a time: they must not take the place of requests' calls.
const AT_ONCE: usize = 32;

/// How long after a failure a use alone renews nothing.
const QUIET: Duration = Duration::from_millis(250);

/// The least time between two looks for what is due.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// What to tell Redis about one pin.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    /// The name of the pin.
    pub(crate) name: String,
    /// The name under which it may still lie, while a secret is exchanged.
    pub(crate) previous: Option<String>,
    /// Where its near copy is, if there may be one.
    pub(in crate::store) copy: Option<Digest>,
    pub(crate) cause: Cause,
}

/// Why the pin is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// It is in use.
    Used {
        expiry: Expiry,
        /// When it was claimed, if that is known without a read.
        claimed_at: Option<SystemTime>,
        /// When it was used.
        at: Instant,
        /// The answer that runs or has ended; `None` for a use alone.
        answer: Option<AnswerState>,
    },
    /// Its copy, which was in use here, is not valid any more. The pin is only read.
    Changed,
}

impl Renewal {
    /// Whether it says more than that the pin is used.
    fn is_of_answer(&self) -> bool {
        matches!(self.cause, Cause::Used { answer: Some(_), .. })
    }
}

/// Renewals that wait.
#[derive(Debug)]
pub(crate) struct Renewals {
    /// Those that wait to be sent; without a value, those that are under way.
    waiting: DashMap<String, Option<Renewal>>,
    names: mpsc::Sender<String>,
    later: Mutex<HashMap<String, (Instant, Renewal)>>,
    /// Notified when `later` is not empty any more.
    has_later: Notify,
    /// When the last renewal failed.
    failed: Mutex<Option<Instant>>,
}

impl Renewals {
    /// And what [`work`](Self::work) takes.
    pub(crate) fn new() -> (Arc<Self>, mpsc::Receiver<String>) {
        let (names, queue) = mpsc::channel(MOST);
        let (waiting, later, has_later, failed) = Default::default();
        (Arc::new(Self { waiting, names, later, has_later, failed }), queue)
    }

    /// Renews a pin as soon as possible. A use alone is let pass for a moment after a failure: the next
    /// one says the same, and there may be one for each turn.
    pub(crate) fn soon(&self, renewal: Renewal) {
        if !renewal.is_of_answer() && self.has_failed() {
            return;
        }
        self.later_ones().remove(&renewal.name);
        match self.waiting.entry(renewal.name.clone()) {
            Entry::Occupied(mut entry) => {
                // What changes while a read is under way may not be in its answer.
                let is_news = matches!(renewal.cause, Cause::Changed) && entry.get().is_none();
                if is_news || renewal.is_of_answer() {
                    entry.insert(Some(renewal));
                }
            }
            Entry::Vacant(entry) => {
                if self.names.try_send(renewal.name.clone()).is_ok() {
                    entry.insert(Some(renewal));
                }
            }
        }
    }

    /// A renewal has failed.
    pub(crate) fn failed(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn has_failed(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < QUIET)
    }

    /// Renews a pin after `pause`, unless it is renewed before.
    pub(crate) fn later(&self, renewal: Renewal, pause: Duration) {
        let mut later = self.later_ones();
        if later.len() >= MOST && !later.contains_key(&renewal.name) {
            return;
        }
        if later.is_empty() {
            self.has_later.notify_one();
        }
        later.insert(renewal.name.clone(), (Instant::now() + pause, renewal));
    }

    /// Sends what waits by `send`, for as long as it is polled.
    pub(crate) async fn work<F>(
        self: Arc<Self>,
        mut queue: mpsc::Receiver<String>,
        send: impl Fn(Renewal) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (places, mut under_way) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        let mut look_at = None;
        loop {
            let look = async {
                match look_at {
                    Some(at) => sleep_until(at).await,
                    None => self.has_later.notified().await,
                }
            };
            tokio::select! {
                () = look => look_at = self.bring_forward(),
                name = queue.recv() => {
                    let Some(name) = name else { return };
                    let Ok(place) = places.clone().acquire_owned().await else { return };
                    let renewal = self.waiting.get_mut(&name).and_then(|mut entry| entry.take());
                    let Some(renewal) = renewal else { continue };
                    let (waiting, sent) = (self.clone(), send(renewal));
                    under_way.spawn(async move {
                        sent.await;
                        drop(place);
                        waiting.sent(&name);
                    });
                }
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    /// A renewal has been sent. What came meanwhile is next.
    fn sent(&self, name: &str) {
        let next = self.waiting.remove(name).and_then(|(_, next)| next);
        if let Some(next) = next {
            self.soon(next);
        }
    }

    /// Queues what is due, and returns when to look again; `None` if nothing is left.
    fn bring_forward(&self) -> Option<Instant> {
        let now = Instant::now();
        let (due, next) = {
            let mut later = self.later_ones();
            let all = std::mem::take(&mut *later).into_iter();
            let (due, left): (HashMap<_, _>, _) = all.partition(|(_, (at, _))| *at <= now);
            *later = left;
            (due, later.values().map(|(at, _)| *at).min())
        };
        for (_, (_, renewal)) in due {
            self.soon(renewal);
        }
        // A look goes over all of them, so there are few looks.
        next.map(|next| next.max(now + LEAST_PAUSE.max(next.duration_since(now) / 8)))
    }

    fn later_ones(&self) -> MutexGuard<'_, HashMap<String, (Instant, Renewal)>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
