//! JSON for people.

use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::lab::term::clean;

/// An object with one member a line, in the order in which they were written: the model and the route
/// first. Anything else is returned unchanged.
pub(super) fn pretty(text: &str) -> String {
    let members = serde_json::Deserializer::from_str(text).deserialize_map(Members);
    match members {
        Ok(members) => clean(&format!("{{\n  {}\n}}", members.join(",\n  "))),
        Err(_) => clean(text),
    }
}

/// The members of an object, each on a line.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        let mut members = Vec::new();
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push(format!("{}: {}", name.get(), value.get()));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        let text = r#"{"model_name":"a/b","route_name":null,"candidates":["a/b"],"epoch":1}"#;
        let shown = "{\n  \"model_name\": \"a/b\",\n  \"route_name\": null,\n  \
                     \"candidates\": [\"a/b\"],\n  \"epoch\": 1\n}";
        assert_eq!(pretty(text), shown);
        assert_eq!(pretty("not \x1b[2JJSON"), "not [2JJSON");
    }
}
