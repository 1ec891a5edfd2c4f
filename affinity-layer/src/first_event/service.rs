//! The middleware: it holds the inner service's response and marks the one that never began.
//!
//! It only marks, and leaves to [failover](crate::failover) above what follows: another candidate, or the
//! same response for the client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{Held, HeldBody, hold};
use crate::ext::PassingFailure;

/// Middleware that holds the head of a 200 until its answer has begun.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct FirstEvent<S> {
    inner: S,
    limit: Duration,
}

impl<S> FirstEvent<S> {
    pub(super) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for FirstEvent<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    S::Future: Send + 'static,
    ResBody: Body<Data = Bytes> + Unpin + Send + 'static,
    ResBody::Error: Send,
{
    type Response = Response<HeldBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (answer, limit) = (self.inner.call(request), self.limit);
        let inner = Box::pin(async move {
            let answer = answer.await?;
            let (mut response, held) = hold(answer, limit).await;
            if held != Held::Served {
                response.extensions_mut().insert(PassingFailure);
            }
            Ok(response)
        });
        ResponseFuture { inner }
    }
}

type Answered<B, E> = Result<Response<HeldBody<B>>, E>;

/// Response future of [`FirstEvent`].
pub struct ResponseFuture<B: Body, E> {
    inner: Pin<Box<dyn Future<Output = Answered<B, E>> + Send>>,
}

impl<B: Body, E> fmt::Debug for ResponseFuture<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<B: Body, E> Future for ResponseFuture<B, E> {
    type Output = Answered<B, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx)
    }
}
