//! A value that fits a JSON schema, for tool arguments and structured output.

use serde_json::{Map, Value, json};

use super::fields::items;

/// Deepest nesting and most values: a schema may refer to itself.
const MAX_DEPTH: usize = 16;
const MAX_VALUES: usize = 1_000;

/// The simplest value for `schema`: required properties only, the first of an enumeration,
/// `"example"` for a string, 1 for a number, `true`, and one item for an array.
///
/// Beyond 16 levels a value is `null`, and after 1,000 values properties are left out. Patterns and string formats are ignored.
pub(super) fn example(schema: &Value) -> Value {
    Synthesis { root: schema, left: MAX_VALUES }.value(schema, 0)
}

struct Synthesis<'a> {
    root: &'a Value,
    left: usize,
}

impl<'a> Synthesis<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        let spent = self.left == 0;
        self.left = self.left.saturating_sub(1);
        if spent || depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(pointer) = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
            let target = self.root.pointer(pointer);
            return target.map_or(Value::Null, |target| self.value(target, depth + 1));
        }
        if let Some(fixed) = schema.get("const").or_else(|| schema.pointer("/enum/0")) {
            return fixed.clone();
        }
        let choices = ["anyOf", "oneOf", "allOf"].into_iter().flat_map(|key| items(&schema[key]));
        if let Some(choice) = choices.into_iter().find(|choice| choice["type"] != "null") {
            return self.value(choice, depth + 1);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => json!([self.value(&schema["items"], depth + 1)]),
            "integer" | "number" => number(schema),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => json!("example"),
        }
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let mut members = Map::new();
        for name in items(&schema["required"]).iter().filter_map(Value::as_str) {
            if self.left == 0 {
                break;
            }
            let property = schema["properties"].get(name).unwrap_or(&Value::Null);
            members.insert(name.to_owned(), self.value(property, depth + 1));
        }
        Value::Object(members)
    }
}

/// The schema's type, the first that is not `null` of several, or a guess from its keys.
fn kind(schema: &Value) -> &str {
    let several = items(&schema["type"]).iter().filter_map(Value::as_str);
    let named = schema["type"].as_str().or_else(|| several.into_iter().find(|t| *t != "null"));
    match named {
        Some(named) => named,
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

/// 1, moved into the schema's limits.
fn number(schema: &Value) -> Value {
    let limit = |key: &str| schema[key].as_i64();
    let low = limit("minimum").or(limit("exclusiveMinimum").map(|low| low.saturating_add(1)));
    let high = limit("maximum").or(limit("exclusiveMaximum").map(|high| high.saturating_sub(1)));
    json!(1.min(high.unwrap_or(i64::MAX)).max(low.unwrap_or(i64::MIN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_example() {
        let schema = json!({
            "type": "object",
            "required": ["s", "e", "n", "low", "high", "b", "list", "opt", "sub", "ref"],
            "properties": {
                "s": {"type": "string"},
                "e": {"enum": ["first", "second"]},
                "n": {"type": "number"},
                "low": {"type": "integer", "minimum": 5},
                "high": {"type": "integer", "maximum": -2},
                "b": {"type": "boolean"},
                "list": {"type": "array", "items": {"type": "integer"}},
                "opt": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
                "sub": {"type": ["null", "object"], "required": ["x"], "properties": {"x": {}}},
                "ref": {"$ref": "#/$defs/R"},
                "left_out": {"type": "string"}
            },
            "$defs": {"R": {"const": 7}}
        });
        assert_eq!(
            example(&schema),
            json!({
                "s": "example", "e": "first", "n": 1, "low": 5, "high": -2, "b": true,
                "list": [1], "opt": true, "sub": {"x": "example"}, "ref": 7
            })
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let names = (0..20).map(|n| n.to_string()).collect::<Vec<_>>();
        let properties = names.iter().map(|name| (name.clone(), json!({"$ref": "#"})));
        let schema = json!({
            "type": "object",
            "required": names,
            "properties": properties.collect::<Map<_, _>>()
        });
        let length = example(&schema).to_string().len();
        assert!(length < 40_000, "{length}");
    }
}
