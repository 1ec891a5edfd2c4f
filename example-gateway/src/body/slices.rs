//! A body in pieces: what the proxy sends in place of the bytes of the client.
//!
//! To replace the name of a model in a body of megabytes, the bytes before and after it are sent as slices of
//! the one buffer, and only the name is new. The length is known, so that the request needs no chunks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// A body in several pieces, of known length.
#[derive(Clone, Debug, Default)]
pub struct Slices(VecDeque<Bytes>);

impl Slices {
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.0.push_back(bytes);
        }
    }

    /// The length of the whole in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.iter().map(|bytes| bytes.len() as u64).sum()
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The whole in one piece.
    #[cfg(test)]
    pub(super) fn concat(&self) -> Vec<u8> {
        self.0.iter().flatten().copied().collect()
    }
}

impl Body for Slices {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}
