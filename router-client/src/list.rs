//! Lists in JSON, item by item: a list of millions of short items takes eight times its length if it is held
//! as one.

use std::fmt;

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `take` with each item of `list`. Whether it is a list.
pub(crate) fn each<'a>(list: &'a RawValue, take: impl FnMut(&'a RawValue)) -> bool {
    let mut list = serde_json::Deserializer::from_str(list.get());
    list.deserialize_seq(Each(take)).is_ok()
}

struct Each<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(item) = list.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_of_a_list_is_taken_and_nothing_else_is_a_list() {
        let items = |json: &str| {
            let list = RawValue::from_string(json.to_owned()).unwrap();
            let mut items = Vec::new();
            each(&list, |item| items.push(item.get().to_owned())).then_some(items)
        };
        let some = |items: &[&str]| Some(items.iter().map(ToString::to_string).collect());
        assert_eq!(items("[]"), some(&[]));
        assert_eq!(items(r#"[1, {"a": [2]},"x" ]"#), some(&["1", r#"{"a": [2]}"#, "\"x\""]));
        for other in ["1", "\"[]\"", "{}", "null"] {
            assert_eq!(items(other), None, "{other}");
        }
    }
}
