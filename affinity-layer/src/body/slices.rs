//! A body in pieces: what is sent in place of the bytes of the client.
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

    /// The whole in one piece, for a client that takes no body in pieces. It is copied, unless it is one
    /// piece already.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.0.front() {
            Some(only) if self.0.len() == 1 => only.clone(),
            _ => self.0.iter().flatten().copied().collect(),
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
