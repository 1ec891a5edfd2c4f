use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::timeout;

use super::find::Finder;
use super::target;
use crate::hint::with_held;
use crate::telemetry::Call;
use crate::{AffinityKey, AffinityStore, PinnedModel};

/// The longest that the piece with the id waits for the store.
const LIMIT: Duration = Duration::from_millis(50);

type Storing = Pin<Box<dyn Future<Output = ()> + Send>>;

pin_project! {
    /// Response body of [`Link`](super::Link).
    pub struct LinkBody<B> {
        #[pin]
        inner: B,
        state: State,
    }
}

enum State {
    /// There is nothing to do, or no more.
    Passing,
    Looking(Box<Looking>),
    /// The piece that holds the id waits for its link.
    Storing {
        link: Storing,
        piece: Bytes,
    },
}

struct Looking {
    model: PinnedModel,
    finder: Finder,
}

impl<B> LinkBody<B> {
    /// A body that is not looked at.
    pub(super) fn untouched(inner: B) -> Self {
        Self { inner, state: State::Passing }
    }

    /// A body whose id leads to the session of `model`.
    pub(super) fn linking(inner: B, model: PinnedModel, finder: Finder) -> Self {
        Self { inner, state: State::Looking(Box::new(Looking { model, finder })) }
    }
}

impl<B: Default> Default for LinkBody<B> {
    fn default() -> Self {
        Self::untouched(B::default())
    }
}

impl<B: fmt::Debug> fmt::Debug for LinkBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes>> Body for LinkBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        loop {
            match this.state {
                State::Storing { link, piece } => {
                    ready!(link.as_mut().poll(cx));
                    let piece = std::mem::take(piece);
                    *this.state = State::Passing;
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                State::Passing => return this.inner.poll_frame(cx),
                State::Looking(looking) => {
                    let frame = ready!(this.inner.as_mut().poll_frame(cx));
                    let piece = match &frame {
                        Some(Ok(frame)) => frame.data_ref(),
                        _ => None,
                    };
                    let found =
                        piece.and_then(|piece| Some((looking.finder.feed(piece)?, piece.clone())));
                    let Some((id, piece)) = found else {
                        return Poll::Ready(frame);
                    };
                    let link = Box::pin(store(looking.model.clone(), id));
                    *this.state = State::Storing { link, piece };
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.state, State::Storing { .. }) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.size_hint();
        let State::Storing { piece, .. } = &self.state else {
            return inner;
        };
        with_held(&inner, piece.len())
    }
}

/// Stores that the response `id` belongs to the session of `model`.
async fn store(model: PinnedModel, id: String) {
    let (Some(key), Some(response)) = (&model.key, AffinityKey::of_response(&id)) else {
        return;
    };
    let Some(link) = target::link(key) else {
        return;
    };
    let (response, lifetime) = (response.with_scope_of(key), target::lifetime(&model.expiry));
    let call = Call::store("claim");
    let claimed = timeout(LIMIT, model.store.claim(&response, link, &lifetime)).await;
    let Ok(claimed) = claimed else {
        tracing::debug!("the link of a response was not stored in time");
        return;
    };
    call.answered(&claimed, |claim| if claim.won { "won" } else { "lost" });
    if let Err(error) = claimed {
        tracing::debug!(%error, "the link of a response could not be stored");
    }
}
