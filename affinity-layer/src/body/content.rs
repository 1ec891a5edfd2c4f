//! What the messages of a body hold besides text, found by structure, so that no text can pass for an
//! image or a file.
//!
//! Content is a list of parts, each with a `type`; a part may hold parts again, as the result of a tool
//! does. Nothing else is looked into: the arguments of a tool call may hold any JSON. [`Place::of`] and
//! [`Place::within`] say what is, for both ways of reading a body.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::inputs::Inputs;
use super::key::Key;

/// What was found in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Kinds of input other than text.
    pub(super) inputs: Inputs,
    /// Whether there may be what only the vendor that made it can read, such as signed thinking.
    pub(super) may_be_foreign: bool,
    /// Whether it refers to what lives at one provider, such as a file or an earlier response.
    pub(super) refers: bool,
}

impl Contents {
    /// Notes what the `type` of a part means.
    pub(super) fn note_type(&mut self, part: &[u8]) {
        match part {
            b"image_url" | b"image" | b"input_image" | b"computer_screenshot" => {
                self.inputs.image = true;
            }
            b"input_audio" => self.inputs.audio = true,
            b"file" | b"document" | b"input_file" => self.inputs.file = true,
            b"thinking" | b"redacted_thinking" | b"reasoning" => self.may_be_foreign = true,
            b"item_reference" => self.refers = true,
            _ => {}
        }
    }
}

/// Where a value is in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where messages or their parts may be.
    Content,
    /// The `type` of one.
    Type,
    /// The calls of tools in a message of Chat.
    Calls,
    /// What the text of a part cites.
    Citations,
    /// What a part is made from: a file, or bytes.
    Source,
    /// The tools.
    Tools,
    /// A string here names what lives at one provider, or an object by its `id` or `file_ids`.
    Reference,
    /// A stored prompt, named by its `id`.
    Prompt,
    Other,
}

impl Place {
    /// The place of the top-level member `key`.
    pub(super) fn of(key: &[u8]) -> Self {
        match key {
            b"messages" | b"input" => Self::Content,
            b"tools" => Self::Tools,
            b"previous_response_id" | b"conversation" | b"container" => Self::Reference,
            b"prompt" => Self::Prompt,
            _ => Self::Other,
        }
    }

    /// The place of the member `key` of an object here; what the key alone says is noted.
    #[inline]
    pub(super) fn within(self, key: &[u8], found: &mut Contents) -> Self {
        match (self, key) {
            (Self::Other, _) => Self::Other,
            (Self::Content | Self::Type, _) => Self::within_content(key, found),
            (
                Self::Calls,
                b"extra_content" | b"provider_specific_fields" | b"thought_signature",
            )
            | (Self::Citations, b"encrypted_index") => {
                found.may_be_foreign = true;
                Self::Other
            }
            (Self::Source, b"file_id")
            | (Self::Tools, b"container" | b"file_ids" | b"vector_store_ids")
            | (Self::Reference, b"id" | b"file_ids")
            | (Self::Prompt, b"id") => Self::Reference,
            _ => Self::Other,
        }
    }

    fn within_content(key: &[u8], found: &mut Contents) -> Self {
        match key {
            b"type" => Self::Type,
            b"content" | b"output" => Self::Content,
            b"tool_calls" => Self::Calls,
            b"citations" => Self::Citations,
            b"file" | b"source" => Self::Source,
            b"file_id" => Self::Reference,
            b"encrypted_content"
            | b"encrypted_stdout"
            | b"reasoning_details"
            | b"thinking_blocks"
            | b"thought_signature"
            | b"extra_content"
            | b"provider_specific_fields" => {
                found.may_be_foreign = true;
                Self::Other
            }
            _ => Self::Other,
        }
    }

    /// The place of the elements of a list here.
    pub(super) fn of_elements(self) -> Self {
        if self == Self::Type { Self::Content } else { self }
    }
}

/// Checks a value, and notes what it holds. Returns whether the value is a list, or `null` instead of one.
pub(super) struct Content<'a> {
    found: &'a mut Contents,
    place: Place,
}

