//! The attempts of one request: one candidate after another, until one answers.
//!
//! ```text
//! attempt ─▶ answered ─▶ by the request's own model? ─▶ the answer
//!    │                └▶ by another one ─▶ repin ─────▶ the answer, `repinned`
//!    ├─▶ failed, and asks for a second chance ─▶ wait, the same model once more
//!    ├─▶ failed ─▶ the next usable candidate
//!    ╰─▶ failed, and no attempt, time or candidate is left ─▶ the best failure, `failed`
//! ```
//!
//! - The pin moves after an answer and not before: a candidate that fails as well must not get the
//!   session. Until then another candidate gets a [detour](PinnedModel::detour), which cannot move a pin.
//! - Attempts follow one another and are never made at the same time. Two providers that work on one
//!   request cost twice, and a tool that a provider runs would run twice.
//! - A request to be [sent once](SendOnce) ends with the first failure of a candidate that may have begun
//!   to work on it.
//! - A move compares the epoch that the request was served by. When requests of a session fail together,
//!   one of them moves the pin, and the others find it moved.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;
use tower_service::Service;

use super::attempt::{Attempt, Finding};
use super::settings::Settings;
use crate::ext::{Bound, LeftOut, Probe, SendOnce};
use crate::state::StateMark;
use crate::{Outcome, PinnedModel};

/// What is needed to try a request again.
pub(super) struct Attempts {
    /// What the request was given.
    pub(super) model: PinnedModel,
    pub(super) settings: Arc<Settings>,
}

impl Attempts {
    /// Tries until a candidate answers, and settles the session.
    ///
    /// `ready` takes the first attempt, clones of `standby` the others: readiness belongs to one service and
    /// one call, so each clone is waited for anew.
    pub(super) async fn run<S, ReqBody, ResBody>(
        self,
        mut ready: S,
        standby: S,
        request: Request<ReqBody>,
    ) -> Result<Response<ResBody>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
        ReqBody: Clone,
    {
        let (parts, body) = request.into_parts();
        let mut others = self.model.candidates().iter().filter(|model| {
            let own = self.model.model();
            *model != own && self.settings.is_usable(&parts, own, model)
        });
        let first = ready.call(Request::from_parts(parts.clone(), body.clone())).await;
        let mut attempt = Attempt::new(self.model.clone(), true, first);
        // A model may take minutes to fail, which must not be what keeps the next one from trying.
        let (failed_at, mut waited) = (Instant::now(), false);
        let is_once = parts.extensions.get::<SendOnce>().is_some();
        let mut failure = None;
        for _ in 1..self.settings.attempts {
            if attempt.finding == Finding::Answered
                || failed_at.elapsed() >= self.settings.time_limit
                || is_once && !attempt.is_untouched()
            {
                break;
            }
            let candidate = match attempt.wait(self.settings.patience).filter(|_| !waited) {
                Some(wait) => {
                    waited = true;
                    sleep(wait).await;
                    attempt.candidate.clone()
                }
                None => {
                    let Some(other) = others.next() else { break };
                    let failed = attempt.candidate.model();
                    tracing::info!(%failed, next = %other, "failing over");
                    waited = false;
                    self.model.detour(other.clone())
                }
            };
            failure = Some(kept(failure, attempt));
            let mut request = Request::from_parts(parts.clone(), body.clone());
            request.extensions_mut().insert(candidate.clone());
            let is_own = candidate.model() == self.model.model();
            attempt = Attempt::new(candidate, is_own, standby.clone().oneshot(request).await);
        }
        if attempt.finding == Finding::Answered {
            self.answered(attempt, &parts).await
        } else {
            self.gave_up(kept(failure, attempt), &parts).await
        }
    }

    /// Moves the session to the model that answered, if that is another one.
    async fn answered<B, E>(
        &self,
        attempt: Attempt<B, E>,
        request: &Parts,
    ) -> Result<Response<B>, E> {
        let Attempt { candidate, result, .. } = attempt;
        if candidate.model() == self.model.model() {
            return result;
        }
        // A probe uses a pin and never changes one.
        let is_probe = request.extensions.get::<Probe>().is_some();
        let left_out = result.as_ref().ok().and_then(|response| response.extensions().get());
        let foreign = left_out.and_then(|left_out: &LeftOut| left_out.last);
        told(result, if is_probe { candidate } else { self.moved(candidate, foreign).await })
    }

    /// Moves the pin, and returns what the response is to report. A move that is lost or fails takes
    /// nothing from the client: the answer is there, and only its headers say how the session stands.
    async fn moved(&self, serving: PinnedModel, foreign: Option<StateMark>) -> PinnedModel {
        let moved = self.model.repin_with(serving.model().clone(), foreign);
        match timeout(self.store_limit(), moved).await {
            Ok(Ok(Some(moved))) if moved.model() == serving.model() => moved,
            // Another request has moved the session elsewhere; this answer is by our candidate.
            Ok(Ok(Some(_))) => PinnedModel { outcome: Outcome::Repinned, ..serving },
            // There is no pin to move.
            Ok(Ok(None)) => serving,
            // Whether the session has moved is unknown.
            Ok(Err(_)) | Err(_) => PinnedModel { outcome: Outcome::StoreUnavailable, ..serving },
        }
    }

    /// Releases a pin that this request has made or moved, for no model has served it.
    async fn gave_up<B, E>(
        &self,
        failure: Attempt<B, E>,
        request: &Parts,
    ) -> Result<Response<B>, E> {
        let made = [Outcome::Claimed, Outcome::Refreshed, Outcome::Repinned];
        if made.contains(&self.model.outcome())
            && request.extensions.get::<Probe>().is_none()
            && let Ok(Err(error)) = timeout(self.store_limit(), self.model.release()).await
        {
            tracing::debug!(%error, "a pin that never served could not be released");
        }
        let is_made = made.contains(&self.model.outcome());
        let refers = request.extensions.get() == Some(&Bound::ByReference);
        let outcome = match self.model.key() {
            // Without a session there is none that could have been served.
            None => self.model.outcome(),
            Some(_) if refers && self.model.epoch().is_some() && !is_made => Outcome::Bound,
            Some(_) => Outcome::Failed,
        };
        let model = PinnedModel { outcome, pinned: outcome.is_pinned(), ..failure.candidate };
        told(failure.result, PinnedModel { expose_epoch: false, ..model })
    }

    /// The longest wait for the store when a session moves or its pin is released: twice the budget, so
    /// that a store whose calls end within the budget can still decide the move.
    fn store_limit(&self) -> Duration {
        self.model.store_budget.saturating_mul(2)
    }
}

/// The failure that the client gets, after one more.
fn kept<B, E>(failure: Option<Attempt<B, E>>, later: Attempt<B, E>) -> Attempt<B, E> {
    match failure {
        Some(failure) => failure.or_better(later),
        None => later,
    }
}

/// The answer, with what the layers above report about it.
fn told<B, E>(result: Result<Response<B>, E>, model: PinnedModel) -> Result<Response<B>, E> {
    result.map(|mut response| {
        response.extensions_mut().insert(model);
        response
    })
}
