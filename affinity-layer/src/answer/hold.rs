//! What a piece of an answer waits for before it is passed on.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::link::Link;
use crate::telemetry::Call;
use crate::{AffinityKey, AffinityStore, PinnedModel};

/// The longest that a piece waits for the store.
const LONGEST_HOLD: Duration = Duration::from_millis(50);

/// The longest that a release may continue while the answer goes on.
const LONGEST_RELEASE: Duration = Duration::from_secs(1);

/// The wait of one piece, which is bounded.
pub(super) type Hold = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A wait for both.
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
/// that the release does not depend on its waiter.
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

/// Stores that the response `id` belongs to the session of `model`.
pub(super) fn link(model: &PinnedModel, id: &str) -> Option<Hold> {
    let session = model.key.clone()?;
    let response = AffinityKey::of_response(id)?.with_scope_of(&session);
    let link = Link::to(session).to_stored()?;
    let (store, lifetime) = (model.store.clone(), Link::lifetime(&model.expiry));
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
