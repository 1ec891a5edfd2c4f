use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{ReleaseBody, ReleasedAtEnd};
use crate::PinnedModel;

/// Middleware that releases a pin when the response has ended.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Release<S> {
    inner: S,
}

impl<S> Release<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Release<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<ReleaseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let model = request.extensions().get::<PinnedModel>();
        let model = model.filter(|model| model.is_final()).cloned();
        ResponseFuture { inner: self.inner.call(request), model }
    }
}

pin_project! {
    /// Response future of [`Release`].
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        model: Option<PinnedModel>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ReleaseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let mut model = this.model.take();
        if model.is_some() {
            // An inner layer that moved the pin says so, and the moved one is to be released.
            model = response.extensions().get::<PinnedModel>().cloned().or(model);
            response.extensions_mut().insert(ReleasedAtEnd);
        }
        Poll::Ready(Ok(response.map(|body| ReleaseBody::new(body, model))))
    }
}
