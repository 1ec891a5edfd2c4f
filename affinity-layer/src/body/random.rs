//! Random bodies: what serde_json reads is what is read, cut and refused here.
//!
//! `PROPTEST_CASES` makes it run for longer, on other bodies each time.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::key::Key;
use super::{BodyError, JsonBody, quick, scan};

/// xorshift64*: the same bodies for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % bound
    }

    fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len())]
    }

    fn space(&mut self) -> &'static str {
        self.one_of(&["", "", "", " ", "\n", "\t", "\r\n ", " \t"])
    }

    fn value(&mut self, depth: usize) -> String {
        let scalars = [
            "null",
            "true",
            "0",
            "-1.50e3",
            "\"\"",
            "\"a\"",
            "\"\\\"model\\\":\"",
            "\"}],{[\\\\\"",
            "\"\\u00e9é\"",
            "\"routing_preferences\"",
            "\"image\"",
            "\"\\u0066ile\"",
            "{}",
            "[ ]",
        ];
        match self.below(if depth == 0 { 2 } else { 4 }) {
            2 => self.object(depth - 1),
            3 => {
                let items: Vec<_> = (0..self.below(3)).map(|_| self.value(depth - 1)).collect();
                format!("[{}]", items.join(self.one_of(&[",", " ,\n"])))
            }
            _ => self.one_of(&scalars).to_owned(),
        }
    }

    fn object(&mut self, depth: usize) -> String {
        let keys = [
            "model",
            "model",
            "routing_preferences",
            "routing_preferences",
            "mod\\u0065l",
            "routing_preferences",
            "routing\\u005fpreferences",
            "\\u0072outing_preferences",
            "Model",
            "ſtream",
            "\\u017ftream",
            "max_to\u{212a}ens",
            "model\\u0000",
            "store\\u0000model",
            "\\u0000model",
            "mod\\u0435l",
            "input",
            "content",
            "type",
            "model ",
            "a",
            "",
            "\\\"model",
            "é",
        ];
        let mut members = Vec::new();
        for _ in 0..self.below(5) {
            let (key, value) = (self.one_of(&keys), self.value(depth));
            let spaces = [(); 4].map(|()| self.space());
            let [a, b, c, d] = spaces;
            members.push(format!("{a}\"{key}\"{b}:{c}{value}{d}"));
        }
        format!("{{{}{}}}", self.space(), members.join(","))
    }

    /// A body, in half of all cases damaged at one byte.
    fn body(&mut self) -> Vec<u8> {
        let [before, after] = [(); 2].map(|()| self.space());
        let mut body = format!("{before}{}{after}", self.object(3)).into_bytes();
        match self.below(4) {
            0 => drop(body.remove(self.below(body.len()))),
            1 => {
                let at = self.below(body.len());
                body[at] = b"{}[]\",:\\ u0\xff\x0c"[self.below(13)];
            }
            _ => {}
        }
        body
    }
}

/// What stands at the top level.
struct TopLevel {
    /// How often `model` and `routing_preferences` do.
    ours: [usize; 2],
    /// Whether a key may be taken for one of ours and is not written like it.
    is_disguised: bool,
}

fn top_level(body: &[u8]) -> TopLevel {
    struct Keys<'a>(Vec<Cow<'a, str>>);
    impl<'de: 'a, 'a> serde::Deserialize<'de> for Keys<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys<'de>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys<'de>, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((Key(key), _)) = map.next_entry::<Key<'_>, Value>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    let Keys(keys) = serde_json::from_slice(body).unwrap();
    let members = ["model", "routing_preferences", "stream", "max_tokens", "input", "store"];
    // Full case mapping: it folds more letters than the simple one, and none that stands here.
    let folded = |key: &str| key.split('\0').next().map(|key| key.to_uppercase().to_lowercase());
    let is_disguised = keys.iter().any(|key| {
        members.iter().any(|member| {
            let is_written = key == member && matches!(key, Cow::Borrowed(_));
            folded(key).as_deref() == Some(*member) && !is_written
        })
    });
    let ours = ["model", "routing_preferences"];
    let ours = ours.map(|name| keys.iter().filter(|key| *key == name).count());
    TopLevel { ours, is_disguised }
}

#[test]
fn random_bodies_are_read_and_cut_as_serde_json_does() {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases: usize = asked.unwrap_or(30_000).max(30_000);
    let seed =
        if asked.is_some() { RandomState::new().hash_one(()) | 1 } else { 0x9e37_79b9_7f4a_7c15 };
    let mut random = Random(seed);
    let (mut cut, mut quick, mut disguised) = (0, 0, 0);
    for _ in 0..cases {
        let body = random.body();
        let shown = String::from_utf8_lossy(&body).into_owned();
        let parsed = JsonBody::parse(Bytes::from(body.clone()));
        // The quick way may give up; where it does not, it agrees with serde_json.
        if let (Ok(text), Some(found)) = (std::str::from_utf8(&body), quick::find(&body)) {
            assert_eq!(Ok(found), scan::find(text), "{shown}");
            quick += 1;
        }
        let Ok(Value::Object(mut expected)) = serde_json::from_slice::<Value>(&body) else {
            // Escapes of halves of characters are JSON by its grammar, and serde_json refuses them
            // only where it must make text of them.
            let grammatical = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
            assert!(parsed.is_err() || grammatical && shown.contains("\\u"), "{seed}: {shown}");
            continue;
        };
        let TopLevel { ours, is_disguised } = top_level(&body);
        if ours.iter().any(|count| *count > 1) {
            assert!(matches!(parsed, Err(BodyError::Duplicate(_))), "{shown}");
            continue;
        }
        if is_disguised {
            assert!(matches!(parsed, Err(BodyError::Disguised(_))), "{parsed:?}: {shown}");
            disguised += 1;
            continue;
        }
        let envelope = parsed.unwrap_or_else(|error| panic!("{error:?}: {shown}"));
        let sent = envelope.for_model("p/\"m").to_bytes();
        if let Some(model) = expected.get_mut("model") {
            *model = json!("p/\"m");
        }
        cut += usize::from(expected.remove("routing_preferences").is_some());
        let sent: Value =
            serde_json::from_slice(&sent).unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!(sent, Value::Object(expected), "{shown}");
    }
    let seen = (cut, quick, disguised);
    assert!(cut > 1000 && quick > 5000 && disguised > 5000, "{seen:?}");
}

#[test]
fn deep_nesting_is_refused_where_serde_json_refuses_it_and_not_followed() {
    for member in ["a", "model", "metadata"] {
        let parsed = |depth: usize| {
            let body = format!("{{\"{member}\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let expected = serde_json::from_str::<Value>(&body).is_ok();
            let parsed = JsonBody::parse(Bytes::from(body)).is_ok();
            assert_eq!(parsed, expected, "{member}, {depth}");
            parsed
        };
        assert!(parsed(100) && parsed(126));
        assert!(!parsed(127) && !parsed(10_000) && !parsed(1_000_000));
    }
}
