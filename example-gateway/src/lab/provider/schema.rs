//! A value that fits a JSON schema, for tool arguments and structured output.

use serde_json::{Map, Value, json};

use super::fields::items;

/// Deepest nesting and most values: a schema may refer to itself.
const MAX_DEPTH: usize = 16;
const MAX_VALUES: usize = 1_000;

/// The most schemas that are combined into one value.
const MAX_PARTS: usize = 64;

/// The simplest value for `schema`: every required property and no other, the first of an enumeration,
/// `"example"` for a string, 1 for a number, `true`, and as many items as an array needs, at least one. Of
/// alternatives the first counts that is not `null`; `allOf` counts whole.
///
/// Beyond 16 levels a value is `null`, and after 1,000 values properties are left out. Patterns and string
/// formats are ignored.
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
        let mut parts = Vec::new();
        self.combine(schema, &mut parts, 0);
        let fixed = |part: &&'a Value| part.get("const").or_else(|| part.pointer("/enum/0"));
        if let Some(fixed) = parts.iter().find_map(fixed) {
            return fixed.clone();
        }
        match kind(&parts) {
            "object" => self.object(&parts, depth),
            "array" => self.array(&parts, depth),
            "integer" | "number" => number(&parts),
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => text(&parts),
        }
    }

    /// What holds for a value of `schema`: the schema, all of its `allOf`, one of its alternatives, and
    /// what these refer to.
    fn combine(&self, schema: &'a Value, parts: &mut Vec<&'a Value>, depth: usize) {
        if parts.len() == MAX_PARTS || depth > MAX_DEPTH {
            return;
        }
        parts.push(schema);
        let pointer = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
        let target = pointer.and_then(|pointer| self.root.pointer(pointer));
        let first = |key: &str| items(&schema[key]).iter().find(|choice| choice["type"] != "null");
        let one = [target, first("anyOf"), first("oneOf")].into_iter().flatten();
        for part in one.chain(items(&schema["allOf"])) {
            self.combine(part, parts, depth + 1);
        }
    }

    fn object(&mut self, parts: &[&'a Value], depth: usize) -> Value {
        let mut members = Map::new();
        let required = parts.iter().flat_map(|part| items(&part["required"]));
        for name in required.filter_map(Value::as_str) {
            if self.left == 0 {
                break;
            }
            if !members.contains_key(name) {
                let property = parts.iter().find_map(|part| part["properties"].get(name));
                let value = self.value(property.unwrap_or(&Value::Null), depth + 1);
                members.insert(name.to_owned(), value);
            }
        }
        Value::Object(members)
    }

    fn array(&mut self, parts: &[&'a Value], depth: usize) -> Value {
        let least = parts.iter().find_map(|part| part["minItems"].as_u64()).unwrap_or(1).max(1);
        let each = parts.iter().find_map(|part| part.get("items")).unwrap_or(&Value::Null);
        let firsts = parts.iter().flat_map(|part| items(&part["prefixItems"]));
        let schemas: Vec<_> = firsts.chain(std::iter::repeat(each)).take(bounded(least)).collect();
        let mut values = Vec::new();
        for schema in schemas {
            if self.left == 0 && !values.is_empty() {
                break;
            }
            values.push(self.value(schema, depth + 1));
        }
        Value::Array(values)
    }
}

/// A number of a schema, within what one answer may hold.
fn bounded(number: u64) -> usize {
    usize::try_from(number).unwrap_or(MAX_VALUES).min(MAX_VALUES)
}

/// `"example"`, repeated or cut to the length that is asked for.
fn text(parts: &[&Value]) -> Value {
    let limit = |key: &str| parts.iter().find_map(|part| part[key].as_u64()).map(bounded);
    let (least, most) = (limit("minLength").unwrap_or(0), limit("maxLength").unwrap_or(MAX_VALUES));
    let word = "example";
    let length = word.len().max(least).min(most);
    json!(word.chars().cycle().take(length).collect::<String>())
}

/// The type that is named first, not `null` among several, or a guess from the keys.
fn kind<'a>(parts: &[&'a Value]) -> &'a str {
    let named = |part: &&'a Value| {
        let mut several = items(&part["type"]).iter().filter_map(Value::as_str);
        part["type"].as_str().or_else(|| several.find(|kind| *kind != "null"))
    };
    let has = |key: &str| parts.iter().any(|part| part.get(key).is_some());
    match parts.iter().find_map(named) {
        Some(named) => named,
        None if has("properties") || has("required") => "object",
        None if has("items") || has("prefixItems") => "array",
        None => "string",
    }
}

/// 1, moved into the schema's limits.
fn number(parts: &[&Value]) -> Value {
    let limit = |key: &str| parts.iter().find_map(|part| part[key].as_i64());
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
    fn what_is_required_anywhere_is_there() {
        let all = json!({
            "allOf": [
                {"required": ["a"], "properties": {"a": {"type": "integer"}}},
                {"$ref": "#/$defs/Base"}
            ],
            "required": ["c"],
            "properties": {"c": {"type": "string", "minLength": 9}},
            "$defs": {"Base": {"required": ["b"], "properties": {"b": {"type": "boolean"}}}}
        });
        assert_eq!(example(&all), json!({"c": "exampleex", "a": 1, "b": true}));
        let either = json!({
            "type": "object",
            "properties": {"x": {"type": "string", "maxLength": 2}, "y": {"type": "integer"}},
            "anyOf": [{"required": ["x"]}, {"required": ["y"]}]
        });
        assert_eq!(example(&either), json!({"x": "ex"}));
        let lists = json!({
            "type": "object",
            "required": ["pair", "two", "unknown"],
            "properties": {
                "pair": {"type": "array", "minItems": 2,
                    "prefixItems": [{"type": "string"}, {"type": "integer"}]},
                "two": {"type": "array", "minItems": 2, "items": {"enum": ["e"]}}
            }
        });
        let expected = json!({"pair": ["example", 1], "two": ["e", "e"], "unknown": "example"});
        assert_eq!(example(&lists), expected);
        let huge = json!({"type": "array", "minItems": u64::MAX, "items": {"$ref": "#"}});
        assert!(example(&huge).to_string().len() < 40_000);
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
