use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::LinkBody;
use super::find::Finder;
use crate::PinnedModel;
use crate::release::readable;

/// Middleware that keeps the ids of responses.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Link<S> {
    inner: S,
}

impl<S> Link<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Link<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<LinkBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let model = request.extensions().get::<PinnedModel>();
        let is_response = request.uri().path().ends_with("/responses");
        let model = model.filter(|model| is_response && model.links).cloned();
        ResponseFuture { inner: self.inner.call(request), model }
    }
}

pin_project! {
    /// Response future of [`Link`].
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
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<LinkBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let model = this.model.take();
        let looking = model.and_then(|model| Some((model, Finder::new(readable(&response)?)?)));
        Poll::Ready(Ok(response.map(|body| match looking {
            Some((model, finder)) => LinkBody::linking(body, model, finder),
            None => LinkBody::untouched(body),
        })))
    }
}
