//! The conversation out of a request's body: Chat Completions, Messages and Responses.
//!
//! 1. Only the texts of user and assistant count. System prompts are the same for every turn of an
//!    agent, and calls and results of tools do not say what the user wants.
//! 2. What an agent's harness puts into a user message is taken out: it would decide every route.
//! 3. Messages are looked at from the newest on, and only as far as they are needed.

use std::borrow::Cow;
use std::collections::VecDeque;

use affinity_layer::agents::without_harness;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::list::each;

/// So many of the newest messages are looked at. A turn of an agent with more calls of tools is none that a
/// router could judge.
const MOST: usize = 16_384;

/// The JSON around a message's text, in bytes; roughly `{"role":"assistant","content":""},`.
const MESSAGE_FRAME: usize = 34;

/// Who speaks. Anybody but user and assistant is [`Other`](Self::Other), and is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
    #[serde(other)]
    Other,
}

/// A message of the user or the assistant that has text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Message {
    pub(crate) role: Role,
    pub(crate) content: String,
}

/// The messages of a body, the newest first; none if the body is not understood.
///
/// Each message is parsed when it is taken, so the cost of a long conversation that is not needed
/// is one scan.
pub(crate) fn newest_first<'a>(
    path: &str,
    body: &'a [u8],
) -> impl Iterator<Item = Message> + use<'a> {
    items(path, body).into_iter().rev().filter_map(message)
}

/// The text of the newest user message.
pub(crate) fn last_user_text(path: &str, body: &[u8]) -> Option<String> {
    newest_first(path, body)
        .find(|message| message.role == Role::User)
        .map(|message| message.content)
}

/// As many of the newest messages as fit into `budget` bytes, the oldest first.
///
/// The newest one is always there, its middle cut out if it has to be.
pub(crate) fn within(newest_first: impl Iterator<Item = Message>, budget: usize) -> Vec<Message> {
    let mut left = budget;
    let mut kept: Vec<Message> = Vec::new();
    for mut message in newest_first {
        if kept.is_empty() {
            message.content = ends(&message.content, budget).into_owned();
        }
        let cost = message.content.len() + MESSAGE_FRAME;
        if cost > left && !kept.is_empty() {
            break;
        }
        left = left.saturating_sub(cost);
        kept.push(message);
    }
    kept.reverse();
    kept
}

/// The beginning and the end of `text`, together at most `limit` bytes, plus the ellipsis between.
pub(crate) fn ends(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let half = limit / 2;
    // The nearest boundaries of characters: at most three bytes away, and there is always one.
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let end_of_head = (0..=half).rev().find(is_boundary).unwrap_or(0);
    let start_of_tail = (text.len() - half..=text.len()).find(is_boundary).unwrap_or(text.len());
    let (head, _) = text.split_at(end_of_head);
    let (_, tail) = text.split_at(start_of_tail);
    Cow::Owned(format!("{head} … {tail}"))
}

/// The newest messages of a body as they came, the oldest of them first; none if the body is not understood.
pub(crate) fn items<'a>(path: &str, body: &'a [u8]) -> VecDeque<&'a RawValue> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }

    let Ok(Body { messages, input }) = serde_json::from_slice(body) else {
        return VecDeque::new();
    };
    let list = if path.ends_with("/responses") {
        input
    } else if path.ends_with("/messages") || path.ends_with("/chat/completions") {
        messages
    } else {
        messages.or(input)
    };
    let Some(list) = list else { return VecDeque::new() };
    if list.get().starts_with('"') {
        // Responses takes a bare string for one user message.
        return VecDeque::from([list]);
    }
    let mut newest = VecDeque::new();
    let is_list = each(list, |item| {
        if newest.len() == MOST {
            newest.pop_front();
        }
        newest.push_back(item);
    });
    if is_list { newest } else { VecDeque::new() }
}

/// The message in `item`; `None` where neither user nor assistant says anything.
pub(crate) fn message(item: &RawValue) -> Option<Message> {
    #[derive(Deserialize)]
    struct Item<'a> {
        role: Role,
        #[serde(borrow)]
        content: &'a RawValue,
    }

    let (role, text) = match serde_json::from_str::<String>(item.get()) {
        Ok(text) => (Role::User, text),
        Err(_) => {
            let item: Item<'_> = serde_json::from_str(item.get()).ok()?;
            (item.role, text(item.content))
        }
    };
    let content = match role {
        Role::User => without_harness(&text).into_owned(),
        Role::Assistant => text,
        Role::Other => return None,
    };
    (!content.trim().is_empty()).then_some(Message { role, content })
}

/// The text of a message's content: a string, or the text parts of a list.
fn text(content: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Part {
        r#type: Option<String>,
        text: String,
    }

    if let Ok(text) = serde_json::from_str(content.get()) {
        return text;
    }
    let mut texts: Option<String> = None;
    let is_list = each(content, |part| {
        let Ok(part) = serde_json::from_str::<Part>(part.get()) else { return };
        if matches!(part.r#type.as_deref(), None | Some("text" | "input_text" | "output_text")) {
            match &mut texts {
                None => texts = Some(part.text),
                Some(texts) => texts.extend(["\n", &part.text]),
            }
        }
    });
    texts.filter(|_| is_list).unwrap_or_default()
}

#[cfg(test)]
mod tests;
