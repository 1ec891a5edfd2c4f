//! Settings that cannot be used, and what an error of the client library says about Redis.
//!
//! What a caller has to know is whether Redis *answered*: an answer, even a refusal, shows that it
//! is there, and silence shows nothing. The kinds follow from that:
//!
//! | Redis said | kind | means |
//! |---|---|---|
//! | nothing in time | `Timeout` | the command may have been applied |
//! | `WRONGTYPE`, or what cannot be a reply | `Invalid` | this name or this answer is of no use; Redis is well |
//! | `BUSY`, `LOADING`, `MASTERDOWN`, `TRYAGAIN`, `UNKILLABLE` | `Unavailable` | it passes by itself |
//! | another error: `OOM`, `READONLY`, `NOPERM`, … | `Refused` | it stays until someone does something |
//! | the connection is lost | `Unavailable` | |
//!
//! The difference between the last two matters most: while Redis is away, a replica may go on by
//! itself; while it refuses, other replicas may still read their pins from it, and a decision made
//! here alone must not be reported as a pin.

use std::fmt;

use fred::error::{Error, ErrorKind};

use crate::{BoxError, StoreError, StoreErrorKind};

/// A Redis cannot be used as it is described. The text never holds the address, which may hold a
/// password.
///
/// ```
/// use affinity_layer::RedisOptions;
///
/// let error = RedisOptions::from_url("http://user:secret@localhost").unwrap_err();
/// assert!(!error.to_string().contains("secret"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfigError(pub(super) String);

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RedisConfigError {}

/// Answers of a server that cannot serve yet, or not at this moment.
///
/// A script of someone else that runs too long is `BUSY` or `UNKILLABLE`; a server that reads its
/// data is `LOADING`; a replica without a primary is `MASTERDOWN`; a slot that moves while a
/// command needs it is `TRYAGAIN`.
const NOT_NOW: [&str; 5] = ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "UNKILLABLE"];

/// Whether Redis answered and said no.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        // The client files what an access list forbids under authentication.
        ErrorKind::Auth
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Config
            | ErrorKind::Unknown
    )
}

/// The failure of a store operation whose command ended with `error`.
///
/// The library's error stays as the source, for logs and for the breaker of claims.
pub(super) fn store_error(error: Error) -> StoreError {
    let code = error.details().split_ascii_whitespace().next().unwrap_or_default();
    let kind = match error.kind() {
        ErrorKind::Timeout => StoreErrorKind::Timeout,
        _ if code == "WRONGTYPE" => StoreErrorKind::Invalid,
        ErrorKind::Parse => StoreErrorKind::Invalid,
        _ if NOT_NOW.contains(&code) => StoreErrorKind::Unavailable,
        _ if is_refusal(&error) => StoreErrorKind::Refused,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, BoxError::from(error))
}
