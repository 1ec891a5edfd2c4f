//! Kinds of input other than text in messages, found by structure, so that no text can pass for an
//! image.
//!
//! Content is a list of parts, each with a `type`; a part may hold parts again, as the result of a tool
//! does. Nothing else is looked into: the arguments of a tool call may hold any JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::members::Key;
use crate::config::Inputs;

/// Checks messages, or parts of one, and notes what kinds of input they hold. Returns whether the value
/// is a list, or `null` instead of one.
pub(super) struct Content<'a> {
    found: &'a mut Inputs,
    /// The value is that of a `type`.
    is_type: bool,
}

impl<'a> Content<'a> {
    pub(super) fn of(found: &'a mut Inputs) -> Self {
        Self { found, is_type: false }
    }
}

/// Notes the kind of input that the `type` of a part means.
pub(super) fn note(found: &mut Inputs, part: &[u8]) {
    match part {
        b"image_url" | b"image" | b"input_image" | b"computer_screenshot" => found.image = true,
        b"input_audio" => found.audio = true,
        b"file" | b"document" | b"input_file" => found.file = true,
        _ => {}
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
        if self.is_type {
            note(self.found, text.as_bytes());
        }
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element_seed(Content::of(self.found))?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "type" => drop(map.next_value_seed(Content { found: self.found, is_type: true })?),
                "content" | "output" => drop(map.next_value_seed(Content::of(self.found))?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::body::Envelope;

    fn found(body: &str) -> [bool; 3] {
        let inputs = Envelope::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap().inputs();
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
            assert!(Envelope::parse(Bytes::from(body)).is_err(), "{body}");
        }
        let deep = format!(r#"{{"messages":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Envelope::parse(Bytes::from(deep)).is_err());
    }
}
