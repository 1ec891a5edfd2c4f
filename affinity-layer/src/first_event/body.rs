//! The body of a response that was held: it replays what was read of it, and then reads on.
//!
//! Readers must find what they would have found without the layer: the same frames, the same error at the
//! same place, a length that counts what is held, and no end before all is out.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Response body of [`FirstEvent`](super::FirstEvent): what was held, and then the rest.
pub struct HeldBody<B: Body> {
    held: VecDeque<Frame<Bytes>>,
    /// How many bytes are held.
    len: usize,
    /// What broke the body while it was held.
    broken: Option<B::Error>,
    rest: B,
}

impl<B: Body> HeldBody<B> {
    /// A body of which nothing is held.
    pub(super) fn untouched(rest: B) -> Self {
        Self { held: VecDeque::new(), len: 0, broken: None, rest }
    }

    pub(super) fn rest(&mut self) -> &mut B {
        &mut self.rest
    }

    pub(super) fn push(&mut self, frame: Frame<Bytes>) {
        self.len += len(&frame);
        self.held.push_back(frame);
    }

    pub(super) fn break_with(&mut self, error: B::Error) {
        self.broken = Some(error);
    }

    /// About how much memory the held pieces take.
    pub(super) fn cost(&self) -> usize {
        self.len + self.held.len() * size_of::<Frame<Bytes>>()
    }
}

fn len(frame: &Frame<Bytes>) -> usize {
    frame.data_ref().map_or(0, Bytes::len)
}

impl<B: Body + Default> Default for HeldBody<B> {
    fn default() -> Self {
        Self::untouched(B::default())
    }
}

/// So that an affinity layer right above can make the answer to a refused request.
impl<B: Body + From<Bytes>> From<Bytes> for HeldBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::untouched(B::from(bytes))
    }
}

impl<B: Body + fmt::Debug> fmt::Debug for HeldBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBody").field("rest", &self.rest).finish_non_exhaustive()
    }
}

// Nothing in it is pinned but the rest, which is `Unpin` itself.
impl<B: Body + Unpin> Unpin for HeldBody<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.held.pop_front() {
            self.len -= len(&frame);
            return Poll::Ready(Some(Ok(frame)));
        }
        match self.broken.take() {
            Some(error) => Poll::Ready(Some(Err(error))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.broken.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, held) = (self.rest.size_hint(), u64::try_from(self.len).unwrap_or(u64::MAX));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}
