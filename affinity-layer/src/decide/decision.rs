//! What a call gets, and what it does with it: use the target, report how that went, end the session.

use std::fmt;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

use super::TargetName;
use super::rules::Accepts;
use crate::in_use::KeptInUse;
use crate::{AffinityKey, Epoch, Outcome, PinnedModel, RouteName, Selection, StoreError};

/// The target of one call. While it is held, the pin of its session does not expire.
///
/// Hold it until the work is done, however long that takes: until the last message of a stream, until the
/// job is acknowledged. Report a failure with [`failed`](Self::failed), and the end of the work with
/// [`served`](Self::served). A decision that is dropped without either leaves the session as it is.
///
/// ```
/// use std::time::Duration;
///
/// use affinity_layer::{Affinity, AffinityKey, BoxError, Expiry, MemoryStore, RouteDecision, TargetName};
/// use tokio::time::sleep;
/// use tokio_stream::{Stream, StreamExt, iter};
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// /// A bidirectional stream, such as one of gRPC: its messages go to one backend, and so does the stream
/// /// that the client opens next under the same session.
/// async fn relay(backend: &TargetName, mut messages: impl Stream<Item = u8> + Unpin) -> usize {
///     let mut relayed = 0;
///     while let Some(_message) = messages.next().await {
///         sleep(Duration::from_secs(60)).await;
///         relayed += 1;
///     }
///     println!("{relayed} messages to {backend}");
///     relayed
/// }
///
/// // The question of this router is the name of the method.
/// let router = service_fn(|_method: &'static str| async move {
///     Ok::<_, BoxError>(RouteDecision::new([TargetName::new("backend-1")?]))
/// });
/// let affinity = Affinity::new(MemoryStore::default(), router)
///     .expiry(Expiry::sliding(Duration::from_secs(10), Duration::from_secs(3600)));
///
/// let session = AffinityKey::new("session-7")?;
/// let decision = affinity.decide(&session, "/chat.Chat/Talk").await?;
/// // It is silent for much longer than the idle time of the pin.
/// relay(decision.target(), iter([1, 2, 3])).await;
/// drop(decision);
/// assert!(affinity.decide(&session, "/chat.Chat/Talk").await?.is_pinned());
/// # Ok(())
/// # }
/// ```
#[must_use = "the pin may expire when it is dropped before the work is done"]
pub struct Decision {
    /// What the session has.
    given: PinnedModel,
    /// The candidate whose turn it is.
    serving: PinnedModel,
    failed: Vec<TargetName>,
    /// No candidate is left.
    is_over: bool,
    accepts: Option<Arc<Accepts>>,
    /// When every replica knows the pin.
    known: Option<Instant>,
    _in_use: Option<KeptInUse>,
}

impl Decision {
    pub(super) fn new(
        given: PinnedModel,
        accepts: Option<Arc<Accepts>>,
        known: Option<Instant>,
    ) -> Self {
        let in_use = KeptInUse::begin(&given);
        let (serving, failed) = (given.clone(), Vec::new());
        Self { given, serving, failed, is_over: false, accepts, known, _in_use: in_use }
    }

    /// The target to use now.
    #[must_use]
    pub fn target(&self) -> &TargetName {
        self.serving.model()
    }

    /// The target, the candidates as the router ranked them, and the route that matched.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.serving.selection
    }

    /// The route that matched, if one did.
    #[must_use]
    pub fn route(&self) -> Option<&RouteName> {
        self.serving.route()
    }

    /// How the target was found.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.serving.outcome()
    }

    /// Whether the target is that of a pin which stood before this call asked.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.serving.is_pinned()
    }

    /// The key of the session.
    #[must_use]
    pub fn key(&self) -> Option<&AffinityKey> {
        self.given.key()
    }

    /// The epoch of the session's pin; `None` if there is none behind this call.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.given.epoch()
    }

    /// Notes that the target has failed. With `true` the next candidate is the [target](Self::target) now;
    /// the session moves to it only when it has [served](Self::served).
    ///
    /// With `false` none is left, and the outcome is [`Failed`](Outcome::Failed): a pin that stood stays, and
    /// one that this call made is withdrawn, within twice the store budget. Whether the work may be done
    /// again elsewhere is for the caller to know.
    pub async fn failed(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        self.failed.push(self.target().clone());
        let next = self.given.candidates().iter().find(|candidate| {
            !self.failed.contains(candidate)
                && self.accepts.as_ref().is_none_or(|accepts| accepts(candidate))
        });
        if let Some(next) = next {
            tracing::info!(failed = %self.target(), %next, "failing over");
            self.serving = self.given.detour(next.clone());
            return true;
        }
        self.is_over = true;
        self.given.undo().await;
        if self.key().is_some() {
            self.serving.outcome = Outcome::Failed;
            self.serving.pinned = false;
            self.given.epoch = None;
        }
        false
    }

    /// Notes that the target has served, and returns how the session stands. If it is another one than the
    /// session's, the session moves to it, unless another call was first.
    ///
    /// It takes at most twice the store budget. Over a store with near copies it also waits until the other
    /// replicas know of a new pin, so that whoever is told next finds the same pin everywhere.
    pub async fn served(&mut self) -> Outcome {
        if self.target() != self.given.model() && !self.is_over {
            let moved = self.given.moved_to(self.serving.clone(), None).await;
            (self.given, self.serving) = (moved.clone(), moved);
        }
        if let Some(known) = self.known.take() {
            sleep_until(known).await;
        }
        self.outcome()
    }

    /// Ends the session's pin if it is still the one that this call knows; says whether it did. The next call
    /// of the session is routed again. It has no time limit of its own.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store fails; the pin then stays until it expires.
    pub async fn release(self) -> Result<bool, StoreError> {
        self.given.release().await
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("target", self.target())
            .field("outcome", &self.outcome())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}
