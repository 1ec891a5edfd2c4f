//! The body of a request, held in memory only if it has to be read.
//!
//! A pinned request's body streams through untouched, however long it is. That of a request which has to
//! be routed is needed twice: by the router, which judges the prompt, and by the inner service. So it is
//! collected up to a limit and put back as one piece. [`ReadBody`] is how, and `Payload` sees to it that
//! a request reads its body once, wherever on its way it is first needed.

use std::future::Future;
use std::mem;

use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{BoxError, Rejection};

/// A request body that the affinity layer can read and pass on whole.
///
/// Every body of `Bytes` that can be made from `Bytes` is one, such as `Full<Bytes>` or axum's `Body`: it
/// is collected, and rebuilt from what was read, without its trailers. Implement this for a body that
/// knows more than its bytes (the place of a member in it, say) and must not lose that on a request that
/// has to be routed.
///
/// A pinned request's body is never read.
///
/// ```
/// use affinity_layer::{Rejection, affinity::ReadBody};
/// use bytes::Bytes;
///
/// /// A checked body, and where `model` is in it.
/// struct Checked {
///     bytes: Bytes,
///     model: std::ops::Range<usize>,
/// }
///
/// impl ReadBody for Checked {
///     async fn read(&mut self, limit: usize) -> Result<Bytes, Rejection> {
///         match self.bytes.len() > limit {
///             true => Err(Rejection::BodyTooLarge(limit)),
///             false => Ok(self.bytes.clone()),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the affinity layer cannot read a request body of type `{Self}` and put it back",
    label = "not a body of `Bytes` that is `From<Bytes>`",
    note = "a layer outside, such as `RequestBodyLimitLayer` or `RequestDecompressionLayer`, has changed the \
            body: put `tower_http::map_request_body::MapRequestBodyLayer::new(axum::body::Body::new)` between \
            it and the affinity layer",
    note = "a body of your own may implement `affinity_layer::affinity::ReadBody`"
)]
pub trait ReadBody {
    /// Reads the body and returns its bytes. The body yields them once more to the inner service.
    ///
    /// # Behavior
    ///
    /// - It is called at most once for a request, and not at all for one whose pin is at hand.
    /// - A body whose declared length is over `limit` is refused before any of it is read.
    /// - After an error the body is dropped with the refused request; it need not be whole.
    /// - There is no time limit: a server bounds how long a client may take to send its body.
    ///
    /// # Errors
    ///
    /// [`Rejection::BodyTooLarge`] for more than `limit` bytes, before they are read where a length is
    /// declared; [`Rejection::InvalidBody`] for a body that breaks off.
    fn read(&mut self, limit: usize) -> impl Future<Output = Result<Bytes, Rejection>> + Send;

    /// Does `work` on `bytes`, which are those of a body that was read. The work looks for the session
    /// of a request that names none in its headers, and takes some nanoseconds for each byte.
    ///
    /// By default the thread that serves the request does it. A server that takes long bodies does the
    /// work on long ones on another thread, so that other clients do not wait for it.
    ///
    /// # Errors
    ///
    /// A [`Rejection`], with which the request is refused, when the work was not done.
    fn examine<T: Send + 'static>(
        bytes: Bytes,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, Rejection>> + Send {
        async move { Ok(work(&bytes)) }
    }
}

#[diagnostic::do_not_recommend]
impl<B> ReadBody for B
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + From<Bytes> + Send,
{
    async fn read(&mut self, limit: usize) -> Result<Bytes, Rejection> {
        if self.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(Rejection::BodyTooLarge(limit));
        }
        let body = mem::replace(self, Self::from(Bytes::new()));
        let collected = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Rejection::BodyTooLarge(limit)
            } else {
                Rejection::InvalidBody
            }
        })?;
        let bytes = collected.to_bytes();
        *self = Self::from(bytes.clone());
        Ok(bytes)
    }
}

/// The unchanged body, and its bytes once they were read. The bytes are shared with the body, so a body
/// that was read is held once.
pub(super) struct Payload<B> {
    body: B,
    bytes: Option<Bytes>,
    limit: usize,
}

impl<B: ReadBody> Payload<B> {
    pub(super) fn new(body: B, limit: usize) -> Self {
        Self { body, bytes: None, limit }
    }

    /// A body that stays unread: its bytes are taken to be none.
    pub(super) fn unread(body: B) -> Self {
        Self { body, bytes: Some(Bytes::new()), limit: 0 }
    }

    /// The bytes of the body; a declared length over the limit is refused before it is read. Later calls
    /// return what the first one has read.
    pub(super) async fn read(&mut self) -> Result<Bytes, Rejection> {
        if let Some(bytes) = &self.bytes {
            return Ok(bytes.clone());
        }
        // Boxed, so that the future of a request whose body is not read stays small.
        let bytes = Box::pin(self.body.read(self.limit)).await?;
        Ok(self.bytes.insert(bytes).clone())
    }

    /// The bytes, none before they were read.
    pub(super) fn bytes(&self) -> Bytes {
        self.bytes.clone().unwrap_or_default()
    }

    /// The body for the inner service: untouched unless it was read.
    pub(super) fn into_body(self) -> B {
        self.body
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    /// A body that knows something about itself.
    struct Labelled(Bytes, &'static str);

    impl ReadBody for Labelled {
        async fn read(&mut self, _: usize) -> Result<Bytes, Rejection> {
            Ok(self.0.clone())
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_after_it_was_read() {
        let mut payload = Payload::new(Full::new(Bytes::from_static(b"{}")), 2);
        for _ in 0..2 {
            assert_eq!(payload.read().await.unwrap(), "{}");
        }
        assert_eq!(payload.into_body().collect().await.unwrap().to_bytes(), "{}");
        let mut payload = Payload::new(Full::new(Bytes::from_static(b"{ }")), 2);
        assert_eq!(payload.read().await, Err(Rejection::BodyTooLarge(2)));
    }

    #[tokio::test]
    async fn a_body_of_ones_own_keeps_what_it_knows() {
        let mut payload = Payload::new(Labelled(Bytes::from_static(b"{}"), "label"), 2);
        assert_eq!(payload.read().await.unwrap(), "{}");
        assert_eq!(payload.into_body().1, "label");
    }
}
