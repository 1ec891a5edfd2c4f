//! What is left to do when the inner service has answered a request whose pin was not at hand.
//!
//! A hit needs only its headers. Any other request may have just changed a pin, or be the last one of its
//! session, so before its response goes out:
//!
//! 1. It waits until other replicas know the pin that it reports. The client would otherwise learn of a
//!    new model here and find the previous one on the replica that it asks next. The wait is counted from
//!    the decision, so a model that takes longer than that to answer costs nothing.
//! 2. It gets its headers.
//! 3. The pin of a request with `x-plano-affinity: final` is released, unless an
//!    [`AnswerLayer`](crate::AnswerLayer) below has taken that over for the end of the body.
//!
//! If the inner service fails, none of this happens: there is no response, and the pin stays for the
//! client's next attempt.

use std::time::Duration;

use http::Response;
use tokio::time::{Instant, sleep_until};

use super::future::apply;
use crate::PinnedModel;
use crate::answer::ReleasedAtEnd;
use crate::decide::Budget;
use crate::ext::ObservedPin;
use crate::outcome::Stamp;

/// What `Arrival::decide` knows and only the response can use.
pub(super) struct Epilogue {
    /// The headers of the response.
    pub(super) stamp: Stamp,
    /// The model of a final request.
    pub(super) to_release: Option<PinnedModel>,
    /// The claim of an observed session, whose last request this is.
    pub(super) observed: Option<ObservedPin>,
    /// The time for the release. It is a budget of its own: the response is complete, and the one of the
    /// request may be used up.
    pub(super) store_budget: Duration,
    /// When every replica knows the pin that the response reports.
    pub(super) known: Option<Instant>,
}

impl Epilogue {
    /// Completes `response`. A release that fails is not an error: the pin then ends by its expiry.
    pub(super) async fn finish<B>(self, mut response: Response<B>) -> Response<B> {
        if let Some(known) = self.known {
            sleep_until(known).await;
        }
        apply(&self.stamp, &mut response);
        // With an `AnswerLayer` below, the response ends with its body; without, with its head.
        let is_released = response.extensions_mut().remove::<ReleasedAtEnd>().is_some();
        if let Some(observed) = self.observed.filter(|_| !is_released) {
            observed.release();
        }
        if let Some(model) = self.to_release.filter(|_| !is_released) {
            // The response is there: a store that stalls must not hold it back.
            let mut budget = Budget::new(self.store_budget);
            if let Err(error) = Box::pin(budget.write(model.release())).await {
                tracing::debug!(%error, "the pin of a final request could not be released");
            }
        }
        response
    }
}
