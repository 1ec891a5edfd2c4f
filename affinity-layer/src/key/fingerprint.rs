//! A guess at the session of a request that names none: the opening of its conversation.
//!
//! Most agent frameworks send no id at all. Their requests do have something in common, though: each holds
//! the whole conversation so far, and so begins in the same way. The opening is hashed, and the hash is
//! the session.
//!
//! What goes into the hash is what stays as it is from the first turn to the last: the instructions, the
//! text of the first user message, and whether there are tools. What is left out moves: blocks of a
//! harness with the time of day, marks for the provider's cache, the form of the content (a string, or a
//! list of one part), the tools themselves.
//!
//! It is the last source to be looked at, because it is the only one that can be wrong. It is wrong for
//! conversations that open in the same way: jobs that start from one template, and agents whose first
//! messages are a fixed example.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{AffinityKey, IdKind};
use crate::agents::without_harness;

/// Tells conversations apart by their openings, for clients that send no id at all.
///
/// The id is a keyed hash (BLAKE3) of the instructions, the text of the first user message, without
/// what an agent's harness put into it, and whether tools are offered, which parts an agent's loop
/// from its side calls. These stay as they are while a conversation grows. The tools themselves do
/// not: Qwen Code offers others from one turn to the next.
///
/// It is a guess. Two conversations of one tenant with the same opening share a pin, and one whose
/// instructions change on the way, such as by the time of day, changes its session. Set it where a
/// shared pin does no harm, and let clients that can send a header do so.
///
/// The hash is keyed so that nobody who reads the store, and knows how people begin, can tell who has asked
/// what.
///
/// ```
/// use affinity_layer::{
///     AffinityLayer, BoxError, Fingerprint, MemoryStore, RouteDecision, RouteRequest,
/// };
/// use tower::service_fn;
///
/// # fn secret_of_the_fleet() -> String { "at least 128 random bits".into() }
/// # let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
/// let affinity = AffinityLayer::new(MemoryStore::default(), router)
///     .fingerprint(Fingerprint::new(&secret_of_the_fleet()));
/// ```
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Derives the hash's key from `secret`, which should hold at least 128 random bits. Replicas over
    /// one store need the same secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let context = "affinity-layer 2026-11-20 fingerprints of conversations";
        Self(blake3::derive_key(context, secret.as_bytes()))
    }

    /// Draws the key at random: no other process finds the same sessions, nor does this one once it
    /// was started again. Right for pins in memory, which end with the process as well.
    #[must_use]
    pub fn random() -> Self {
        let mut hasher = blake3::Hasher::new();
        for _ in 0..4 {
            hasher.update(&RandomState::new().hash_one(()).to_le_bytes());
        }
        Self(hasher.finalize().into())
    }

    /// For openings that come with a counter of the client, such as goose's date and number, which strangers
    /// send as well. The key is not secret: the id is as hard to guess as both together, and every replica
    /// finds it.
    pub(super) fn beside_counter() -> Self {
        Self(blake3::derive_key("affinity-layer 2026-11-30 openings beside a counter", &[]))
    }

    /// The key of a body's conversation, `None` without a message of the user. Two clients with one
    /// opening and different counters have two conversations.
    ///
    /// Each part is hashed after its length, so that what moves from the end of one to the beginning of the
    /// next is another opening.
    pub(super) fn key(&self, body: &[u8], counter: Option<&[u8]>) -> Option<AffinityKey> {
        let opening = Opening::of(body)?;
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let tools: &[u8] = if opening.tools { b"tools" } else { b"" };
        let parts = [opening.instructions.as_bytes(), tools, opening.message.as_bytes()];
        for part in parts.into_iter().chain(counter) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut hash = [0; 16];
        hasher.finalize_xof().fill(&mut hash);
        Some(AffinityKey::ours(IdKind::Fingerprint, u128::from_be_bytes(hash)))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprint").finish_non_exhaustive()
    }
}

/// What stays of a conversation, in any of the three protocols: the same texts have the same opening in
/// each of them.
struct Opening {
    instructions: String,
    /// Whether there are any: an agent's loop has tools, its calls for a title or a summary have none.
    tools: bool,
    message: String,
}

impl Opening {
    /// The opening in a body of any of the three protocols; `None` if it is no JSON or nobody has asked
    /// anything. Instructions may be a member of the body or messages before the first of the user, and count
    /// in the same way.
    fn of(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            system: Option<&'a RawValue>,
            #[serde(borrow)]
            instructions: Option<&'a RawValue>,
            #[serde(borrow)]
            tools: Option<&'a RawValue>,
            #[serde(borrow)]
            messages: Option<&'a RawValue>,
            #[serde(borrow)]
            input: Option<&'a RawValue>,
        }

        let body: Body<'_> = serde_json::from_slice(body).ok()?;
        let mut instructions: Vec<String> =
            [body.system, body.instructions].into_iter().flatten().map(text).collect();
        let conversation = body.messages.or(body.input)?;
        let message = match serde_json::from_str::<Vec<&RawValue>>(conversation.get()) {
            // Responses takes a bare string for one user message.
            Err(_) => text(conversation),
            Ok(items) => items.into_iter().find_map(|item| {
                let item: Item<'_> = serde_json::from_str(item.get()).ok()?;
                let text = text(item.content);
                match &*item.role {
                    "user" if !text.is_empty() => return Some(text),
                    "system" | "developer" => instructions.push(text),
                    _ => {}
                }
                None
            })?,
        };
        // A client that offers none leaves the list out or empty.
        let tools = body.tools.is_some_and(|tools| tools.get() != "[]");
        let instructions = instructions.join("\n");
        (!message.is_empty()).then_some(Self { instructions, tools, message })
    }
}

