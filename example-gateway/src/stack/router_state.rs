//! How the router does, for `/readyz`: an operator sees there that new sessions are not routed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use affinity_layer::{BoxError, RouteDecision, RouteRequest, RouterService};
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

/// What is known of the router. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouterState(Arc<Mutex<LastAnswer>>);

#[derive(Clone, Copy, Debug, Default)]
enum LastAnswer {
    /// It was not asked yet.
    #[default]
    None,
    Decided,
    /// Its last answers were failures, from this time on.
    FailingSince(Instant),
}

impl RouterState {
    /// `router`, whose answers are noted.
    pub(crate) fn watching<R: RouterService>(&self, router: R) -> impl RouterService + use<R> {
        let state = self.clone();
        service_fn(move |request: RouteRequest| {
            let (router, state) = (router.clone(), state.clone());
            async move {
                let answer = router.oneshot(request).await.map_err(Into::into);
                state.answered(&answer);
                answer
            }
        })
    }

    fn answered(&self, answer: &Result<RouteDecision, BoxError>) {
        let mut last = self.last();
        *last = match (*last, answer) {
            (_, Ok(_)) => LastAnswer::Decided,
            (LastAnswer::FailingSince(since), Err(_)) => LastAnswer::FailingSince(since),
            (_, Err(_)) => LastAnswer::FailingSince(Instant::now()),
        };
    }

    /// Whether its last answer was a failure.
    pub(crate) fn is_failing(&self) -> bool {
        matches!(*self.last(), LastAnswer::FailingSince(_))
    }

    /// In words.
    pub(crate) fn text(&self) -> String {
        match *self.last() {
            LastAnswer::None => "not asked yet".to_owned(),
            LastAnswer::Decided => "ready".to_owned(),
            LastAnswer::FailingSince(since) => format!(
                "not ready: failing for {} s; new sessions are not routed and not pinned",
                since.elapsed().as_secs()
            ),
        }
    }

    fn last(&self) -> MutexGuard<'_, LastAnswer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_the_last_failures_counts() {
        let state = RouterState::default();
        assert_eq!(state.text(), "not asked yet");
        for (answer, expected) in [
            (Err("down".into()), "not ready: failing for 5 s"),
            (Err("down".into()), "not ready: failing for 10 s"),
            (Ok(RouteDecision::new([])), "ready"),
            (Err("down".into()), "not ready: failing for 5 s"),
        ] {
            state.answered(&answer);
            tokio::time::advance(Duration::from_secs(5)).await;
            assert!(state.text().starts_with(expected), "{}", state.text());
            assert_eq!(state.is_failing(), answer.is_err());
        }
    }
}
