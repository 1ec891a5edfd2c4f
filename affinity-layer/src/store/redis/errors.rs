//! Settings that cannot be used, and what an error of the client library says about Redis.

use std::fmt;

use fred::error::{Error, ErrorKind};

use crate::{BoxError, StoreError, StoreErrorKind};

/// A Redis cannot be used as it is described. The text never holds the address, which may hold a
/// password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfigError(pub(super) String);

impl fmt::Display for RedisConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RedisConfigError {}

/// Answers of a server that cannot serve yet, or not at this moment.
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
