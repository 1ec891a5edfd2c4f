//! The prompt cache: what a model was sent before, from the beginning of a conversation on.
//!
//! A prompt is split into what precedes the conversation (tools, instructions) and its messages. The
//! part of a new prompt that it shares from the start with an earlier one, of the same model and the
//! same `user` if there is one, is cached. Real caches count in blocks and from about a thousand
//! tokens; this one counts from the first, so that a short conversation shows what a long one would.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::fields::items;

/// Beginnings that are remembered; the oldest is forgotten first.
const MAX_BEGINNINGS: usize = 100_000;

/// What precedes the conversation, in the three protocols.
const HEAD: [&str; 3] = ["tools", "system", "instructions"];

/// Remembers the beginnings of prompts. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct PromptCache(Arc<Mutex<Beginnings>>);

#[derive(Debug, Default)]
struct Beginnings {
    /// How often each is in `order`.
    known: HashMap<u64, usize>,
    order: VecDeque<u64>,
}

/// A prompt as the cache sees it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cached {
    /// What was known.
    pub(super) read: usize,
    /// What came to be known.
    pub(super) written: usize,
}

impl PromptCache {
    /// What `model` knows of a prompt, and remembers the rest.
    pub(super) fn look(&self, model: &str, request: &Value) -> Cached {
        let mut beginnings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Its keys are always the same, so that a run can be repeated.
        let mut hasher = DefaultHasher::new();
        for whose in [model, request["user"].as_str().unwrap_or_default()] {
            hasher.write_usize(whose.len());
            hasher.write(whose.as_bytes());
        }
        let (mut cached, mut is_known) = (Cached::default(), true);
        for part in parts(request) {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
            let beginning = hasher.finish();
            is_known &= beginnings.known.contains_key(&beginning);
            *(if is_known { &mut cached.read } else { &mut cached.written }) += part.len();
            beginnings.remember(beginning);
        }
        cached
    }
}

impl Beginnings {
    fn remember(&mut self, beginning: u64) {
        *self.known.entry(beginning).or_default() += 1;
        self.order.push_back(beginning);
        if self.order.len() > MAX_BEGINNINGS
            && let Some(oldest) = self.order.pop_front()
            && let Some(count) = self.known.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&oldest);
            }
        }
    }
}

/// The parts of a prompt, in the order in which a model reads them.
fn parts(request: &Value) -> impl Iterator<Item = String> {
    let head = HEAD.iter().map(|key| &request[key]);
    let bare = Some(&request["input"]).filter(|input| input.is_string());
    let conversation = items(&request["messages"]).iter().chain(items(&request["input"]));
    let parts = head.chain(bare).chain(conversation);
    parts.filter(|part| !part.is_null()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(messages: &[&str]) -> Value {
        let messages = messages.iter().map(|text| json!({"role": "user", "content": text}));
        json!({"system": "be brief", "messages": messages.collect::<Value>()})
    }

    #[test]
    fn a_conversation_that_goes_on_is_known_up_to_its_new_part() {
        let cache = PromptCache::default();
        let first = cache.look("m", &prompt(&["one"]));
        assert!(first.read == 0 && first.written > 0);
        let second = cache.look("m", &prompt(&["one", "two"]));
        assert_eq!(second.read, first.written);
        let again = cache.look("m", &prompt(&["one", "two"]));
        assert_eq!(again, Cached { read: second.read + second.written, written: 0 });
    }

    #[test]
    fn another_model_or_user_knows_nothing_and_another_beginning_is_not_known() {
        let cache = PromptCache::default();
        let first = cache.look("m", &prompt(&["one", "two"]));
        assert_eq!(cache.look("n", &prompt(&["one", "two"])), first);
        let mut of_user = prompt(&["one", "two"]);
        of_user["user"] = "u".into();
        assert_eq!(cache.look("m", &of_user), first);
        let changed = cache.look("m", &prompt(&["0ne", "two"]));
        assert_eq!(changed.read, json!("be brief").to_string().len(), "nothing behind the change");
    }

    #[test]
    fn the_three_protocols_have_their_parts() {
        for (request, count) in [
            (json!({"tools": [1], "messages": [1, 2]}), 3),
            (json!({"system": "s", "messages": [1]}), 2),
            (json!({"instructions": "i", "input": "text"}), 2),
            (json!({"input": [1, 2]}), 2),
        ] {
            assert_eq!(parts(&request).count(), count, "{request}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let cache = PromptCache::default();
        for n in 0..MAX_BEGINNINGS {
            cache.look("m", &prompt(&[&n.to_string()]));
        }
        let beginnings = cache.0.lock().unwrap();
        assert_eq!(beginnings.order.len(), MAX_BEGINNINGS);
        assert!(beginnings.known.len() <= MAX_BEGINNINGS);
        drop(beginnings);
        assert_eq!(cache.look("m", &prompt(&["0"])).read, 10, "the instructions alone");
    }
}
