//! Failures of a store.
//!
//! The layer turns one into a request without a pin, so clients seldom hear of it. They are for log lines and
//! counts, for callers that use a store themselves, and for your own store to say what went wrong. That
//! there is no pin, or that another claim came first, is no failure.

use std::fmt;

use crate::BoxError;

/// What kind of failure a [`StoreError`] is.
///
/// The layer treats all of them in the same way. They differ in what is to be done about them: nothing for
/// a `Timeout` that passes, look at the network for `Unavailable`, at memory and permissions for
/// `Refused`, at who else writes there for `Invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No answer within the time budget. The operation may have been applied all the same.
    Timeout,
    /// The store cannot be reached, or is not ready to serve.
    Unavailable,
    /// The store answered and refuses the operation: it is full, read-only, or forbids it.
    Refused,
    /// The store answered with something that is not a pin.
    Invalid,
    /// The store cannot promise yet that the pin would outlive a failure.
    Unconfirmed,
    /// A listing cannot continue from this cursor: no listing of this store returned it.
    InvalidCursor,
}

/// A store operation failed. A missing pin is not a failure.
///
/// ```
/// use affinity_layer::{StoreError, StoreErrorKind};
///
/// let cause = std::io::Error::other("connection reset");
/// let error = StoreError::new(StoreErrorKind::Unavailable, cause);
/// assert_eq!(error.to_string(), "the session store is unavailable");
/// assert!(std::error::Error::source(&error).is_some(), "the cause is kept for the log");
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<BoxError>,
}

impl StoreError {
    /// An error of `kind` with the reason behind it, which becomes its
    /// [source](std::error::Error::source) and is not part of its text. Let the reason hold no session id:
    /// it may be logged. Without a reason, use `From<StoreErrorKind>`.
    pub fn new(kind: StoreErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the store answered and said no.
    #[cfg(feature = "redis")]
    pub(crate) fn is_refusal(&self) -> bool {
        self.kind == StoreErrorKind::Refused
    }
}

impl From<StoreErrorKind> for StoreError {
    fn from(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Timeout => "the session store did not answer in time",
            StoreErrorKind::Unavailable => "the session store is unavailable",
            StoreErrorKind::Refused => "the session store refuses it",
            StoreErrorKind::Invalid => "the session store holds something that is not a pin",
            StoreErrorKind::Unconfirmed => "the session store cannot promise to keep the pin",
            StoreErrorKind::InvalidCursor => "no listing of the session store has this cursor",
        })
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
