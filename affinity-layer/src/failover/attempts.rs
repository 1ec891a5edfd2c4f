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

use std::pin::pin;
use std::sync::Arc;

use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tower_service::Service;

use super::attempt::{Attempt, Finding};
use super::candidates::{Candidates, Chosen};
use super::settings::Settings;
use crate::ext::{Bound, LeftOut, PassedOver, SendOnce};
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
        let mut candidates = Candidates::new(&self.model, &self.settings, &parts);
        let first = candidates.first().await;
        let first_sent = Instant::now();
        let mut first_call = pin!(ready.call(request_for(&first.model, &parts, &body)));
        let mut held = None;
        let mut attempt = match candidates.unless_silent(&first, first_call.as_mut()).await {
            Some(result) => candidates.learned(first, first_sent, result),
            // Kept open: should nobody else serve, it may still answer.
            None => match candidates.next() {
                Some(next) => {
                    held = Some(first);
                    let request = request_for(&next.model, &parts, &body);
                    candidates.attempt(next, standby.clone(), request).await
                }
                None => candidates.learned(first, first_sent, first_call.as_mut().await),
            },
        };
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
            let next = match attempt.wait(candidates.patience()).filter(|_| !waited) {
                Some(wait) => {
                    waited = true;
                    sleep(wait).await;
                    Chosen { model: attempt.candidate.clone(), trial: None }
                }
                None => {
                    let Some(next) = candidates.next() else { break };
                    let (failed, next_model) = (attempt.candidate.model(), next.model.model());
                    tracing::info!(%failed, next = %next_model, "failing over");
                    waited = false;
                    next
                }
            };
            failure = Some(kept(failure, attempt));
            let request = request_for(&next.model, &parts, &body);
            attempt = candidates.attempt(next, standby.clone(), request).await;
        }
        if attempt.finding != Finding::Answered {
            attempt = kept(failure, attempt);
            if let Some(first) = held {
                let late = candidates.learned(first, first_sent, first_call.as_mut().await);
                let is_served = late.finding == Finding::Answered;
                attempt = if is_served { late } else { late.or_better(attempt) };
            }
        }
        match attempt.finding {
            Finding::Answered => self.answered(attempt, &candidates).await,
            _ => self.gave_up(attempt, &candidates).await,
        }
    }

    /// Moves the session to the model that answered, if that is another one.
    async fn answered<B, E>(
        &self,
        attempt: Attempt<B, E>,
        candidates: &Candidates<'_>,
    ) -> Result<Response<B>, E> {
        let Attempt { candidate, result, .. } = attempt;
        candidates.served();
        if candidate.model() == self.model.model() {
            return result;
        }
        // A probe uses a pin and never changes one.
        let left_out = result.as_ref().ok().and_then(|response| response.extensions().get());
        let foreign = left_out.and_then(|left_out: &LeftOut| left_out.last);
        let model = match candidates.are_probed() {
            true => candidate,
            false => self.model.moved_to(candidate, foreign).await,
        };
        told(result, model, candidates)
    }

    /// Withdraws a pin that this request has made or moved, for no model has served it.
    async fn gave_up<B, E>(
        &self,
        failure: Attempt<B, E>,
        candidates: &Candidates<'_>,
    ) -> Result<Response<B>, E> {
        candidates.failed();
        if !candidates.are_probed() {
            self.model.undo().await;
        }
        let is_made = self.model.has_made_pin();
        let refers = candidates.bound() == Some(Bound::ByReference);
        let outcome = match self.model.key() {
            // Without a session there is none that could have been served.
            None => self.model.outcome(),
            Some(_) if refers && self.model.epoch().is_some() && !is_made => Outcome::Bound,
            Some(_) => Outcome::Failed,
        };
        let model = PinnedModel { outcome, pinned: outcome.is_pinned(), ..failure.candidate };
        told(failure.result, PinnedModel { expose_epoch: false, ..model }, candidates)
    }
}

/// The failure that the client gets, after one more.
fn kept<B, E>(failure: Option<Attempt<B, E>>, later: Attempt<B, E>) -> Attempt<B, E> {
    match failure {
        Some(failure) => failure.or_better(later),
        None => later,
    }
}

/// The request as `model` gets it.
fn request_for<B: Clone>(model: &PinnedModel, parts: &Parts, body: &B) -> Request<B> {
    let mut request = Request::from_parts(parts.clone(), body.clone());
    request.extensions_mut().insert(model.clone());
    request
}

/// The answer, with what the layers above report about it.
fn told<B, E>(
    result: Result<Response<B>, E>,
    model: PinnedModel,
    candidates: &Candidates<'_>,
) -> Result<Response<B>, E> {
    result.map(|mut response| {
        response.extensions_mut().insert(model);
        if let Some(passed_over) = candidates.passed_over() {
            response.extensions_mut().insert(PassedOver(passed_over.clone()));
        }
        response
    })
}
