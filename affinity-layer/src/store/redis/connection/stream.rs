//! What a greeting and a relay need of a connection to a server: bytes in both directions.

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream to a server, whatever it runs over.
pub(super) type ServerStream = Box<dyn Stream>;

/// What a [`ServerStream`] can do.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
