//! Why a router gave no decision.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use affinity_layer::BoxError;

/// What kind of failure a [`RouterError`] is.
///
/// | kind | tried again by [`RouterClient`](crate::RouterClient) |
/// |---|---|
/// | [`Connect`](Self::Connect) | yes |
/// | [`Status`](Self::Status) | 429, 500, 502, 503 and 504 |
/// | any other | no: the next answer would be the same, or there is no time left |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The router was set up with a URL or credential that cannot be used, or the system's
    /// certificates could not be read.
    Config,
    /// No connection was made, or it broke before the answer was whole.
    Connect,
    /// The decision took longer than [`RouterClientBuilder::timeout`](crate::RouterClientBuilder::timeout).
    Timeout,
    /// The answer has this status, which is not 200. Redirects are not followed.
    Status(u16),
    /// The answer is not a decision: prose, HTML, JSON of another shape.
    Malformed,
    /// The answer is larger than 64 KiB.
    TooLarge,
}

/// A router failed. This is never a decision: nothing may be stored for it.
///
/// Neither the message nor the sources hold any text of the request or the answer, so it may be
/// logged as it is.
///
/// ```
/// use router_client::{ErrorKind, RouterError};
/// use std::error::Error;
///
/// let error = RouterError::new(ErrorKind::Status(503)).with_source("the queue is full");
/// assert!(error.is_retryable());
/// assert_eq!(error.kind(), ErrorKind::Status(503));
/// assert_eq!(error.source().unwrap().to_string(), "the queue is full");
/// ```
#[derive(Clone, Debug)]
pub struct RouterError {
    kind: ErrorKind,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl RouterError {
    /// An error of `kind`, for routers of your own.
    #[must_use]
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Names the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same question may be answered a moment later: no connection, or a status of
    /// 429, 500, 502, 503 or 504.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Connect | ErrorKind::Status(429 | 500 | 502 | 503 | 504))
    }
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::Config => f.write_str("the router is not set up correctly"),
            ErrorKind::Connect => f.write_str("the router cannot be reached"),
            ErrorKind::Timeout => f.write_str("the router did not decide in time"),
            ErrorKind::Status(status) => write!(f, "the router answered with status {status}"),
            ErrorKind::Malformed => f.write_str("the router's answer is not a decision"),
            ErrorKind::TooLarge => f.write_str("the router's answer is too large"),
        }
    }
}

impl Error for RouterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_failures_are_retried() {
        let retryable = |kind| RouterError::new(kind).is_retryable();
        for status in [429, 500, 502, 503, 504] {
            assert!(retryable(ErrorKind::Status(status)), "{status}");
        }
        for status in [302, 400, 401, 404, 501] {
            assert!(!retryable(ErrorKind::Status(status)), "{status}");
        }
        assert!(retryable(ErrorKind::Connect));
        for kind in
            [ErrorKind::Config, ErrorKind::Timeout, ErrorKind::Malformed, ErrorKind::TooLarge]
        {
            assert!(!retryable(kind), "{kind:?}");
        }
    }

    #[test]
    fn the_cause_is_the_source() {
        let error = RouterError::new(ErrorKind::Malformed).with_source("not JSON");
        assert_eq!(error.to_string(), "the router's answer is not a decision");
        assert_eq!(error.source().unwrap().to_string(), "not JSON");
    }
}
