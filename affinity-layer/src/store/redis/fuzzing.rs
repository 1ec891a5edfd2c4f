//! The stored value, for the targets in `fuzz`.
//!
//! Any program may write to the Redis of a gateway, so the value is input from outside, as a
//! request is.

use super::protocol::value::{self, Stored};
use crate::{Pin, StoreError};

/// The pin in a value that was read under `name`, and whether it is unconfirmed.
///
/// # Errors
///
/// When the value was written under another name.
pub fn decode(value: &[u8], name: &str) -> Result<Option<(Pin, bool)>, StoreError> {
    let stored = value::decode(value, name)?;
    Ok(stored.map(|Stored { pin, unconfirmed }| (pin, unconfirmed)))
}

/// The value of `pin` under `name`.
#[must_use]
pub fn encode(pin: &Pin, name: &str, unconfirmed: bool) -> String {
    value::encode(pin, name, unconfirmed)
}
