//! YAML as a tree that remembers its lines.
//!
//! The file is read into a tree first and understood afterwards, so that every error of a file is
//! found in one run and each names its line. Types that serde derives, and the crates that load
//! configurations with them (figment, config), stop at the first error and know few lines.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{MessageFormatter as _, Spanned};

use super::finding::Finding;

/// A value and its place in the file.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What YAML can say, as far as a configuration needs it.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// A mapping. It remembers which keys its reader asked for, so that the readers are the one list of
/// the keys that exist.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) entries: Vec<Entry>,
    pub(super) known: RefCell<KnownKeys>,
}

/// Which keys of a mapping have a meaning.
#[derive(Debug, Default)]
pub(super) enum KnownKeys {
    /// No reader asked for the mapping: it belongs to a part that is not served, or replaces another kind
    /// of value.
    #[default]
    Unread,
    /// Every key: they are names of the user's own.
    Any,
    /// Those that the reader asked for.
    Some(BTreeSet<&'static str>),
}

impl Map {
    /// The entry under `key`, which becomes a known key.
    pub(super) fn ask(&self, key: &'static str) -> Option<&Entry> {
        let mut known = self.known.borrow_mut();
        if matches!(*known, KnownKeys::Unread) {
            *known = KnownKeys::Some(BTreeSet::new());
        }
        if let KnownKeys::Some(keys) = &mut *known {
            keys.insert(key);
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// All entries, under any key.
    pub(super) fn ask_all(&self) -> &[Entry] {
        *self.known.borrow_mut() = KnownKeys::Any;
        &self.entries
    }
}

/// One key of a mapping. Keys are unique: the parser refuses duplicates.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: u64,
    pub(super) node: Node,
}

/// Parses `text`. Snippets are off: they would print neighbouring lines, secrets included.
pub(super) fn parse(text: &str, file: &str) -> Result<Node, Finding> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: 20_000, max_depth: 32 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 20_000 },
    };
    let node: Option<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
            let message = serde_saphyr::DefaultMessageFormatter.format_message(&error);
            // The text may quote control characters of the file.
            let message = message.replace(char::is_control, " ");
            Finding::on_file(file, line, format!("not valid YAML: {}", advised(&message)))
        })?;
    let whole = |why| Finding::on_file(file, None, why);
    match node.map(|node| (node.line, node.value)) {
        None | Some((_, Value::Null)) => Err(whole("the file is empty")),
        Some((line, value @ Value::Map(_))) => Ok(Node { line, value }),
        Some(_) => Err(whole("the file must be a mapping (key: value)")),
    }
}

/// What to write instead, by what the parser says.
const ADVICE: [(&str, &str); 9] = [
    ("tabs disallowed", "indent with spaces"),
    ("found a tab", "indent with spaces"),
    (
        "mapping values are not allowed",
        "the indentation is wrong, or a text that holds ': ' needs quotes",
    ),
    ("did not find expected '-'", "the indentation of this line or the one above is wrong"),
    ("simple key expected", "write key: value, with a space behind the colon"),
    ("illegal placement of ':'", "a bracket or quote above is not closed"),
    ("multiline quoted scalar", "a quote above is not closed"),
    ("unknown anchor", "a text that begins with * needs quotes"),
    ("unexpected character", "a text that begins with it needs quotes"),
];

/// What the parser says and, where that is known, what to write instead. Where it gives advice to
/// programmers, ours takes its place.
fn advised(message: &str) -> String {
    if let Some((repeated, _)) = message.split_once(", set DuplicateKeyPolicy") {
        return repeated.to_owned();
    }
    if message.contains("multiple YAML documents") {
        return "a second document begins; remove the line ---".to_owned();
    }
    match ADVICE.iter().find(|(said, _)| message.contains(said)) {
        Some((_, advice)) => format!("{message}: {advice}"),
        None => message.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        i128::try_from(value).map(Value::Integer).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = items.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::default();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let node = entries.next_value()?;
            let (key, line) = (key.value, key.referenced.line());
            if map.entries.iter().any(|entry| entry.key == key) {
                return Err(A::Error::custom(format!("duplicate mapping key: {key}")));
            }
            map.entries.push(Entry { key, line, node });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_knows_its_line() {
        let root = parse("# head\na:\n  - 1\n  - {b: [x,\n     y]}\n", "f").unwrap();
        let Value::Map(Map { entries, .. }) = root.value else { panic!("{root:?}") };
        assert_eq!((entries[0].key.as_str(), entries[0].line), ("a", 2));
        let Value::List(items) = &entries[0].node.value else { panic!("{entries:?}") };
        assert_eq!((items[0].line, items[1].line), (3, 4));
    }

    #[test]
    fn broken_yaml_is_one_line_without_the_values() {
        let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
            let alias = format!("*a{}", i - 1);
            format!("{text}a{i}: &a{i} [{}]\n", [alias.as_str(); 10].join(", "))
        });
        let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
        let rows = [
            ("a: sk-secret\na: sk-secret\n", "f:2: not valid YAML: duplicate mapping key: a"),
            ("a: sk-secret\n b: [\n", "f:2: not valid YAML: "),
            ("a: \"sk-secret\n", "f:"),
            ("a: !!int sk-secret\n", "f:1: not valid YAML: "),
            ("a: !sk 1\n", "f:1: not valid YAML: "),
            ("a: *sk\n", "f:1: not valid YAML: "),
            ("a: .nan\n", "f:1: not valid YAML: "),
            ("a: sk-secret\n---\nb: 1\n", "f:"),
            ("? [sk-secret]\n: 1\n", "f:1: not valid YAML: "),
            ("\u{1}: sk-secret", "f:"),
            ("", "f: the file is empty"),
            ("# only a comment\n", "f: the file is empty"),
            (bomb.as_str(), "f:"),
            (deep.as_str(), "f:1: not valid YAML: "),
        ];
        for (text, start) in rows {
            let shown = parse(text, "f").unwrap_err().to_string();
            assert!(shown.starts_with(start), "{text:.60?}: {shown}");
            assert!(!shown.contains("sk-secret") && !shown.contains('\n'), "{text:.60?}: {shown}");
        }
    }
}
