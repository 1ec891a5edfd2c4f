//! A closer look at a body: serde_json checks every byte, and positions are taken from what it lends.
//!
//! It is the slower of two ways: [`quick`](super::quick) gives up on whatever is unusual, and every refusal
//! is worded here. Nesting and numbers are checked in a second pass, because serde_json skips over
//! what it lends.

use std::borrow::Cow;
use std::fmt;

use crate::key::BodyIds;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::content::{Content, Contents, Place};
use super::disguise::passes_for;
use super::error::{BodyError, Fault};
use super::key::Key;
use super::members::Found;
use super::values::{invalid_value, is_checked};

/// Where our members are in `text`, or why it is refused.
pub(super) fn find(text: &str) -> Result<Found, BodyError> {
    if text.starts_with('\u{feff}') {
        return Err(BodyError::Syntax { fault: Fault::ByteOrderMark, line: 1, column: 1 });
    }
    let members: Members<'_> = serde_json::from_str(text).map_err(refused)?;
    if let Some(name) = members.duplicate {
        return Err(BodyError::Duplicate(name));
    }
    if let Some(name) = members.disguised {
        return Err(BodyError::Disguised(name));
    }
    if let Some(name) = members.invalid {
        return Err(BodyError::Value(name));
    }
    // What is lent was skipped over, also where another value of the same name took its place.
    serde_json::from_str::<Checked>(text).map_err(refused)?;
    let position = |value: &RawValue| {
        let start = value.get().as_ptr() as usize - text.as_ptr() as usize;
        start..start + value.get().len()
    };
    Ok(Found {
        model: members.model.map(position),
        preferences: members.preferences.map(position),
        ids: members.ids.map(|id| id.map(position)),
        is_background: members.is_background,
        contents: members.contents,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: serde_json::Error) -> BodyError {
    if error.is_data() {
        return BodyError::Type;
    }
    // serde_json names its errors only in their text.
    let text = error.to_string();
    let fault = if text.starts_with("recursion limit exceeded") {
        Fault::Nesting
    } else if text.starts_with("number out of range") {
        Fault::Number
    } else {
        Fault::Json
    };
    BodyError::Syntax { fault, line: error.line(), column: error.column() }
}

#[derive(Default)]
struct Members<'a> {
    model: Option<&'a RawValue>,
    preferences: Option<&'a RawValue>,
    contents: Contents,
    is_background: bool,
    /// In the order of [`BodyIds::MEMBERS`].
    ids: [Option<&'a RawValue>; BodyIds::MEMBERS.len()],
    disguised: Option<&'static str>,
    duplicate: Option<&'static str>,
    invalid: Option<&'static str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object(Members::default()))
    }
}

struct Object<'a>(Members<'a>);

impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
        let Self(mut members) = self;
        while let Some(Key(key)) = map.next_key()? {
            // It is lent unless it holds escapes.
            if let Some(ours) = passes_for(&key, matches!(key, Cow::Owned(_))) {
                members.disguised = Some(ours);
            }
            let (name, place) = match &*key {
                "model" => ("model", &mut members.model),
                "routing_preferences" => ("routing_preferences", &mut members.preferences),
                key @ ("messages" | "input") => {
                    let seed = Content::at(Place::Content, &mut members.contents);
                    let is_list = map.next_value_seed(seed)?;
                    if key == "messages" && !is_list {
                        members.invalid = Some("messages");
                    }
                    continue;
                }
                "background" => {
                    let value: &RawValue = map.next_value()?;
                    members.is_background |= value.get() == "true";
                    continue;
                }
                key if is_checked(key.as_bytes()) => {
                    let value: &RawValue = map.next_value()?;
                    members.invalid = invalid_value(key, value.get()).or(members.invalid);
                    continue;
                }
                key => {
                    let id = BodyIds::MEMBERS.iter().position(|member| *member == key);
                    let place = Place::of(key.as_bytes());
                    if let Some(id) = id.and_then(|id| members.ids.get_mut(id)) {
                        let value: &RawValue = map.next_value()?;
                        let mut lent = serde_json::Deserializer::from_str(value.get());
                        let seed = Content::at(place, &mut members.contents);
                        // What is wrong with it is found by the second pass.
                        let _ = seed.deserialize(&mut lent);
                        *id = Some(value);
                    } else if place != Place::Other {
                        map.next_value_seed(Content::at(place, &mut members.contents))?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                    continue;
                }
            };
            if place.replace(map.next_value()?).is_some() {
                members.duplicate = Some(name);
            }
        }
        Ok(members)
    }
}

/// A value that is parsed and dropped. `IgnoredAny`, like a value that is lent, would let lone
/// surrogates, numbers out of range and any depth pass, which a provider's parser then stumbles over.
pub(super) struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}
