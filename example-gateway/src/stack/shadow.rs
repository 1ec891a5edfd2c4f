//! Whether a pin is regretted: a sample of pinned turns is routed once more, in the shadow.
//!
//! - The result is counted and never used.
//! - It begins when the answer has begun, and nothing waits for it. At most [`AT_ONCE`] are under way;
//!   those beyond are not made.
//! - It asks a router of the same kind and limits, not the one of real requests: it takes no place from
//!   them, and is in none of their counts.
//! - It leaves no span and no log line, and sends the router nothing of the client but the body: a
//!   pinned request has no router in its trace.

use std::collections::BTreeSet;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use affinity_layer::{
    ModelName, Outcome, PinnedModel, RouteName, RouteRequest, RouterService, ext::Probe,
};
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::body::Envelope;
use crate::config::Config;
use crate::extensions::RouterClock;
use crate::stack::turns::observer::{TurnObserver, Verdict};
use crate::telemetry::metrics;

/// Shadow decisions that may be under way together.
const AT_ONCE: usize = 4;

/// Layer that applies [`Shadow`]. It belongs below the affinity layer.
#[derive(Clone, Debug)]
pub(crate) struct ShadowLayer<R>(Arc<Settings<R>>);

#[derive(Debug)]
struct Settings<R> {
    router: R,
    /// Of pinned turns, 0 to 1.
    share: f64,
    turns: AtomicU64,
    lots: RandomState,
    places: Arc<Semaphore>,
    /// The configured routes; metrics count others together.
    routes: BTreeSet<String>,
    observer: Option<Arc<dyn TurnObserver>>,
}

impl<R> ShadowLayer<R> {
    /// Asks `router`, as often as `config` says; tells `observer` as well, if there is one.
    pub(crate) fn new(config: &Config, router: R, observer: Option<Arc<dyn TurnObserver>>) -> Self {
        let routes = config.preferences.iter().map(|preference| preference.name.to_string());
        let routes: BTreeSet<_> = routes.collect();
        metrics::expect_verdicts(routes.iter(), Verdict::ALL.map(Verdict::as_str));
        Self(Arc::new(Settings {
            router,
            share: config.routing.regret_sample,
            turns: AtomicU64::new(0),
            lots: RandomState::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            routes,
            observer,
        }))
    }
}

impl<R> Settings<R> {
    /// Whether a turn is one of the sample.
    fn draws(&self, request: &Extensions) -> bool {
        let is_pinned = request
            .get::<PinnedModel>()
            .is_some_and(|model| model.is_pinned() && model.outcome() == Outcome::Hit);
        if !is_pinned || request.get::<Probe>().is_some() {
            return false;
        }
        // Numbers hashed under our own key are random. Every n-th turn would not be: loops have equal
        // lengths.
        let lot = self.lots.hash_one(self.turns.fetch_add(1, Ordering::Relaxed)) >> 32;
        let lot = u32::try_from(lot).unwrap_or(u32::MAX);
        f64::from(lot) < self.share * (f64::from(u32::MAX) + 1.0)
    }

    fn told(&self, route: Option<&RouteName>, verdict: Verdict) {
        let known = route.is_none_or(|route| self.routes.contains(route.as_str()));
        let label = route.map_or("(none)", RouteName::as_str);
        metrics::judged(if known { label } else { "(other)" }, verdict.as_str());
        if let Some(observer) = &self.observer {
            observer.judged(route, verdict);
        }
    }
}

impl<S, R> Layer<S> for ShadowLayer<R> {
    type Service = Shadow<S, R>;

    fn layer(&self, inner: S) -> Shadow<S, R> {
        Shadow { inner, settings: self.0.clone() }
    }
}

/// Middleware that asks the router again; see the [module docs](self).
#[derive(Debug)]
pub(crate) struct Shadow<S, R> {
    inner: S,
    settings: Arc<Settings<R>>,
}

impl<S: Clone, R> Clone for Shadow<S, R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: self.settings.clone() }
    }
}

impl<S, R, ResBody> Service<Request<Envelope>> for Shadow<S, R>
where
    S: Service<Request<Envelope>, Response = Response<ResBody>>,
    R: RouterService + Sync,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Asking<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Envelope>) -> Self::Future {
        let drawn = self.settings.draws(request.extensions());
        let question = if drawn { Question::of(&request, &self.settings) } else { None };
        Asking { inner: self.inner.call(request), question }
    }
}

pin_project! {
    /// Response future of [`Shadow`].
    pub(crate) struct Asking<F, R> {
        #[pin]
        inner: F,
        question: Option<Question<R>>,
    }
}

impl<F, R, B, E> Future for Asking<F, R>
where
    F: Future<Output = Result<Response<B>, E>>,
    R: RouterService + Sync,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        if let Some(question) = this.question.take() {
            question.ask();
        }
        Poll::Ready(answer)
    }
}

/// What the router is going to be asked.
struct Question<R> {
    request: RouteRequest,
    pinned: ModelName,
    route: Option<RouteName>,
    settings: Arc<Settings<R>>,
}

impl<R: RouterService + Sync> Question<R> {
    fn of(request: &Request<Envelope>, settings: &Arc<Settings<R>>) -> Option<Self> {
        let extensions = request.extensions();
        let model = extensions.get::<PinnedModel>()?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = request.method().clone();
        parts.uri = request.uri().clone();
        parts.extensions = extensions.clone();
        // The turn itself did not ask.
        parts.extensions.remove::<RouterClock>();
        Some(Self {
            request: RouteRequest::new(parts, request.body().bytes().clone()),
            pinned: model.model().clone(),
            route: model.route().cloned(),
            settings: settings.clone(),
        })
    }

    fn ask(self) {
        let Ok(place) = self.settings.places.clone().try_acquire_owned() else {
            return;
        };
        let judged = async move {
            let verdict = self.verdict().await;
            drop(place);
            verdict
        };
        tokio::spawn(judged.with_subscriber(Dispatch::none()));
    }

    async fn verdict(self) {
        let Self { request, pinned, route, settings } = self;
        let verdict = match settings.router.clone().oneshot(request).await {
            Err(_) => Verdict::Failed,
            // What the decision names is then what was asked for.
            Ok(decision) if decision.route.is_none() => Verdict::NoMatch,
            Ok(decision) if decision.models.first() == Some(&pinned) => Verdict::Agreed,
            Ok(_) => Verdict::Otherwise,
        };
        settings.told(route.as_ref(), verdict);
    }
}

#[cfg(test)]
mod tests;
