//! The layer that records turns. It belongs below the affinity layer and above all that may change
//! the model once more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::{
    PinnedModel,
    ext::{AnyModel, Probe, RequestedModel},
    usage::{Usage, UsageReader},
};
use axum::body::Body;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::body::Recorded;
use super::{RouterClock, SessionTag, Turn, TurnHub};
use crate::stack::observe::Arrived;

/// Layer that applies [`Record`].
#[derive(Clone, Debug)]
pub(crate) struct RecordLayer(TurnHub);

impl RecordLayer {
    /// Tells `hub` of each turn.
    pub(crate) fn new(hub: TurnHub) -> Self {
        Self(hub)
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record { inner, hub: self.0.clone() }
    }
}

/// Middleware that records turns; see the [module docs](self).
#[derive(Clone, Debug)]
pub(crate) struct Record<S> {
    inner: S,
    hub: TurnHub,
}

impl<S, ReqBody> Service<Request<ReqBody>> for Record<S>
where
    S: Service<Request<ReqBody>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Recording<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let draft = Draft::begin(request.extensions(), &self.hub);
        Recording { inner: self.inner.call(request), draft }
    }
}

pin_project! {
    /// Response future of [`Record`].
    pub(crate) struct Recording<F> {
        #[pin]
        inner: F,
        draft: Option<Draft>,
    }
}

impl<F, E> Future for Recording<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let Some(mut draft) = this.draft.take() else {
            return Poll::Ready(Ok(response));
        };
        draft.answered(&response);
        let usage = UsageReader::of(&response);
        Poll::Ready(Ok(response.map(|body| Body::new(Recorded::new(body, draft, usage)))))
    }
}

/// A turn that has not ended. Whoever drops it has seen its end: it is told then.
#[derive(Debug)]
pub(super) struct Draft {
    turn: Arc<Turn>,
    since: Instant,
    hub: TurnHub,
}

impl Draft {
    /// A draft for a request that goes to a model to be answered.
    fn begin(request: &Extensions, hub: &TurnHub) -> Option<Self> {
        let model = request.get::<PinnedModel>()?;
        if request.get::<Probe>().is_some() {
            return None;
        }
        let now = Instant::now();
        let since = request.get().map_or(now, |Arrived(since)| *since);
        let requested = request.get().map(|RequestedModel(model)| model.clone());
        let turn = Turn {
            at: SystemTime::now().checked_sub(since.elapsed()).unwrap_or(UNIX_EPOCH),
            session: model.key().map(SessionTag::of),
            keys: model.key().map(|key| hub.keys(key)).unwrap_or_default(),
            scope: model.key().and_then(|key| key.scope()).map(Into::into),
            requested: requested.filter(|_| request.get::<AnyModel>().is_none()),
            model: model.model().clone(),
            route: model.route().cloned(),
            outcome: model.outcome(),
            pinned: model.is_pinned(),
            epoch: model.epoch(),
            switched: false,
            router: request.get().and_then(RouterClock::read),
            first_byte: None,
            total: since.elapsed(),
            status: None,
            complete: false,
            prompt_tokens: None,
            cached_tokens: None,
            output_tokens: None,
        };
        Some(Self { turn: Arc::new(turn), since, hub: hub.clone() })
    }

    fn turn(&mut self) -> &mut Turn {
        // Nobody else has it yet.
        Arc::make_mut(&mut self.turn)
    }

    fn answered(&mut self, response: &Response<Body>) {
        let turn = self.turn();
        turn.status = Some(response.status().as_u16());
        // A layer below that moved the session says so.
        if let Some(moved) = response.extensions().get::<PinnedModel>() {
            turn.model = moved.model().clone();
            turn.outcome = moved.outcome();
            turn.pinned = moved.is_pinned();
            turn.epoch = moved.epoch();
        }
        let Turn { session, model, .. } = &*self.turn;
        if let Some(session) = session.filter(|_| response.status().is_success()) {
            let switched = self.hub.ledger().answers(session, model);
            self.turn().switched = switched;
        }
    }

    /// Something of the answer is there.
    pub(super) fn arrived(&mut self) {
        let since = self.since;
        self.turn().first_byte.get_or_insert_with(|| since.elapsed());
    }

    /// The provider has told what the answer costs so far.
    pub(super) fn used(&mut self, usage: Usage) {
        let turn = self.turn();
        turn.prompt_tokens = usage.prompt_tokens;
        turn.cached_tokens = usage.cached_tokens;
        turn.output_tokens = usage.output_tokens;
    }

    /// The answer has come to its end.
    pub(super) fn complete(mut self) {
        self.turn().complete = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let total = self.since.elapsed();
        self.turn().total = total;
        self.hub.told(self.turn.clone());
    }
}
