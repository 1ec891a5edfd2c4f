//! The body of an answer whose turn is recorded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use affinity_layer::usage::UsageReader;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::draft::Draft;

pin_project! {
    /// Passes a body on as it is, reads its usage, and ends its turn.
    pub(super) struct Recorded<B> {
        #[pin]
        inner: B,
        turn: Option<Reading>,
    }
}

/// A turn whose answer is under way.
struct Reading {
    draft: Draft,
    /// `None` for an answer that cannot be read.
    usage: Option<UsageReader>,
}

impl<B: Body> Recorded<B> {
    pub(super) fn new(inner: B, draft: Draft, usage: Option<UsageReader>) -> Self {
        let reading = Reading { draft, usage };
        if is_over(&inner) {
            // Nobody asks an empty body for its end.
            reading.complete();
            return Self { inner, turn: None };
        }
        Self { inner, turn: Some(reading) }
    }
}

impl Reading {
    fn feed(&mut self, data: &Bytes) {
        self.draft.arrived();
        if let Some(reader) = &mut self.usage {
            reader.feed(data);
            self.draft.used(reader.usage());
        }
    }

    /// Whether the answer has told its end, after which a client need not read on.
    fn is_over(&self) -> bool {
        self.usage.as_ref().is_some_and(UsageReader::is_over)
    }

    fn complete(self) {
        self.draft.complete();
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
        let Some(mut reading) = this.turn.take() else {
            return Poll::Ready(frame);
        };
        let ended = match &frame {
            // Broken off: the draft is dropped.
            Some(Err(_)) => return Poll::Ready(frame),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    reading.feed(data);
                }
                reading.is_over() || is_over(&*this.inner)
            }
            None => true,
        };
        if ended {
            reading.complete();
        } else {
            *this.turn = Some(reading);
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
