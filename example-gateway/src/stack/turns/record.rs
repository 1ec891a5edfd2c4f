//! The layer that records turns. It belongs below the affinity layer and above all that may change
//! the model once more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use affinity_layer::usage::UsageReader;
use axum::body::Body;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::body::Recorded;
use super::draft::Draft;
use super::observer::TurnObserver;
use crate::stack::sessions::Sessions;

/// Layer that applies [`Record`].
#[derive(Clone, Debug)]
pub(crate) struct RecordLayer {
    observer: Arc<dyn TurnObserver>,
    sessions: Sessions,
}

impl RecordLayer {
    /// Tells `observer` of each turn; `sessions` knows under which names pins are stored.
    pub(crate) fn new(observer: Arc<dyn TurnObserver>, sessions: Sessions) -> Self {
        Self { observer, sessions }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = Record<S>;

    fn layer(&self, inner: S) -> Record<S> {
        Record { inner, settings: self.clone() }
    }
}

/// Middleware that records turns; see the [module docs](self).
#[derive(Clone, Debug)]
pub(crate) struct Record<S> {
    inner: S,
    settings: RecordLayer,
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
        let settings = &self.settings;
        let draft = Draft::begin(request.extensions(), &settings.observer, &settings.sessions);
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