/// A message, as far as it matters. Items of other types have no role and are passed over.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    role: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
}

/// The text of a string or of a list of parts, of which one part is the same as a string. Parts without a
/// text, such as images, and those that hold nothing but a harness's block are left out.
fn text(content: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        text: Cow<'a, str>,
    }

    let own = |text: &str| without_harness(text).trim().to_owned();
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return own(&text);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
    let texts = parts.into_iter().filter_map(|part| {
        let Part { text } = serde_json::from_str(part.get()).ok()?;
        Some(own(&text)).filter(|text| !text.is_empty())
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn print(body: &Value) -> Option<String> {
        let key = Fingerprint::new("secret").key(body.to_string().as_bytes(), None)?;
        assert_eq!(key.kind(), IdKind::Fingerprint);
        Some(key.session().to_owned())
    }

    fn chat(messages: &Value) -> Value {
        json!({"model": "m", "tools": [{"type": "function", "name": "f"}], "messages": messages})
    }

    #[test]
    fn a_conversation_that_grows_keeps_its_fingerprint() {
        let system = json!({"role": "system", "content": "be brief"});
        let user = json!({"role": "user", "content": "hello"});
        let first = print(&chat(&json!([system, user]))).unwrap();
        assert_eq!(first.len(), 32);
        let later = chat(&json!([system, user, {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "and now?"}]));
        assert_eq!(print(&later).unwrap(), first);
        let part = json!({"type": "text", "text": " hello\n", "cache_control": {"type": "e"}});
        let as_parts = chat(&json!([system, {"role": "user", "content": [
            {"type": "text", "text": "<system-reminder>now 12:01</system-reminder>"}, part]}]));
        assert_eq!(print(&as_parts).unwrap(), first);
    }

    #[test]
    fn another_opening_is_another_conversation() {
        let base = json!({"system": "s", "tools": [{"name": "f"}],
            "messages": [{"role": "user", "content": "hello"}]});
        let changed = |pointer: &str, value: &str| {
            let mut body = base.clone();
            *body.pointer_mut(pointer).unwrap() = json!(value);
            body
        };
        let mut prints = vec![print(&base)];
        for (pointer, value) in [("/system", "t"), ("/messages/0/content", "hellos")] {
            prints.push(print(&changed(pointer, value)));
        }
        let other_tools = print(&changed("/tools/0/name", "g"));
        assert_eq!(other_tools, prints[0], "an agent may learn tools on the way");
        let mut no_tools = base.clone();
        no_tools["tools"] = json!([]);
        prints.push(print(&no_tools));
        // What moves from one part to the next is another opening too.
        prints.push(print(&json!({"messages": [{"role": "user", "content": "hello"}]})));
        for (system, message) in [("shel", "lo"), ("she", "llo")] {
            let message = json!({"role": "user", "content": message});
            prints.push(print(&json!({"system": system, "messages": [message]})));
        }
        prints.sort();
        prints.dedup();
        assert_eq!(prints.len(), 7);
        assert!(prints.iter().all(Option::is_some));
    }

    #[test]
    fn responses_take_a_string_or_items() {
        let bare = print(&json!({"instructions": "i", "input": "hello"}));
        let items = json!({"instructions": "i", "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "function_call_output", "call_id": "c", "output": "4"}]});
        assert!(bare.is_some());
        assert_eq!(print(&items), bare);
    }

    #[test]
    fn a_counter_tells_conversations_of_one_opening_apart() {
        let body = br#"{"input":"hello"}"#;
        let key = |counter: Option<&[u8]>| Fingerprint::new("s").key(body, counter).unwrap();
        assert_eq!(key(Some(b"20261130_1")), key(Some(b"20261130_1")));
        assert_ne!(key(Some(b"20261130_1")), key(Some(b"20261130_2")));
        assert_ne!(key(Some(b"20261130_1")), key(None));
    }

    #[test]
    fn without_a_message_of_the_user_there_is_no_guess() {
        for body in [
            json!({}),
            json!([]),
            json!({"messages": []}),
            json!({"input": 7}),
            json!({"input": " "}),
            json!({"messages": [{"role": "user", "content": []}]}),
            json!({"messages": [{"role": "system", "content": "s"}]}),
            json!({"messages": [{"role": "user",
                "content": "<system-reminder>r</system-reminder>"}]}),
        ] {
            assert_eq!(print(&body), None, "{body}");
        }
        assert_eq!(Fingerprint::new("s").key(b"no json", None), None);
    }

    #[test]
    fn it_depends_on_the_secret_and_shows_none() {
        let body = br#"{"input":"hello"}"#;
        let key = |fingerprint: &Fingerprint| fingerprint.key(body, None).unwrap();
        let one = Fingerprint::new("hunter2");
        assert_eq!(key(&one), key(&Fingerprint::new("hunter2")));
        assert_ne!(key(&one), key(&Fingerprint::new("hunter3")));
        assert_ne!(key(&Fingerprint::random()), key(&Fingerprint::random()));
        assert_eq!(format!("{one:?}"), "Fingerprint { .. }");
    }
}
