//! A body that is never read, of any type.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::payload::ReadBody;
use crate::Rejection;

pin_project! {
    /// A body of any type, for a stack that is routed [by its heads](crate::AffinityLayer::by_head). The
    /// router sees an empty one; the inner service gets all frames as they come.
    ///
    /// ```
    /// use affinity_layer::affinity::Unread;
    /// use affinity_layer::{
    ///     AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest, TargetName,
    /// };
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::{Empty, combinators::UnsyncBoxBody, BodyExt, Full};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// /// A body as frameworks for gRPC have it: it cannot be made from bytes.
    /// type Streaming = UnsyncBoxBody<Bytes, BoxError>;
    ///
    /// let router = service_fn(|_: RouteRequest| async {
    ///     Ok::<_, BoxError>(RouteDecision::new([TargetName::new("backend-1")?]))
    /// });
    /// let backend = service_fn(|_: Request<Unread<Streaming>>| async {
    ///     Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    /// });
    /// let app = ServiceBuilder::new()
    ///     .map_request(|request: Request<Streaming>| request.map(Unread::new))
    ///     .layer(AffinityLayer::new(MemoryStore::default(), router).by_head(|_| true))
    ///     .service(backend);
    ///
    /// let stream = Empty::new().map_err(|never| match never {}).boxed_unsync();
    /// let call = Request::post("/chat.Chat/Talk").header("x-model-affinity", "session-7").body(stream)?;
    /// let answer = app.oneshot(call).await?;
    /// assert_eq!(answer.headers()["x-plano-model"], "backend-1");
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Clone, Debug, Default)]
    pub struct Unread<B> {
        #[pin]
        inner: B,
    }
}

impl<B> Unread<B> {
    /// Leaves `body` unread.
    pub fn new(body: B) -> Self {
        Self { inner: body }
    }

    /// The body as it came.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Send> ReadBody for Unread<B> {
    async fn read(&mut self, _: usize) -> Result<Bytes, Rejection> {
        Ok(Bytes::new())
    }
}

impl<B: Body> Body for Unread<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
