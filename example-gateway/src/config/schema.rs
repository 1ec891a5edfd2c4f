//! Where each key belongs, for a key that stands in another place.
//!
//! The readers are the one list of keys. So they are asked: they read a file that has every section and
//! nothing in it, and what they look for there is what may stand there.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::at::{At, Context};
use super::load::build;
use super::tree::{self, KnownKeys, Node, Value};

/// Every section that has keys of its own. A section that is missing here is only never suggested.
const SECTIONS: &str = "
listeners: [{client_keys: [{}], cors: {}, tls: {}}]
model_providers: [{model: none/none}]
routing_preferences: [{}]
model_aliases: {}
routing: {session_cache: {type: redis}, router: {type: llm}, fingerprint: {}}
limits: {}
admin: {}
tracing: {}
overrides: {}
";

/// The most places that are named.
const MOST: usize = 2;

/// The places of each key.
#[derive(Debug, Default)]
pub(super) struct Schema(BTreeMap<&'static str, Vec<String>>);

impl Schema {
    /// As the readers know it.
    pub(super) fn of_readers() -> Self {
        let mut schema = Self::default();
        let Ok(tree) = tree::parse(SECTIONS, "") else { return schema };
        let context = Context {
            file: "",
            env: &|_| None,
            upstream_override: true,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            is_misnamed: false.into(),
        };
        build(&At::root(&context, &tree));
        schema.add(&tree, "");
        schema
    }

    fn add(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(map) => {
                if let KnownKeys::Some(keys) = &*map.known.borrow() {
                    for key in keys {
                        self.0.entry(key).or_default().push(path.to_owned());
                    }
                }
                let dot = if path.is_empty() { "" } else { "." };
                for entry in &map.entries {
                    self.add(&entry.node, &format!("{path}{dot}{}", entry.key));
                }
            }
            Value::List(items) => {
                items.iter().for_each(|item| self.add(item, &format!("{path}[]")))
            }
            _ => {}
        }
    }

    /// Where `key` belongs, if that can be told in a few words.
    pub(super) fn place(&self, key: &str) -> Option<String> {
        let places = self.0.get(key).filter(|places| places.len() <= MOST)?;
        let named = places.iter().map(|place| match place.as_str() {
            "" => "the top level",
            place => place,
        });
        Some(named.collect::<Vec<_>>().join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readers_tell_where_a_key_belongs() {
        let schema = Schema::of_readers();
        for (key, place) in [
            ("session_ttl_seconds", Some("routing")),
            ("key_prefix", Some("routing.session_cache")),
            ("body_bytes", Some("limits")),
            ("client_keys", Some("listeners[]")),
            ("access_key", Some("model_providers[] or routing.router")),
            ("base_url", Some("model_providers[]")),
            ("limits", Some("the top level")),
            ("scope", Some("listeners[].client_keys[]")),
            // In too many places, and in none.
            ("name", None),
            ("no_such_key", None),
        ] {
            assert_eq!(schema.place(key).as_deref(), place, "{key}");
        }
    }
}
