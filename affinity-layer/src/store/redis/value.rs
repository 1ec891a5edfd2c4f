//! The stored value: a JSON object with at least `model_name` and `route_name`, so that
//! `redis-cli GET` shows what the older system showed, and what that one wrote is understood.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Epoch, MAX_CANDIDATES, ModelName, Pin, RouteName, Selection, StoreError, StoreErrorKind,
};

/// Longest value that is read, in bytes. Ours have some hundred.
pub(super) const MAX_VALUE_LEN: usize = 64 * 1024;

#[derive(Serialize)]
struct Written<'a> {
    model_name: &'a ModelName,
    route_name: Option<&'a RouteName>,
    candidates: &'a [ModelName],
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_up: Option<NonZeroU8>,
    epoch: u64,
    /// Scripts take it out of the text; see `confirm.rs`.
    #[serde(skip_serializing_if = "is_false")]
    unconfirmed: bool,
    /// Tells an answer that belongs to another question: a client that lost count of its answers
    /// must not give one session the pin of another.
    name_hash: String,
    /// Milliseconds since 1970. A script replaces it in the text, so it stands last.
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
pub(super) struct Stored {
    pub(super) pin: Pin,
    /// Whether it does not count before a replica of Redis holds it.
    pub(super) unconfirmed: bool,
}

