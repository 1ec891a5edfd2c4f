//! The body of a request, held only when somebody has to read it.

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{BoxError, Rejection};

/// A body that can be held for the router.
pub(super) trait Readable: Body<Data = Bytes, Error: Into<BoxError>> {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Readable for B {}

/// A body as it came, or its bytes once they were read.
pub(super) struct Payload<B> {
    state: State<B>,
    limit: usize,
}

enum State<B> {
    Untouched(B),
    Read(Bytes),
}

impl<B> Payload<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { state: State::Untouched(body), limit }
    }

    /// The bytes of the body; a declared length over the limit is refused before it is read.
    pub(super) async fn read(&mut self) -> Result<Bytes, Rejection>
    where
        B: Readable,
    {
        let body = match std::mem::replace(&mut self.state, State::Read(Bytes::new())) {
            State::Untouched(body) => body,
            State::Read(bytes) => {
                self.state = State::Read(bytes.clone());
                return Ok(bytes);
            }
        };
        if body.size_hint().lower() > u64::try_from(self.limit).unwrap_or(u64::MAX) {
            return Err(Rejection::BodyTooLarge(self.limit));
        }
        let limited = Limited::new(body, self.limit);
        let bytes = Box::pin(limited.collect()).await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Rejection::BodyTooLarge(self.limit)
            } else {
                Rejection::InvalidBody
            }
        })?;
        let bytes = bytes.to_bytes();
        self.state = State::Read(bytes.clone());
        Ok(bytes)
    }

    /// The body for the inner service: untouched if nobody read it.
    pub(super) fn into_body(self) -> B
    where
        B: From<Bytes>,
    {
        match self.state {
            State::Untouched(body) => body,
            State::Read(bytes) => B::from(bytes),
        }
    }
}
