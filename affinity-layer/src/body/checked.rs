//! A request body on its way from the check to the provider.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::json_body::JsonBody;
use super::slices::Slices;
use crate::affinity::ReadBody;
use crate::{BoxError, Rejection};

/// A body behind a [`CheckBodyLayer`](super::CheckBodyLayer): whole and checked, or streaming and unread.
///
/// A clone shares the bytes. A streaming body can be sent once; another clone's frames are then an error.
pub struct CheckedBody<B>(Kind<B>);

enum Kind<B> {
    Whole(Arc<JsonBody>),
    Passing(Arc<Mutex<Option<B>>>),
}

impl<B> CheckedBody<B> {
    /// A body that was checked.
    #[must_use]
    pub fn whole(body: JsonBody) -> Self {
        Self(Kind::Whole(Arc::new(body)))
    }

    /// A body that goes on unread.
    #[must_use]
    pub fn passing(body: B) -> Self {
        Self(Kind::Passing(Arc::new(Mutex::new(Some(body)))))
    }

    /// The body, if it was checked.
    #[must_use]
    pub fn json(&self) -> Option<&JsonBody> {
        match &self.0 {
            Kind::Whole(body) => Some(body),
            Kind::Passing(_) => None,
        }
    }

    /// What is sent: with `model` in place of the client's, where there is one to replace.
    pub(super) fn into_sent(self, model: Option<&str>) -> ModelBody<B> {
        match self.0 {
            Kind::Whole(body) => {
                let slices = match model {
                    Some(model) => body.for_model(model),
                    None => Slices::from(body.bytes().clone()),
                };
                ModelBody { kind: SentKind::Whole { slices } }
            }
            Kind::Passing(body) => {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                match body {
                    Some(inner) => ModelBody { kind: SentKind::Passing { inner } },
                    None => ModelBody { kind: SentKind::Spent },
                }
            }
        }
    }
}

impl<B> Clone for CheckedBody<B> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::Whole(body) => Kind::Whole(body.clone()),
            Kind::Passing(body) => Kind::Passing(body.clone()),
        })
    }
}

impl<B> fmt::Debug for CheckedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.json().map(|body| body.bytes().len());
        f.debug_struct("CheckedBody").field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// It is there already. What streams is not read: a router sees it as empty.
impl<B: Send> ReadBody for CheckedBody<B> {
    async fn read(&mut self, limit: usize) -> Result<Bytes, Rejection> {
        let bytes = self.json().map(JsonBody::bytes).cloned().unwrap_or_default();
        if bytes.len() > limit { Err(Rejection::BodyTooLarge(limit)) } else { Ok(bytes) }
    }
}

pin_project! {
    /// The body that a provider is sent. Made by [`ModelBodyLayer`](super::ModelBodyLayer).
    ///
    /// Its length is known unless it streams and the client declared none.
    pub struct ModelBody<B> {
        #[pin]
        kind: SentKind<B>,
    }
}

pin_project! {
    #[project = SentProj]
    enum SentKind<B> {
        Whole { slices: Slices },
        Passing { #[pin] inner: B },
        /// Another attempt has sent it.
        Spent,
    }
}

impl<B> fmt::Debug for ModelBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelBody").finish_non_exhaustive()
    }
}

impl<B> Body for ModelBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().kind.project() {
            SentProj::Whole { slices } => {
                Pin::new(slices).poll_frame(cx).map_err(|never| match never {})
            }
            SentProj::Passing { inner } => inner.poll_frame(cx).map_err(Into::into),
            SentProj::Spent => {
                Poll::Ready(Some(Err("the body was streamed by an earlier attempt".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            SentKind::Whole { slices } => slices.is_end_stream(),
            SentKind::Passing { inner } => inner.is_end_stream(),
            SentKind::Spent => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            SentKind::Whole { slices } => slices.size_hint(),
            SentKind::Passing { inner } => inner.size_hint(),
            SentKind::Spent => SizeHint::default(),
        }
    }
}