impl<'a> Content<'a> {
    pub(super) fn at(place: Place, found: &'a mut Contents) -> Self {
        Self { found, place }
    }
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_str<E>(self, text: &str) -> Result<bool, E> {
        match self.place {
            Place::Type => self.found.note_type(text.as_bytes()),
            Place::Reference => self.found.refers |= !text.is_empty(),
            _ => {}
        }
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let Self { found, place } = self;
        let place = place.of_elements();
        while seq.next_element_seed(Content { found: &mut *found, place })?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self { found, place } = self;
        while let Some(Key(key)) = map.next_key()? {
            match place.within(key.as_bytes(), found) {
                Place::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
                place => {
                    map.next_value_seed(Content { found: &mut *found, place })?;
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::body::JsonBody;

    fn found(body: &str) -> [bool; 3] {
        let inputs = JsonBody::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap().inputs();
        [inputs.image, inputs.audio, inputs.file]
    }

    #[test]
    fn parts_of_each_protocol_are_found() {
        let in_messages = |part: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"x"}},{part}]}}]}}"#
            )
        };
        let in_tool_result =
            |part: &str| in_messages(&format!(r#"{{"type":"tool_result","content":[{part}]}}"#));
        let in_input = |part: &str| {
            format!(
                r#"{{"input":[{{"role":"user","content":[{part}]}},{{"role":"user","content":"x"}}]}}"#
            )
        };
        let in_output = |part: &str| {
            format!(
                r#"{{"input":[{{"type":"function_call_output","call_id":"1","output":[{part}]}}]}}"#
            )
        };
        let (image, audio, file) =
            ([true, false, false], [false, true, false], [false, false, true]);
        for (body, expected) in [
            (in_messages(r#"{"type":"image_url","image_url":{"url":"data:"}}"#), image),
            (in_messages(r#"{"input_audio":{},"type":"input_audio"}"#), audio),
            (in_messages(r#"{"type":"file","file":{"file_id":"f"}}"#), file),
            (in_messages(r#"{"type":"image","source":{"type":"url"}}"#), image),
            (in_messages(r#"{"\u0074ype":"\u0069mage"}"#), image),
            (in_messages(r#"{"type":"document","source":{"type":"base64"}}"#), file),
            (in_tool_result(r#"{"type":"image","source":{"type":"base64"}}"#), image),
            (in_input(r#"{"type":"input_image","image_url":"x"}"#), image),
            (in_input(r#"{"type":"input_file","file_id":"x"}"#), file),
            (in_output(r#"{"type":"input_image","image_url":"x"}"#), image),
            (r#"{"input":[{"output":{"type":"computer_screenshot"}}]}"#.to_owned(), image),
        ] {
            assert_eq!(found(&body), expected, "{body}");
        }
        let both = in_messages(r#"{"type":"image_url"},{"type":"file"}"#);
        assert_eq!(found(&both), [true, false, true]);
    }

    #[test]
    fn what_only_reads_like_a_part_is_none() {
        for body in [
            r#"{"messages":[{"role":"user","content":"{\"type\":\"image_url\"}"}]}"#,
            r#"{"messages":[{"content":[{"type":"text","text":"image_url","x":{"type":"image"}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"type":"image","content":[{"type":"image"}]}}]}]}"#,
            r#"{"messages":[{"tool_calls":[{"type":"function","function":{"arguments":"image_url"}}]}]}"#,
            r#"{"tools":[{"type":"image_generation"},{"type":"file"}],"input":"type: image"}"#,
            r#"{"metadata":{"content":[{"type":"image"}]},"input":[{"type":"message","content":"x"}]}"#,
            r#"{"messages":null,"input":3}"#,
            r#"{"messages":[{"type":["image"],"content":{"type":null}}]}"#,
        ] {
            assert_eq!(found(body), [false; 3], "{body}");
        }
    }

    #[test]
    fn messages_are_checked_like_the_rest() {
        for body in [
            r#"{"messages":[{"type":"\ud800"}]}"#,
            r#"{"messages":[{"content":[1e999]}]}"#,
            r#"{"input":[{"content":[}]}"#,
        ] {
            assert!(JsonBody::parse(Bytes::from(body)).is_err(), "{body}");
        }
        let deep = format!(r#"{{"messages":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(JsonBody::parse(Bytes::from(deep)).is_err());
    }
}
