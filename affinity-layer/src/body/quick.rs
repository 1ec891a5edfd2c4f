//! The quick way through a body that is plainly JSON, some ten times as fast as parsing it.
//!
//! It may give up on whatever is unusual, and then serde_json judges the body and words the error.
//! It must never let pass what serde_json refuses.

mod reader;
mod stops;

use crate::key::BodyIds;

use self::reader::Reader;
use super::content::Place;
use super::disguise::passes_for;
use super::members::Found;
use super::values::{invalid_value, is_checked};

/// Nesting that is followed; serde_json goes a little deeper.
const DEPTH: u8 = 100;

/// Where our members are in `text`; `None` if it needs a closer look.
pub(super) fn find(text: &[u8]) -> Option<Found> {
    let mut found = Found::default();
    let mut reader = Reader::new(text);
    reader.space();
    reader.take(b'{')?;
    reader.space();
    let mut is_over = reader.take(b'}').is_some();
    while !is_over {
        let key = reader.key()?;
        if passes_for(std::str::from_utf8(key).ok()?, false).is_some() {
            return None;
        }
        let start = reader.at;
        // Messages are a list.
        if key == b"messages" && reader.peek() != Some(b'[') {
            return None;
        }
        reader.value(DEPTH, Place::of(key))?;
        let value = start..reader.at;
        match key {
            b"model" if found.model.is_none() => found.model = Some(value),
            b"routing_preferences" if found.preferences.is_none() => {
                found.preferences = Some(value);
            }
            // One of them twice is refused.
            b"model" | b"routing_preferences" => return None,
            b"background" => found.is_background |= text.get(value) == Some(b"true"),
            key if is_checked(key) => {
                let utf8 = |bytes| std::str::from_utf8(bytes).ok();
                if invalid_value(utf8(key)?, utf8(text.get(value)?)?).is_some() {
                    return None;
                }
            }
            key => {
                let id = BodyIds::MEMBERS.iter().position(|member| member.as_bytes() == key);
                if let Some(id) = id.and_then(|id| found.ids.get_mut(id)) {
                    *id = Some(value);
                }
            }
        }
        is_over = reader.is_last(b'}')?;
    }
    reader.space();
    found.contents = reader.contents;
    // Outside of strings nothing but ASCII was let pass.
    let is_whole =
        reader.at == text.len() && (reader.is_ascii || std::str::from_utf8(text).is_ok());
    is_whole.then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_taken_the_quick_way() {
        for body in [
            r#"{}"#,
            r#" { "model" : "a" , "n" : [ 1 , -0.5e-3 , true , false , null , {} , [ ] ] } "#,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9 \\ud83d\\ude00 \\n\\\"é\"}]}",
        ] {
            assert!(find(body.as_bytes()).is_some(), "{body}");
        }
        assert!(find(b"{\n\t\"a\": \"laid out\"\r\n}").is_some());
        let body = r#"{"a":"model","model":"m","routing_preferences":[1]}"#;
        let found = find(body.as_bytes()).unwrap();
        assert_eq!(&body[found.model.unwrap()], "\"m\"");
        assert_eq!(&body[found.preferences.unwrap()], "[1]");
    }

    #[test]
    fn the_unusual_is_left_to_serde_json() {
        let digits = "1".repeat(400);
        let deep = format!("{}1{}", "[".repeat(101), "]".repeat(101));
        for value in [
            "1e400",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "tru",
            "nul",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\u0041\"",
            "\"\\u00g0\"",
            "\"\n\"",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{1:2}",
            "[1 2]",
            "1 2",
            &digits,
            &deep,
        ] {
            let body = format!("{{\"a\":{value}}}");
            assert!(find(body.as_bytes()).is_none(), "{body}");
        }
        for body in [r#"{"stream":1}"#, r#"{"max_tokens":-0}"#, r#"{"messages":{}}"#] {
            assert!(find(body.as_bytes()).is_none(), "{body}");
        }
        for body in [
            "",
            "[]",
            "{",
            "{} {}",
            r#"{"mod\u0065l":1}"#,
            r#"{"Model":1}"#,
            r#"{"model":1,"model":2}"#,
        ] {
            assert!(find(body.as_bytes()).is_none(), "{body}");
        }
    }
}
