//! What a body names that lives at one provider: files, containers, conversations, vector stores.
//!
//! It is found by structure: in messages, input and tools, under the keys by which the three protocols refer to
//! such objects. What a model or a user made up is passed over: the input of a tool, the schema of one, and
//! metadata may hold any keys. So no text and no argument can send a request elsewhere.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The most ids that are found in a body.
const MOST: usize = 8;

/// Keys below which nothing is a reference.
const MADE_UP: [&str; 8] = [
    "arguments",
    "input_schema",
    "json_schema",
    "metadata",
    "parameters",
    "properties",
    "response_format",
    "schema",
];

/// The ids that `body` names, which is known to be a JSON object.
pub(super) fn find(body: &[u8]) -> Vec<String> {
    let mut ids = Vec::new();
    let walk = Walk { ids: &mut ids, place: Place::Top };
    // The body was checked, so this ends well.
    let _ = walk.deserialize(&mut serde_json::Deserializer::from_slice(body));
    ids
}

/// What a value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The whole body.
    Top,
    /// Something that may hold references.
    Within,
    /// An id, or a list of ids.
    Ids,
    /// An object that is named by its id, or given whole.
    Object,
}

struct Walk<'a> {
    ids: &'a mut Vec<String>,
    place: Place,
}

impl Walk<'_> {
    fn note(&mut self, id: &str) {
        let is_new = !self.ids.iter().any(|known| known == id);
        if !id.is_empty() && is_new && self.ids.len() < MOST {
            self.ids.push(id.to_owned());
        }
    }

    /// What the value of `key` stands for; `None` for what is passed over.
    fn below(&self, key: &str) -> Option<Place> {
        match key {
            "file_id" | "file_ids" | "container_id" | "vector_store_ids" => Some(Place::Ids),
            "id" if self.place == Place::Object => Some(Place::Ids),
            "container" => Some(Place::Object),
            "conversation" if self.place == Place::Top => Some(Place::Object),
            // The input of a call is the model's; that of the body is the conversation.
            "input" if self.place != Place::Top => None,
            key if MADE_UP.contains(&key) => None,
            _ => Some(Place::Within),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        if matches!(self.place, Place::Ids | Place::Object) {
            self.note(text);
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let place = if self.place == Place::Ids { Place::Ids } else { Place::Within };
        while list.next_element_seed(Walk { ids: &mut *self.ids, place })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(key) = object.next_key::<std::borrow::Cow<'_, str>>()? {
            match self.below(&key) {
                Some(place) => object.next_value_seed(Walk { ids: &mut *self.ids, place })?,
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_protocol_refers_to_is_found() {
        for (body, expected) in [
            (
                r#"{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}"#,
                "file-1",
            ),
            (r#"{"input":[{"content":[{"type":"input_file","file_id":"file-1"}]}]}"#, "file-1"),
            (
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}"#,
                "file_1",
            ),
            (
                r#"{"messages":[{"content":[{"type":"container_upload","file_id":"file_1"}]}]}"#,
                "file_1",
            ),
            (r#"{"container":"container_1","messages":[]}"#, "container_1"),
            (r#"{"container":{"id":"container_1","skills":[{"id":"no"}]}}"#, "container_1"),
            (r#"{"conversation":"conv_1"}"#, "conv_1"),
            (r#"{"conversation":{"id":"conv_1"}}"#, "conv_1"),
            (r#"{"tools":[{"type":"code_interpreter","container":"cntr_1"}]}"#, "cntr_1"),
            (
                r#"{"tools":[{"container":{"type":"auto","file_ids":["file-1","file-2","file-1"]}}]}"#,
                "auto? file-1 file-2",
            ),
            (r#"{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}"#, "vs_1"),
            (r#"{"input":[{"type":"code_interpreter_call","container_id":"cntr_1"}]}"#, "cntr_1"),
        ] {
            let expected: Vec<_> = expected.split(' ').filter(|id| !id.ends_with('?')).collect();
            assert_eq!(find(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_anybody_may_make_up_is_no_reference() {
        for body in [
            r#"{"metadata":{"file_id":"x"}}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"x"}}]}]}"#,
            r#"{"messages":[{"content":"{\"file_id\":\"x\",\"container\":\"y\"}"}]}"#,
            r#"{"tools":[{"input_schema":{"properties":{"file_id":{"enum":["x"]}}}}]}"#,
            r#"{"tools":[{"function":{"parameters":{"container":"x"}}}]}"#,
            r#"{"input":[{"type":"function_call","arguments":"{\"file_id\":\"x\"}"}]}"#,
            r#"{"messages":[{"conversation":"x"}]}"#,
            r#"{"container":null,"conversation":null,"file_id":7}"#,
            r#"{"file_id":""}"#,
        ] {
            assert_eq!(find(body.as_bytes()), [""; 0], "{body}");
        }
    }

    #[test]
    fn a_body_names_at_most_eight() {
        let ids: Vec<_> = (0..20).map(|n| format!("f{n}")).collect();
        let body = serde_json::json!({"input": [{"file_ids": ids}]}).to_string();
        assert_eq!(find(body.as_bytes()), ids[..MOST]);
    }
}
