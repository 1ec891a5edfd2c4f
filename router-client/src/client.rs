//! The limits around a router: time, retries, concurrency.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::{BoxError, RouteDecision, RouteRequest};
use tokio::sync::Semaphore;
use tower::limit::ConcurrencyLimit;
use tower::retry::{Policy, Retry};
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};
use tower_service::Service;

use crate::span::decided;
use crate::{ErrorKind, RouterError};

/// The wait before the first retry; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A router within limits. Clones share the limits and the connections.
///
/// 1. The time limit is for the whole decision: the wait for a free place, every try, and the pauses
///    between. A decision that takes longer is [`ErrorKind::Timeout`].
/// 2. Only a failure that [is retryable](RouterError::is_retryable) is tried again. The pause before
///    it starts at 50 ms and doubles.
/// 3. Decisions beyond the limit on concurrency wait for a place, and the time limit counts the wait.
/// 4. Each decision is one `tracing` span, `router`, however often it is tried.
///
/// It wraps any router, also one of your own: a [`Service`] from [`RouteRequest`] to
/// [`RouteDecision`] whose error is [`RouterError`].
///
/// ```
/// use affinity_layer::{ModelName, RouteDecision, RouteRequest};
/// use router_client::{ErrorKind, RouterClient, RouterError};
/// use std::time::Duration;
/// use tower::{ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let by_length = service_fn(|request: RouteRequest| async move {
///     let name = if request.body.len() > 10_000 { "openai/gpt-4o" } else { "openai/gpt-4o-mini" };
///     let model = ModelName::new(name).map_err(|_| RouterError::new(ErrorKind::Malformed))?;
///     Ok(RouteDecision::new([model]))
/// });
/// let router = RouterClient::builder(by_length)
///     .timeout(Duration::from_millis(200))
///     .retries(0)
///     .concurrency(16)
///     .in_process()
///     .build();
///
/// let (parts, ()) = http::Request::post("/v1/chat/completions").body(())?.into_parts();
/// let decision = router.oneshot(RouteRequest::new(parts, "{}".into())).await?;
/// assert_eq!(decision.models[0].as_str(), "openai/gpt-4o-mini");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RouterClient(BoxCloneSyncService<RouteRequest, RouteDecision, RouterError>);

impl RouterClient {
    /// Starts to set limits around `router`: 2 s in all, one retry, 64 decisions at once.
    pub fn builder<R>(router: R) -> RouterClientBuilder<R> {
        let timeout = Duration::from_secs(2);
        RouterClientBuilder { router, timeout, retries: 1, concurrency: 64, in_process: false }
    }
}

impl fmt::Debug for RouterClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterClient").finish_non_exhaustive()
    }
}

impl Service<RouteRequest> for RouterClient {
    type Response = RouteDecision;
    type Error = RouterError;
    type Future = Pin<Box<dyn Future<Output = Result<RouteDecision, RouterError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RouterError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: RouteRequest) -> Self::Future {
        self.0.call(request)
    }
}

/// Collects the limits of a [`RouterClient`]. Made by [`RouterClient::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RouterClientBuilder<R> {
    router: R,
    timeout: Duration,
    retries: usize,
    concurrency: usize,
    in_process: bool,
}

impl<R> RouterClientBuilder<R> {
    /// How long one decision may take in all. 2 s by default.
    ///
    /// The affinity layer lets a request go on without a decision when it fails, so this is the most
    /// that a router adds to a request. A routing model that reasons needs more than the default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a failure that [is retryable](RouterError::is_retryable) is tried again, after
    /// 50 ms and then twice as long each time. Once by default; the time limit ends it earlier.
    pub fn retries(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// How many decisions may be under way at once; further ones wait. 64 by default, 1 at least.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Marks the router as one that makes no network call, so that its spans are `internal` and not
    /// those of a client.
    pub fn in_process(mut self) -> Self {
        self.in_process = true;
        self
    }

    /// Puts the limits around the router.
    #[must_use]
    pub fn build(self) -> RouterClient
    where
        R: Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        let retries = Retries { left: self.retries, pause: FIRST_PAUSE };
        let limited = ConcurrencyLimit::new(Retry::new(retries, self.router), self.concurrency);
        // The place is waited for inside the call, where the time limit counts it.
        let driven = service_fn(move |request| limited.clone().oneshot(request));
        let timed = Timeout::new(driven, self.timeout).map_err(timed_out);
        let in_process = self.in_process;
        let traced = move |request| decided(timed.clone().oneshot(request), in_process);
        RouterClient(BoxCloneSyncService::new(service_fn(traced)))
    }
}

/// The time limit boxes what comes from below; all that it adds is its own error.
fn timed_out(error: BoxError) -> RouterError {
    match error.downcast::<RouterError>() {
        Ok(error) => *error,
        Err(elapsed) => RouterError::new(ErrorKind::Timeout).with_source(elapsed),
    }
}

#[derive(Clone)]
struct Retries {
    left: usize,
    pause: Duration,
}

impl Policy<RouteRequest, RouteDecision, RouterError> for Retries {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut RouteRequest,
        result: &mut Result<RouteDecision, RouterError>,
    ) -> Option<Self::Future> {
        let error = result.as_ref().err().filter(|error| error.is_retryable())?;
        self.left = self.left.checked_sub(1)?;
        tracing::debug!(%error, "asking the router again");
        let pause = self.pause;
        self.pause = pause.saturating_mul(2);
        Some(tokio::time::sleep(pause))
    }

    fn clone_request(&mut self, request: &RouteRequest) -> Option<RouteRequest> {
        Some(request.clone())
    }
}
