use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::Held;
use super::scan::{Framing, Scanner};
use super::{ReleaseBody, ReleasedAtEnd};
use crate::PinnedModel;
use crate::ext::Guest;

/// Middleware that releases a pin when the response has ended.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Release<S> {
    inner: S,
    final_answer: bool,
}

impl<S> Release<S> {
    pub(super) fn new(inner: S, final_answer: bool) -> Self {
        Self { inner, final_answer }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Release<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ReleaseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let model = request.extensions().get::<PinnedModel>();
        let reads = self.final_answer && request.extensions().get::<Guest>().is_none();
        let model = model.filter(|model| reads || model.is_final()).cloned();
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
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ReleaseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        let Some(model) = this.model.take() else {
            return Poll::Ready(Ok(response.map(ReleaseBody::untouched)));
        };
        let is_final = model.is_final();
        // An inner layer that moved the pin says so, and the moved one is to be released.
        let model = response.extensions().get::<PinnedModel>().cloned().unwrap_or(model);
        if is_final {
            response.extensions_mut().insert(ReleasedAtEnd);
        }
        let unread = is_final && is_compressed(&response);
        let scanner = if unread { None } else { readable(&response).and_then(Scanner::new) };
        Poll::Ready(Ok(response.map(|body| match scanner {
            None if !is_final => ReleaseBody::untouched(body),
            scanner => ReleaseBody::watching(body, Held { model, scanner, always: is_final }),
        })))
    }
}

/// The content type of an answer, if it is one that can be read.
pub(crate) fn readable<B>(response: &Response<B>) -> Option<&str> {
    if !response.status().is_success() {
        return None;
    }
    let content_type = text(response, &header::CONTENT_TYPE)?;
    Framing::of(content_type)?;
    if is_compressed(response) {
        static ONCE: Once = Once::new();
        // Every answer of such a provider is compressed; one line says it all.
        ONCE.call_once(|| {
            tracing::warn!(
                "a compressed answer cannot be read: its pin stays, its id leads nowhere, and its \
                 tokens are not counted"
            );
        });
        return None;
    }
    Some(content_type)
}

fn is_compressed<B>(response: &Response<B>) -> bool {
    let encoding = text(response, &header::CONTENT_ENCODING).unwrap_or("identity");
    !encoding.eq_ignore_ascii_case("identity")
}

fn text<'a, B>(response: &'a Response<B>, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap_or("?"))
}
