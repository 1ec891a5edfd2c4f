//! The stored value: a JSON object with at least `model_name` and `route_name`, so that `redis-cli
//! GET` shows what the older system showed, and what that one wrote is understood.
//!
//! ```json
//! {"model_name":"openai/gpt-4o","route_name":"code","candidates":["openai/gpt-4o"],
//!  "epoch":7353127876905156180,"name_hash":"0123456789abcdef","claimed_at":1763648000000}
//! ```
//!
//! (in one line; `warm_up`, `foreign` and `unconfirmed` are there only if they say something.)
//!
//! 1. **Lenient when read.** Only the model must be there and usable. A part that is missing or of
//!    another form counts as absent, so replicas of different versions share a Redis while one
//!    replaces the other.
//! 2. **Strict about whose it is.** `name_hash` must be that of the name that was asked for, if it
//!    is there at all. Otherwise the connection may have answered another question.
//! 3. **Fixed when written.** Scripts find `"epoch"`, `"unconfirmed":true,` and the final
//!    `"claimed_at"` in the text. Their order in `Written` is part of the protocol.

use std::num::NonZeroU8;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::epochs::{from_unix_millis, unix_millis};
use crate::state::StateMark;
use crate::{Epoch, ModelName, Pin, RouteName, Selection, StoreError, StoreErrorKind};

/// Longest value that is read, in bytes. Ours have some hundred.
pub(in crate::store::redis) const MAX_VALUE_LEN: usize = 64 * 1024;

/// What is written; fields in the order of the text.
#[derive(Serialize)]
struct Written<'a> {
    model_name: &'a ModelName,
    route_name: Option<&'a RouteName>,
    candidates: &'a [ModelName],
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_up: Option<NonZeroU8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    foreign: Option<String>,
    epoch: u64,
    /// Scripts take it out of the text; see `confirm.rs`.
    #[serde(skip_serializing_if = "is_false")]
    unconfirmed: bool,
    /// Tells an answer that belongs to another question: a client that lost count of its answers
    /// must not give one session the pin of another.
    name_hash: String,
    /// Milliseconds since 1970. A script replaces it in the text, so it comes last.
    claimed_at: u64,
}

/// Everything but the model may be missing or of another form: a newer or older writer's value is
/// honoured as far as it is understood.
#[derive(Deserialize)]
struct Read {
    model_name: ModelName,
    #[serde(default)]
    route_name: Value,
    #[serde(default)]
    candidates: Value,
    #[serde(default)]
    warm_up: Value,
    #[serde(default)]
    foreign: Value,
    #[serde(default)]
    epoch: Value,
    #[serde(default)]
    unconfirmed: Value,
    #[serde(default)]
    name_hash: Value,
    #[serde(default)]
    claimed_at: Value,
}

/// A pin as it rests in Redis.
#[derive(Debug, PartialEq)]
pub(in crate::store::redis) struct Stored {
    pub(in crate::store::redis) pin: Pin,
    /// Whether it does not count before a replica of Redis holds it.
    pub(in crate::store::redis) unconfirmed: bool,
}

/// The value of `pin` under `name`.
pub(in crate::store::redis) fn encode(pin: &Pin, name: &str, unconfirmed: bool) -> String {
    let written = Written {
        model_name: pin.selection.model(),
        route_name: pin.selection.route(),
        candidates: pin.selection.candidates(),
        warm_up: NonZeroU8::new(pin.selection.warm_up()),
        foreign: pin.selection.foreign().map(|mark| mark.to_string()),
        epoch: pin.epoch.0,
        unconfirmed,
        name_hash: name_hash(name),
        claimed_at: unix_millis(pin.claimed_at),
    };
    // Names and numbers always make JSON.
    serde_json::to_string(&written).unwrap_or_default()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// 64 bits of a hash, enough to tell two names apart. It reveals nothing: whoever reads the value
/// has its name.
fn name_hash(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes());
    hash.to_hex().chars().take(16).collect()
}

/// The pin in a value that was read under `name`, `None` when it names no model that could be used.
///
/// # Errors
///
/// [`StoreErrorKind::Invalid`] when the value was written under another name.
pub(in crate::store::redis) fn decode(
    value: &[u8],
    name: &str,
) -> Result<Option<Stored>, StoreError> {
    let Some(read) = parse(value) else {
        return Ok(None);
    };
    if read.name_hash.as_str().is_some_and(|hash| hash != name_hash(name)) {
        return Err(StoreError::new(StoreErrorKind::Invalid, "the value belongs to another key"));
    }
    let unconfirmed = read.unconfirmed == Value::Bool(true);
    Ok(Some(Stored { pin: pin(read), unconfirmed }))
}

/// `None` for what is too long, no object, or has no model.
fn parse(value: &[u8]) -> Option<Read> {
    // An array would do as well for the derived code, its first element for the model.
    if value.len() > MAX_VALUE_LEN || value.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(value).ok()
}

/// The pin that the parts make. The model in use is always among the candidates.
fn pin(read: Read) -> Pin {
    let model = read.model_name;
    let route = read.route_name.as_str().and_then(|route| RouteName::new(route).ok());
    let candidates = read.candidates.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = candidates.iter().filter_map(Value::as_str);
    let candidates = names.filter_map(|name| ModelName::new(name).ok());
    let warm_up = read.warm_up.as_u64().and_then(|turns| turns.try_into().ok());
    let selection = Selection::new(model, route, candidates)
        .with_warm_up(warm_up.unwrap_or_default())
        .with_foreign(read.foreign.as_str().and_then(StateMark::parse));
    Pin {
        selection: Arc::new(selection),
        epoch: Epoch(read.epoch.as_u64().unwrap_or_default()),
        claimed_at: from_unix_millis(read.claimed_at.as_u64().unwrap_or_default()),
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
