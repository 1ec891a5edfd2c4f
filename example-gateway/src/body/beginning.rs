//! The beginning of a body, read before it is known who gets it.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio_stream::StreamExt;

/// What was read of a body.
#[derive(Debug)]
pub(crate) enum Beginning {
    /// All of its data.
    Whole(Bytes),
    /// The body is longer: this is all of it.
    Longer(Body),
}

impl Beginning {
    /// Reads all of `body`, or `limit` bytes and the piece that goes beyond them.
    ///
    /// # Errors
    ///
    /// When the body breaks off before.
    pub(crate) async fn of(mut body: Body, limit: usize) -> Result<Self, axum::Error> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // What follows trailers is the end.
            let Ok(data) = frame?.into_data() else { break };
            read.extend_from_slice(&data);
            if read.len() > limit {
                let read = tokio_stream::once(Ok(read.freeze()));
                return Ok(Self::Longer(Body::from_stream(read.chain(body.into_data_stream()))));
            }
        }
        Ok(Self::Whole(read.freeze()))
    }
}