/// The value of `pin` under `name`.
pub(super) fn encode(pin: &Pin, name: &str, unconfirmed: bool) -> String {
    let written = Written {
        model_name: pin.selection.model(),
        route_name: pin.selection.route(),
        candidates: pin.selection.candidates(),
        warm_up: NonZeroU8::new(pin.selection.warm_up()),
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

fn name_hash(name: &str) -> String {
    let hash = blake3::hash(name.as_bytes());
    let (short, _) = hash.as_bytes().split_at(8);
    short.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The pin in a value that was read under `name`, `None` when it names no model that could be used.
///
/// # Errors
///
/// [`StoreErrorKind::Invalid`] when the value was written under another name.
pub(super) fn decode(value: &[u8], name: &str) -> Result<Option<Stored>, StoreError> {
    let Some(read) = parse(value) else {
        return Ok(None);
    };
    if read.name_hash.as_str().is_some_and(|hash| hash != name_hash(name)) {
        return Err(StoreError::new(StoreErrorKind::Invalid, "the value belongs to another key"));
    }
    let unconfirmed = read.unconfirmed == Value::Bool(true);
    Ok(Some(Stored { pin: pin(read), unconfirmed }))
}

fn parse(value: &[u8]) -> Option<Read> {
    // An array would do as well for the derived code, its first element for the model.
    if value.len() > MAX_VALUE_LEN || value.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(value).ok()
}

fn pin(read: Read) -> Pin {
    let model = read.model_name;
    let route = read.route_name.as_str().and_then(|route| RouteName::new(route).ok());
    let candidates = read.candidates.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = candidates.iter().filter_map(Value::as_str);
    let mut candidates: Vec<ModelName> =
        names.filter_map(|name| ModelName::new(name).ok()).take(MAX_CANDIDATES).collect();
    if !candidates.contains(&model) {
        candidates.insert(0, model.clone());
    }
    let warm_up = read.warm_up.as_u64().and_then(|turns| turns.try_into().ok());
    let selection = Selection::stored(model, route, candidates);
    Pin {
        selection: Arc::new(selection.with_warm_up(warm_up.unwrap_or_default())),
        epoch: Epoch(read.epoch.as_u64().unwrap_or_default()),
        claimed_at: from_unix_millis(read.claimed_at.as_u64().unwrap_or_default()),
    }
}

pub(super) fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time beyond what the system can tell is 1970: a stored number must not be able to panic.
pub(super) fn from_unix_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod random;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RouteDecision;

    fn decode(value: &[u8]) -> Option<Pin> {
        super::decode(value, "name").unwrap().map(|stored| stored.pin)
    }

    fn encode(pin: &Pin) -> String {
        super::encode(pin, "name", false)
    }

    fn model(name: &str) -> ModelName {
        ModelName::new(name).unwrap()
    }

    #[test]
    fn a_pin_comes_back_as_it_went() {
        let decision = RouteDecision::new([model("a/one"), model("b/two")])
            .with_route(RouteName::new("it's \"quoted\"").unwrap());
        for turns in [0, 3] {
            let selection = Selection::best(decision.clone()).unwrap().with_warm_up(turns);
            let pin = Pin {
                selection: Arc::new(selection),
                epoch: Epoch(1_763_648_000_000_123),
                claimed_at: from_unix_millis(1_763_648_000_000),
            };
            let value = encode(&pin);
            assert_eq!(value.contains("warm_up"), turns > 0, "{value}");
            assert_eq!(decode(value.as_bytes()), Some(pin));
        }
    }

    #[test]
    fn what_the_older_system_wrote_is_understood() {
        let pin = decode(br#"{"model_name":"openai/gpt-5.2","route_name":"deep_reasoning"}"#);
        let pin = pin.unwrap();
        assert_eq!(pin.selection.model().as_str(), "openai/gpt-5.2");
        assert_eq!(pin.selection.route().unwrap().as_str(), "deep_reasoning");
        assert_eq!(pin.selection.candidates(), [model("openai/gpt-5.2")]);
        assert_eq!(pin.epoch, Epoch(0));
        let null = decode(br#"{"model_name":"openai/gpt-4o","route_name":null}"#).unwrap();
        assert_eq!(null.selection.route(), None);
    }

    #[test]
    fn boundary_values_are_read_without_a_panic() {
        for extreme in ["0", "-1", "1.5", "18446744073709551615", "18446744073709551616", "\"x\""] {
            for field in ["epoch", "claimed_at", "candidates", "warm_up", "route_name", "unknown"] {
                let text = format!("{{\"model_name\":\"a/b\",\"{field}\":{extreme}}}");
                let pin = decode(text.as_bytes()).unwrap();
                assert_eq!(pin.selection.model().as_str(), "a/b", "{text}");
                assert_eq!(decode(encode(&pin).as_bytes()).unwrap().epoch, pin.epoch);
            }
        }
    }

    #[test]
    fn what_names_no_usable_model_is_none() {
        let long = format!("{{\"model_name\":\"{}\"}}", "m".repeat(257));
        let huge = format!("{{\"model_name\":\"m\",\"x\":\"{}\"}}", "x".repeat(MAX_VALUE_LEN));
        for value in [
            "",
            "openai/gpt-4o",
            "null",
            "[]",
            "[\"a/b\"]",
            "{}",
            "{\"model_name\":null}",
            "{\"model_name\":\"\"}",
            "{\"model_name\":\"a\\r\\nb\"}",
            "{\"model_name\":\"caf\u{e9}\"}",
            "{\"model_name\":\"a/b\"",
            "{\"v\":9,\"data\":1}",
            &long,
            &huge,
        ] {
            assert_eq!(decode(value.as_bytes()), None, "{}", value.get(..40).unwrap_or(value));
        }
        assert_eq!(decode(b"{\"model_name\":\"a\xff\"}"), None);
    }

    #[test]
    fn what_is_not_confirmed_says_so() {
        let pin = decode(br#"{"model_name":"a/b"}"#).unwrap();
        for unconfirmed in [true, false] {
            let value = super::encode(&pin, "name", unconfirmed);
            assert_eq!(value.contains("\"unconfirmed\":true,"), unconfirmed, "{value}");
            let stored = super::decode(value.as_bytes(), "name").unwrap().unwrap();
            assert_eq!(stored, Stored { pin: pin.clone(), unconfirmed });
        }
    }

    #[test]
    fn a_value_of_another_name_is_no_answer() {
        let pin = decode(br#"{"model_name":"a/b"}"#).unwrap();
        let value = encode(&pin);
        let other = super::decode(value.as_bytes(), "other").unwrap_err();
        assert_eq!(other.kind(), StoreErrorKind::Invalid);
        assert_eq!(decode(value.as_bytes()), Some(pin));
    }
}
