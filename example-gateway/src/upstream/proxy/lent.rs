//! The body of an answer, and the connection that it comes over.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use pin_project_lite::pin_project;

use super::pool::Pool;
use crate::body::Slices;

pin_project! {
    /// The body of an answer; with its last byte the connection is free again.
    #[derive(Debug)]
    pub(super) struct Lent {
        #[pin]
        body: Incoming,
        lender: Option<(SendRequest<Slices>, Arc<Pool>)>,
    }
}

impl Lent {
    pub(super) fn new(body: Incoming, lender: Option<(SendRequest<Slices>, Arc<Pool>)>) -> Self {
        let mut lent = Self { body, lender };
        if lent.body.is_end_stream() {
            give_back(&mut lent.lender);
        }
        lent
    }
}

fn give_back(lender: &mut Option<(SendRequest<Slices>, Arc<Pool>)>) {
    if let Some((connection, pool)) = lender.take() {
        pool.give_back(connection);
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(None) => true,
            _ => false,
        };
        if is_over {
            give_back(this.lender);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
