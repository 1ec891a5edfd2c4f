//! A body in pieces: what is sent in place of the bytes of the client.
//!
//! To replace the name of a model in a body of megabytes, the bytes before and after it are sent as slices of
//! the one buffer, and only the name is new. The length is known, so that the request needs no chunks.
//!
//! A long slice is sent in pieces, with a pause for others after some of them: a provider that reads as fast
//! as the system writes would otherwise keep a thread for as long as all of it takes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::yield_now;

/// The longest piece, and what is sent before others have their turn, in bytes.
const PIECE: usize = 64 << 10;
const AT_ONCE: usize = 4 * PIECE;

/// A body in several pieces, of known length.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    slices: VecDeque<Bytes>,
    /// What was sent since the last pause.
    at_once: usize,
}

impl Slices {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.slices.push_back(bytes);
        }
    }

    /// The length of the whole in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.slices.iter().map(|bytes| bytes.len() as u64).sum()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// The whole in one piece, for a client that takes no body in pieces. It is copied, unless it is one
    /// piece already.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.slices.front() {
            Some(only) if self.slices.len() == 1 => only.clone(),
            _ => self.slices.iter().flatten().copied().collect(),
        }
    }
}

impl From<Bytes> for Slices {
    fn from(bytes: Bytes) -> Self {
        let mut slices = Self::default();
        slices.push(bytes);
        slices
    }
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at_once >= AT_ONCE {
            self.at_once = 0;
            // It is woken once the others had their turn.
            ready!(pin!(yield_now()).poll(cx));
        }
        let Some(slice) = self.slices.front_mut() else { return Poll::Ready(None) };
        let piece = slice.split_to(slice.len().min(PIECE));
        if slice.is_empty() {
            self.slices.pop_front();
        }
        self.at_once += piece.len();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn a_long_body_is_sent_in_pieces_with_pauses_for_others() {
        let long = Bytes::from(b"0123456789abc".repeat(300_000));
        let mut slices = Slices::default();
        for bytes in ["{".into(), long.clone(), "}".into()] {
            slices.push(bytes);
        }
        let whole = slices.to_bytes();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut sent, mut at_once, mut pauses) = (Vec::new(), 0, 0);
        loop {
            match Pin::new(&mut slices).poll_frame(&mut cx) {
                Poll::Pending => {
                    pauses += 1;
                    at_once = 0;
                }
                Poll::Ready(None) => break,
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap();
                    at_once += data.len();
                    assert!(data.len() <= PIECE && at_once <= AT_ONCE + PIECE);
                    sent.extend_from_slice(&data);
                    assert_eq!(slices.len(), (whole.len() - sent.len()) as u64);
                }
            }
        }
        assert!(pauses >= whole.len() / (AT_ONCE + PIECE), "{pauses}");
        assert!(sent == whole);
        // A short one has none.
        let mut short = Slices::from(Bytes::from(vec![b' '; AT_ONCE - 1]));
        while let Poll::Ready(Some(_)) = Pin::new(&mut short).poll_frame(&mut cx) {}
        assert!(short.is_empty());
    }
}
