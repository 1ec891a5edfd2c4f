//! The attempts of one request.

use std::sync::Arc;
use std::time::Duration;

use super::layer::Settings;
use crate::ext::{Probe, SecondChance};
use crate::{ModelName, Outcome, PinnedModel};
use http::{Request, Response, StatusCode, header};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;
use tower_service::Service;

pub(super) struct Attempts {
    pub(super) model: PinnedModel,
    pub(super) settings: Arc<Settings>,
}

impl Attempts {
    /// `ready` takes the first attempt, clones of `standby` the others.
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
        let usable = |model: &&ModelName| {
            let usable = self.settings.usable.as_ref();
            *model != self.model.model() && usable.is_none_or(|usable| usable(&parts, model))
        };
        let mut others = self.model.candidates().iter().filter(usable);
        let mut serving = self.model.clone();
        let mut result = ready.call(Request::from_parts(parts.clone(), body.clone())).await;
        // A model may take minutes to fail, which must not be what keeps the next one from trying.
        let (failed_at, mut waited) = (Instant::now(), false);
        for _ in 1..self.settings.attempts {
            if !failed(&result) || failed_at.elapsed() >= self.settings.time_limit {
                break;
            }
            let wait = result.as_ref().ok().and_then(|response| self.wait(response));
            match wait.filter(|_| !waited) {
                Some(wait) => {
                    waited = true;
                    sleep(wait).await;
                }
                None => {
                    let Some(other) = others.next() else { break };
                    tracing::info!(failed = %serving.model(), next = %other, "failing over");
                    serving = self.model.detour(other.clone());
                    waited = false;
                }
            }
            let mut request = Request::from_parts(parts.clone(), body.clone());
            request.extensions_mut().insert(serving.clone());
            result = standby.clone().oneshot(request).await;
        }
        let told = if parts.extensions.get::<Probe>().is_some() {
            // A probe uses a pin and never changes one.
            (serving.model() != self.model.model()).then_some(serving)
        } else if failed(&result) || serving.model() != self.model.model() && refused(&result) {
            // A refusal by another model is no reason to move to it.
            self.gave_up(serving).await
        } else {
            self.served(serving).await
        };
        if let (Ok(response), Some(told)) = (&mut result, told) {
            response.extensions_mut().insert(told);
        }
        result
    }

    /// What the model asks to wait before its second chance, if that is short enough.
    fn wait<B>(&self, response: &Response<B>) -> Option<Duration> {
        if response.extensions().get::<SecondChance>().is_some() {
            return Some(Duration::ZERO);
        }
        let seconds = response.headers().get(header::RETRY_AFTER)?;
        let seconds = seconds.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds)).filter(|wait| *wait <= self.settings.patience)
    }

    /// The longest wait for the store when a session moves or its pin is released. A store that ends its
    /// calls within the budget may still decide what becomes of the move, so it has as long again.
    fn store_limit(&self) -> Duration {
        self.model.store_budget.saturating_mul(2)
    }

    /// Moves the session to the model that answered, if that is another one.
    async fn served(&self, serving: PinnedModel) -> Option<PinnedModel> {
        if serving.model() == self.model.model() {
            return None;
        }
        let moved = timeout(self.store_limit(), self.model.repin(serving.model().clone())).await;
        match moved {
            Ok(Ok(Some(moved))) if moved.model() == serving.model() => Some(moved),
            // Another request has moved the session elsewhere; this answer is by our candidate.
            Ok(Ok(Some(_))) => Some(PinnedModel { outcome: Outcome::Repinned, ..serving }),
            // There is no pin to move, or the store does not answer.
            _ => Some(serving),
        }
    }

    /// Releases a pin that this request has made or moved, for no model has served it.
    async fn gave_up(&self, last: PinnedModel) -> Option<PinnedModel> {
        let made = [Outcome::Claimed, Outcome::Refreshed, Outcome::Repinned];
        if made.contains(&self.model.outcome())
            && let Ok(Err(error)) = timeout(self.store_limit(), self.model.release()).await
        {
            tracing::debug!(%error, "a pin that never served could not be released");
        }
        (last.model() != self.model.model()).then_some(last)
    }
}

/// Whether another model may do better.
fn failed<B, E>(result: &Result<Response<B>, E>) -> bool {
    const OVERLOADED: u16 = 529;
    result.as_ref().map_or(true, |response| {
        let status = response.status();
        matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::INTERNAL_SERVER_ERROR
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ) || status.as_u16() == OVERLOADED
    })
}

/// Whether the answer is that of a model that did not serve, and would not for another attempt either.
fn refused<B, E>(result: &Result<Response<B>, E>) -> bool {
    result.as_ref().is_ok_and(|response| {
        response.status().is_client_error() || response.status().is_server_error()
    })
}
