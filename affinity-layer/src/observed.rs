//! A session that is observed: what its pin would have done, known beside the request and not before it.
//!
//! The affinity layer puts an [`ObservedPin`] into the extensions of each request of such a session and goes
//! on. The claim behind it is made meanwhile: at once if the store needs no waiting, else in a task. What
//! comes later, such as the end of the answer, waits for the claim in a task as well, so that nothing of it is
//! on the request's way. At most [`MOST_TASKS`] of these tasks are under way in one layer. What would be one
//! too many is dropped and counted as unknown: a store that stalls must not make requests pile up behind it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::store::SharedStore;
use crate::{AffinityKey, AffinityStore, Expiry, ModelName, Outcome, Pin, RouteName};

/// Tasks for observed sessions that may be under way in one layer.
const MOST_TASKS: usize = 256;

/// In the extensions of a request whose session is [observed](crate::mode::Mode::Observe): what a pin would
/// have done. Clones are of one request.
///
/// ```
/// use affinity_layer::ext::ObservedPin;
/// use http::Extensions;
///
/// /// Whether a pin would have kept the request from the model that it goes to.
/// fn would_differ(request: &Extensions, model: &str) -> Option<bool> {
///     let turn = request.get::<ObservedPin>()?.turn()?;
///     Some(turn.model().as_str() != model)
/// }
/// # assert_eq!(would_differ(&Extensions::new(), "a/b"), None);
/// ```
#[derive(Clone)]
pub struct ObservedPin(Arc<Observed>);

struct Observed {
    session: AffinityKey,
    /// The key of the claim.
    key: AffinityKey,
    /// Whether the client ends its session with this request.
    is_final: bool,
    /// Whether the response's id is to lead back to the session.
    links: bool,
    store: SharedStore,
    expiry: Expiry,
    /// For each thing that is done later.
    store_budget: Duration,
    tasks: ObservingTasks,
    turn: watch::Sender<Known>,
}

/// What is known of a turn.
#[derive(Clone)]
enum Known {
    /// Nothing yet.
    Pending,
    /// `None` if it will not be known.
    Settled(Option<ObservedTurn>),
}

/// The tasks of one layer.
#[derive(Clone)]
pub(crate) struct ObservingTasks(Arc<Semaphore>);

impl Default for ObservingTasks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_TASKS)))
    }
}

impl ObservingTasks {
    /// Does `work` now as far as it does not wait, and the rest in a task. Without a place or a runtime it is
    /// dropped.
    fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return;
        }
        let (Ok(place), Ok(runtime)) = (self.0.clone().try_acquire_owned(), Handle::try_current())
        else {
            return;
        };
        runtime.spawn(async move {
            work.await;
            drop(place);
        });
    }
}

/// What a pin would have done for one request.
#[derive(Clone, Debug)]
pub struct ObservedTurn {
    pin: Pin,
    outcome: Outcome,
}

impl ObservedTurn {
    pub(crate) fn new(pin: Pin, outcome: Outcome) -> Self {
        Self { pin, outcome }
    }

    /// The model that the session would have had.
    #[must_use]
    pub fn model(&self) -> &ModelName {
        self.pin.selection.model()
    }

    /// The route by which the session would have been pinned, if one matched.
    #[must_use]
    pub fn route(&self) -> Option<&RouteName> {
        self.pin.selection.route()
    }

    /// What the response would have said in `x-plano-affinity`: `claimed`, `hit`, `joined`, `refreshed` or
    /// `repinned`.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl ObservedPin {
    /// Begins with a request of `session`, whose claim is made by `settle`.
    pub(crate) fn new(
        session: AffinityKey,
        (is_final, links): (bool, bool),
        (store, expiry, store_budget): (SharedStore, Expiry, Duration),
        tasks: ObservingTasks,
    ) -> Self {
        let (key, turn) = (session.clone().observed(), watch::Sender::new(Known::Pending));
        let observed =
            Observed { session, key, is_final, links, store, expiry, store_budget, tasks, turn };
        Self(Arc::new(observed))
    }

