//! What a piece of an answer waits for before it is passed on.
//!
//! Three things must be known to the store before the client can act on them:
//!
//! | the piece holds | it waits for | else the next turn |
//! |---|---|---|
//! | the end of a task | the [release] of the pin, until every replica knows | gets the old pin |
//! | the id of a response | the [link](link()) to its session | begins a new conversation |
//! | the id of what its provider holds | the [note](Noting) of its model | does not find its provider |
//!
//! A store that stalls delays such a piece by 50 ms: a late release or a missing link costs a routing
//! decision, and a stream that stands still costs the client's patience. A release then continues for up
//! to 1 s in a task of its own, because the pin is to go whoever waits for it. A link does not: it is
//! given up, and so it is when the client hangs up, who then never gets the id.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::holders::Holders;
use super::link::Link;
use crate::key::Scope;
use crate::observed::ObservedPin;
use crate::store::SharedStore;
use crate::telemetry::Call;
use crate::{AffinityKey, AffinityStore, Expiry, ModelName, PinnedModel};

/// The longest that a piece waits for the store. It is less than a person notices, and more than a store
/// that works takes.
pub(super) const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// The longest that a release may continue while the answer goes on.
const LONGEST_RELEASE: Duration = Duration::from_secs(1);

/// The wait of one piece, which is bounded. It has no result: whether the store has done it or not, the
/// piece goes on.
pub(super) type Hold = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A wait for both at the same time, so that it is no longer than the longer of them.
pub(super) fn both(one: Option<Hold>, other: Option<Hold>) -> Option<Hold> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let mut holds = [Some(one), Some(other)];
            Some(Box::pin(poll_fn(move |cx| {
                for hold in &mut holds {
                    if hold.as_mut().is_some_and(|hold| hold.as_mut().poll(cx).is_ready()) {
                        *hold = None;
                    }
                }
                if holds.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
            })))
        }
        (one, other) => one.or(other),
    }
}

/// Releases the pin of `model`: at once if the store needs no waiting, else in a task of its own, so
/// that the release does not depend on its waiter. `None` if nothing is left to wait for.
///
/// It is called when a body is dropped too, where nobody can wait. Outside of a runtime there is no task
/// to continue in, and the pin stays until it expires.
pub(super) fn release(model: PinnedModel) -> Option<Hold> {
    let mut releasing = Box::pin(release_until_known(model));
    if releasing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
        return None;
    }
    let task = Handle::try_current().ok()?.spawn(async {
        let _ = timeout(LONGEST_RELEASE, releasing).await;
    });
    Some(Box::pin(async {
        let _ = timeout(LONGEST_HOLD, task).await;
    }))
}

/// A release, and then the time after which no replica serves the pin from a near copy any more.
async fn release_until_known(model: PinnedModel) {
    match model.release().await {
        // A client that has the whole answer may ask another replica next.
        Ok(true) => match model.store.coherence() {
            Duration::ZERO => {}
            coherence => sleep(coherence).await,
        },
        Ok(false) => {}
        Err(error) => {
            tracing::debug!(%error, "a pin could not be released at the end of its answer");
        }
    }
}

/// The session that a response's id is to lead back to.
pub(super) struct Linked {
    pub(super) session: AffinityKey,
    pub(super) store: SharedStore,
    pub(super) expiry: Expiry,
}

impl Linked {
    /// The session of `model`, if it has one.
    pub(super) fn to(model: &PinnedModel) -> Option<Self> {
        let session = model.key.clone()?;
        Some(Self { session, store: model.store.clone(), expiry: model.expiry })
    }

    /// A session that is observed.
    pub(super) fn observed(pin: &ObservedPin) -> Self {
        let session = pin.session().clone();
        Self { session, store: pin.store().clone(), expiry: *pin.expiry() }
    }
}

/// Does what nobody waits for.
pub(super) fn unheld(hold: Option<Hold>) {
    let Some(mut hold) = hold else { return };
    if hold.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(hold);
    }
}

/// Stores that the response `id` belongs to a session. `None` if the id cannot be part of a key.
///
/// An id that is stored already keeps its first session: a claim never overwrites.
pub(super) fn link(linked: Linked, id: &str) -> Option<Hold> {
    let Linked { session, store, expiry } = linked;
    let response = AffinityKey::of_response(id)?.with_scope_of(&session);
    let link = Link::to(session).to_stored()?;
    let lifetime = Link::lifetime(&expiry);
    Some(Box::pin(async move {
        let call = Call::store("claim");
        let claimed = timeout(LONGEST_HOLD, store.claim(&response, link, &lifetime)).await;
        let Ok(claimed) = claimed else {
            tracing::debug!("the link of a response was not stored in time");
            return;
        };
        call.answered(&claimed, |claim| if claim.won { "won" } else { "lost" });
        if let Err(error) = claimed {
            tracing::debug!(%error, "the link of a response could not be stored");
        }
    }))
}

/// What an answer leaves behind at its provider, and where that is noted.
pub(super) struct Noting {
    pub(super) holders: Holders,
    /// The tenant of the request.
    pub(super) scope: Option<Scope>,
    /// The model that serves.
    pub(super) model: ModelName,
    /// The id of the response itself is still to be noted.
    pub(super) response: bool,
}

impl Noting {
    /// Notes `ids`. `None` if there are none.
    pub(super) fn note(&self, ids: Vec<String>) -> Option<Hold> {
        let Self { holders, scope, model, .. } = self;
        let noted = ids.into_iter().map(|id| {
            let (holders, scope, model) = (holders.clone(), scope.clone(), model.clone());
            let hold: Hold = Box::pin(async move {
                let note = holders.note(scope.as_ref(), &id, &model);
                match timeout(LONGEST_HOLD, note).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "a holder could not be noted"),
                    Err(_) => tracing::debug!("a holder was not noted in time"),
                }
            });
            Some(hold)
        });
        noted.fold(None, both)
    }
}
