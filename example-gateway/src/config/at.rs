//! A place in the file: typed reading that reports what it cannot read.
//!
//! 1. Reading never stops at an error. A value that is not usable is reported once, where it is
//!    read, and reads as `None`, so that the rest of the file is still checked.
//! 2. A key exists because a reader asks for it: there is no separate list of keys. So a
//!    reader asks for all the keys of its section, whatever their values turn out to be, and
//!    [`At::report_unknown_keys`] then reports the keys that no reader asked for.

use std::cell::{Cell, LazyCell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use secrecy::SecretString;

use super::env::{Env, Unexpanded, expand};
use super::finding::{Finding, nearest};
use super::schema::Schema;
use super::secret_file;
use super::tree::{Entry, KnownKeys, Map, Node, Value};

/// What a run over one file knows and has found.
pub(super) struct Context<'a> {
    pub(super) file: &'a str,
    pub(super) env: Env<'a>,
    /// Whether keys and addresses of providers may be missing, because none is going to be called.
    pub(super) upstream_override: bool,
    pub(super) errors: RefCell<Vec<Finding>>,
    pub(super) warnings: RefCell<Vec<Finding>>,
    /// Whether a provider could not be read for its model: then a name that seems unknown may be that one,
    /// and one mistake is told once.
    pub(super) is_misnamed: Cell<bool>,
}

/// Names that other programs give to keys of ours.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("api_base", "base_url"),
    ("api_key", "access_key"),
    ("endpoint", "base_url"),
    ("model_list", "model_providers"),
    ("models", "model_providers"),
    ("providers", "model_providers"),
    ("ttl", "session_ttl_seconds"),
];

/// A value of the file, the way to it, and the line to name.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) context: &'a Context<'a>,
    node: &'a Node,
    path: String,
    line: u64,
    key: &'a str,
}

impl<'a> At<'a> {
    pub(super) fn root(context: &'a Context<'a>, node: &'a Node) -> Self {
        Self { context, node, path: String::new(), line: node.line, key: "" }
    }