    /// Makes the claim: `turn` says what it comes to, `None` if the store does not tell.
    pub(crate) fn settle(&self, turn: impl Future<Output = Option<ObservedTurn>> + Send + 'static) {
        let settling = Settling { pin: self.clone(), turn: None };
        self.0.tasks.run(async move {
            let mut settling = settling;
            settling.turn = turn.await;
        });
    }

    /// The session's own key, which is not that of the claim.
    #[must_use]
    pub fn session(&self) -> &AffinityKey {
        &self.0.session
    }

    /// What a pin would have done; `None` while the store has not told, and if it fails.
    ///
    /// Over a store in memory it is known at once, over others soon after: ask when the answer is there.
    #[must_use]
    pub fn turn(&self) -> Option<ObservedTurn> {
        match &*self.0.turn.borrow() {
            Known::Settled(turn) => turn.clone(),
            Known::Pending => None,
        }
    }

    pub(crate) fn key(&self) -> &AffinityKey {
        &self.0.key
    }

    pub(crate) fn store(&self) -> &SharedStore {
        &self.0.store
    }

    pub(crate) fn expiry(&self) -> &Expiry {
        &self.0.expiry
    }

    pub(crate) fn is_final(&self) -> bool {
        self.0.is_final
    }

    pub(crate) fn links(&self) -> bool {
        self.0.links
    }

    /// Ends the claim, as the end of its task or session ends a pin.
    pub(crate) fn release(&self) {
        let pin = self.clone();
        self.later(async move {
            if let Some(turn) = pin.settled().await {
                let _ = pin.0.store.release(&pin.0.key, Some(turn.pin.epoch)).await;
            }
        });
    }

    /// The request was decided for `decided`, and `served` has answered it. A pin at the first would have
    /// moved.
    pub(crate) fn failed_over(&self, decided: ModelName, served: ModelName) {
        let pin = self.clone();
        self.later(async move {
            if let Some(turn) = pin.settled().await
                && *turn.model() == decided
            {
                let selection = Arc::new(turn.pin.selection.with_model(served));
                let Observed { key, store, expiry, turn: known, .. } = &*pin.0;
                if let Ok(Some(claim)) = store.repin(key, turn.pin.epoch, selection, expiry).await {
                    let turn = ObservedTurn::new(claim.pin, Outcome::Repinned);
                    known.send_replace(Known::Settled(Some(turn)));
                }
            }
        });
    }

    /// Nobody has served the request: a pin that it made would have gone.
    pub(crate) fn failed(&self) {
        let pin = self.clone();
        self.later(async move {
            let made = |turn: &ObservedTurn| turn.outcome == Outcome::Claimed;
            if let Some(turn) = pin.settled().await.filter(made) {
                let _ = pin.0.store.release(&pin.0.key, Some(turn.pin.epoch)).await;
            }
        });
    }

    /// Does `work` on the claim beside the request, within the time for the store.
    fn later(&self, work: impl Future<Output = ()> + Send + 'static) {
        // A claim takes one such time at most, and the work another.
        let limit = self.0.store_budget.saturating_mul(2);
        self.0.tasks.run(async move {
            let _ = timeout(limit, work).await;
        });
    }

    async fn settled(&self) -> Option<ObservedTurn> {
        let mut turn = self.0.turn.subscribe();
        let known = turn.wait_for(|known| matches!(known, Known::Settled(_))).await.ok()?;
        match &*known {
            Known::Settled(turn) => turn.clone(),
            Known::Pending => None,
        }
    }
}

/// Tells what a claim came to when it is dropped, so that nobody waits for one that was given up.
struct Settling {
    pin: ObservedPin,
    turn: Option<ObservedTurn>,
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.pin.0.turn.send_replace(Known::Settled(self.turn.take()));
    }
}

impl fmt::Debug for ObservedPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedPin").field("turn", &self.turn()).finish_non_exhaustive()
    }
}
