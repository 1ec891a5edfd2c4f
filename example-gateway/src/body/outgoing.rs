//! What a provider is sent: a body that is here whole, or one that passes.

use std::pin::Pin;
use std::task::{Context, Poll};

use affinity_layer::body::Slices;
use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::upload::Upload;

/// The body of a request to a provider.
#[derive(Debug)]
pub enum Outgoing {
    /// All of it is here: it can be sent again.
    Whole(Slices),
    /// It arrives while it is sent, and can be sent once.
    Passing(Box<Upload>),
}

impl Outgoing {
    /// The same body for another attempt, if there may be one.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(slices) => Some(Self::Whole(slices.clone())),
            Self::Passing(_) => None,
        }
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::Whole(Slices::default())
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::Whole(slices) => Pin::new(slices).poll_frame(cx).map_err(|never| match never {}),
            Self::Passing(upload) => Pin::new(&mut **upload).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(slices) => slices.is_end_stream(),
            Self::Passing(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(slices) => slices.size_hint(),
            Self::Passing(upload) => upload.size_hint(),
        }
    }
}