    /// The key of the value.
    pub(super) fn key(&self) -> &'a str {
        self.key
    }

    pub(super) fn line(&self) -> u64 {
        self.line
    }

    fn finding(&self, message: String) -> Finding {
        let Self { context, path, line, .. } = self;
        Finding { file: context.file.to_owned(), line: Some(*line), path: path.clone(), message }
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.context.errors.borrow_mut().push(self.finding(message.into()));
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        self.context.warnings.borrow_mut().push(self.finding(message.into()));
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Where it stands, as the start of a finding: `FILE:LINE: PATH`.
    pub(super) fn place(&self) -> String {
        format!("{}:{}: {}", self.context.file, self.line, self.path)
    }

    /// The value under `key` of a mapping; `None` if absent or empty, an error if this is not a mapping.
    pub(super) fn get(&self, key: &'static str) -> Option<Self> {
        let entry = self.map()?.ask(key)?;
        (!matches!(entry.node.value, Value::Null)).then(|| self.child(entry))
    }

    /// As [`get`](Self::get), and an error when there is nothing.
    pub(super) fn require(&self, key: &'static str) -> Option<Self> {
        self.require_if(true, key, "")
    }

    /// As [`get_if`](Self::get_if), and an error when there is nothing where the key has an effect.
    pub(super) fn require_if(&self, effective: bool, key: &'static str, why: &str) -> Option<Self> {
        let found = self.get_if(effective, key, why);
        let can_be_missed = matches!(self.node.value, Value::Map(_) | Value::Null);
        if effective && found.is_none() && can_be_missed {
            self.error(format!("{key} is missing"));
        }
        found
    }

    /// As [`get`](Self::get) if the key has an effect here; if not, a value under it is a warning
    /// that says `why`.
    pub(super) fn get_if(&self, effective: bool, key: &'static str, why: &str) -> Option<Self> {
        let found = self.get(key);
        if let Some(unused) = found.as_ref().filter(|_| !effective) {
            unused.warn(why);
        }
        found.filter(|_| effective)
    }

    /// Keys that the older system knows and this one does not serve: a warning for each that is
    /// there. What is under them is not looked at.
    pub(super) fn not_served(&self, keys: &[&'static str]) {
        for key in keys {
            if let Some(entry) = self.map().and_then(|map| map.ask(key)) {
                let why = "known to the older system and not served here; it has no effect";
                self.child(entry).warn(why);
            }
        }
    }

    /// Takes back that this mapping was read: nothing in it has an effect, and no key is unknown.
    pub(super) fn leave_out(&self) {
        if let Value::Map(map) = &self.node.value {
            map.known.take();
        }
    }

    /// Reports every key at or below this place that no reader asked for.
    pub(super) fn report_unknown_keys(&self) {
        self.report_unknown(&LazyCell::new(Schema::of_readers));
    }

    fn report_unknown(&self, schema: &LazyCell<Schema>) {
        match &self.node.value {
            Value::Map(map) => {
                for child in map.entries.iter().map(|entry| self.child(entry)) {
                    match &*map.known.borrow() {
                        KnownKeys::Unread => {}
                        KnownKeys::Some(keys) if !keys.contains(child.key) => {
                            child.unknown(keys, self, schema);
                        }
                        KnownKeys::Any | KnownKeys::Some(_) => child.report_unknown(schema),
                    }
                }
            }
            Value::List(_) => self.items().iter().for_each(|item| item.report_unknown(schema)),
            _ => {}
        }
    }

    /// Reports the key of this value, which is none of `keys`, those of `parent`.
    fn unknown(&self, keys: &BTreeSet<&'static str>, parent: &Self, schema: &LazyCell<Schema>) {
        let other = OTHER_NAMES.iter().find(|(other, _)| *other == self.key).map(|(_, own)| *own);
        let meant = other.filter(|own| keys.contains(own));
        if let Some(meant) = meant.or_else(|| nearest(self.key, keys.iter().copied())) {
            // That the right key is missing is the same mistake.
            let of_meant = |error: &Finding| {
                let rest = error.message.strip_prefix(meant);
                error.path == parent.path && rest.is_some_and(|rest| rest.starts_with(' '))
            };
            self.context.errors.borrow_mut().retain(|error| !of_meant(error));
            self.error(format!("unknown key, did you mean {meant}?"));
        } else if let Some(place) = schema.place(self.key) {
            self.error(format!("unknown key here; it belongs to {place}"));
        } else {
            self.error("unknown key");
        }
    }

    fn map(&self) -> Option<&'a Map> {
        match &self.node.value {
            Value::Map(map) => return Some(map),
            Value::Null => {}
            _ => self.error("must be a mapping (key: value)"),
        }
        None
    }

    fn child(&self, entry: &'a Entry) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, entry.key.escape_debug());
        Self { context: self.context, node: &entry.node, path, line: entry.line, key: &entry.key }
    }

    /// The values of a mapping whose keys are the user's own names, in their order; an error when
    /// it is something else.
    pub(super) fn entries(&self) -> Vec<Self> {
        let entries = self.map().map(Map::ask_all).unwrap_or_default();
        entries.iter().map(|entry| self.child(entry)).collect()
    }

    /// The values of a list in their order; an error when it is something else.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Null => Vec::new(),
            Value::List(nodes) => {
                let item = |(i, node): (usize, &'a Node)| Self {
                    path: format!("{}[{i}]", self.path),
                    node,
                    line: node.line,
                    ..self.clone()
                };
                nodes.iter().enumerate().map(item).collect()
            }
            _ => {
                self.error("must be a list");
                Vec::new()
            }
        }
    }

    /// Text with its variables expanded; never empty.
    pub(super) fn text(&self) -> Option<String> {
        self.expanded(false).and_then(|text| self.not_empty(text))
    }

    /// As [`text`](Self::text), for a value that may be empty.
    pub(super) fn text_or_empty(&self) -> Option<String> {
        self.expanded(false)
    }

    /// As [`text`](Self::text), for a value that is not needed if no provider will be called: then a
    /// missing variable is not an error.
    pub(super) fn provider_text(&self) -> Option<String> {
        let text = self.expanded(self.context.upstream_override)?;
        if text.is_empty() && self.context.upstream_override {
            return None;
        }
        self.not_empty(text)
    }

    /// A secret: text, or `{file: PATH}`, whose content is read again with the configuration.
    pub(super) fn secret(&self) -> Option<SecretString> {
        match self.node.value {
            Value::Map(_) => self.secret_of_file(false),
            _ => self.text().map(SecretString::from),
        }
    }

    /// As [`secret`](Self::secret), for one that is not needed if no provider will be called.
    pub(super) fn provider_secret(&self) -> Option<SecretString> {
        match self.node.value {
            Value::Map(_) => self.secret_of_file(self.context.upstream_override),
            _ => self.provider_text().map(SecretString::from),
        }
    }

    fn secret_of_file(&self, may_miss: bool) -> Option<SecretString> {
        let file = self.require("file")?;
        let path = file.text()?;
        let secret = secret_file::read(Path::new(&path));
        secret
            .map_err(|why| {
                if !may_miss {
                    file.error(why)
                }
            })
            .ok()
    }

    fn not_empty(&self, text: String) -> Option<String> {
        if text.trim().is_empty() {
            self.error("must not be empty");
            return None;
        }
        Some(text)
    }

    fn expanded(&self, may_miss: bool) -> Option<String> {
        let Value::Text(text) = &self.node.value else {
            self.error("must be text");
            return None;
        };
        match expand(text, self.context.env) {
            Ok(text) => return Some(text),
            Err(Unexpanded::Missing(_)) if may_miss => {}
            Err(Unexpanded::Missing(name)) => {
                self.error(format!("environment variable {name} is not set"));
            }
            Err(Unexpanded::Malformed) => self.error("${ must be followed by a name and }"),
        }
        None
    }

    /// Whether the value is this text.
    pub(super) fn is_text(&self, wanted: &str) -> bool {
        matches!(&self.node.value, Value::Text(text) if text == wanted)
    }

    /// A whole number of `unit` within `range`; also one that comes from a variable.
    pub(super) fn integer(&self, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let number = match &self.node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) if text.contains('$') => self.text()?.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            let quoted = self.if_quoted(|text| text.parse::<u64>().is_ok());
            self.error(format!("must be a whole number{unit}, {from} to {to}{quoted}"));
        }
        number
    }

    /// What to say of a value that would be right without its quotes.
    fn if_quoted(&self, is_right: impl FnOnce(&str) -> bool) -> &'static str {
        match &self.node.value {
            Value::Text(text) if is_right(text) => ", without quotes",
            _ => "",
        }
    }

    /// A number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match &self.node.value {
            // Numbers this large are out of every range anyway.
            Value::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.error(format!("must be a number, {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A number as decimal text, as it is written; also one that comes from a variable.
    pub(super) fn decimal(&self) -> Option<String> {
        match &self.node.value {
            Value::Integer(number) => Some(number.to_string()),
            // The shortest decimal that means this number, so that 0.1 stays 0.1.
            Value::Float(number) => Some(number.to_string()),
            Value::Text(text) if text.contains('$') => self.text(),
            _ => None,
        }
    }

    /// The flag under `key` of a mapping; `default` where there is none.
    pub(super) fn flag_or(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(|flag| flag.flag()).unwrap_or(default)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        match self.node.value {
            Value::Bool(flag) => Some(flag),
            _ => {
                let quoted = self.if_quoted(|text| matches!(text, "true" | "false"));
                self.error(format!("must be true or false{quoted}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        // A number, say, is none of them.
        let text = match self.node.value {
            Value::Text(_) => self.text()?,
            _ => String::new(),
        };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.error(format!("must be one of: {}", allowed.join(", ")));
        }
        found
    }

    /// Text made into a `T`. The error says why not, and does not repeat the text.
    pub(super) fn parsed<T, E: std::fmt::Display>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text()?;
        parse(&text).map_err(|why| self.error(why.to_string())).ok()
    }
}
