//! What is left to do when the inner service has answered a request whose pin was not at hand.

use std::time::Duration;

use http::Response;
use tokio::time::{Instant, sleep_until};

use super::budget::Budget;
use super::future::apply;
use crate::PinnedModel;
use crate::answer::ReleasedAtEnd;
use crate::outcome::Stamp;

pub(super) struct Epilogue {
    /// The headers of the response.
    pub(super) stamp: Stamp,
    /// The model of a final request.
    pub(super) to_release: Option<PinnedModel>,
    pub(super) store_budget: Duration,
    /// When every replica knows the pin that the response reports.
    pub(super) known: Option<Instant>,
}

impl Epilogue {
    pub(super) async fn finish<B>(self, mut response: Response<B>) -> Response<B> {
        if let Some(known) = self.known {
            sleep_until(known).await;
        }
        apply(&self.stamp, &mut response);
        // With an `AnswerLayer` below, the response ends with its body; without, with its head.
        if response.extensions_mut().remove::<ReleasedAtEnd>().is_none()
            && let Some(model) = self.to_release
            // The response is there: a store that stalls must not hold it back.
            && let Err(error) =
                Box::pin(Budget::new(self.store_budget).write(model.release())).await
        {
            tracing::debug!(%error, "the pin of a final request could not be released");
        }
        response
    }
}
