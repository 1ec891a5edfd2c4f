//! The body of an answer whose turn is recorded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::record::Draft;

pin_project! {
    /// Passes a body on as it is, and ends its turn.
    pub(super) struct Recorded<B> {
        #[pin]
        inner: B,
        draft: Option<Draft>,
    }
}

impl<B: Body> Recorded<B> {
    pub(super) fn new(inner: B, draft: Draft) -> Self {
        if is_over(&inner) {
            // Nobody asks an empty body for its end.
            draft.complete();
            return Self { inner, draft: None };
        }
        Self { inner, draft: Some(draft) }
    }
}

/// Whether all data is out. Over HTTP/2 the end of the stream may follow in a frame of its own,
/// which nobody asks for once the declared length is reached.
fn is_over<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl<B: Body<Data = Bytes>> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        let ended = frame.is_none() || is_over(&*this.inner);
        match (&frame, this.draft.take()) {
            // Broken off: the draft is dropped.
            (_, None) | (Some(Err(_)), _) => {}
            (frame, Some(mut draft)) => {
                if frame.is_some() {
                    draft.arrived();
                }
                if ended {
                    draft.complete();
                } else {
                    *this.draft = Some(draft);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
