//! Where a new turn of the user begins in an agent's loop.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::prompt::{self, Role};

/// Whether the newest message of a body is one that the user wrote, and not a step of a loop that is
/// under way: a tool's result, or text that only the agent's harness put in.
///
/// `path` is that of the request; it tells Chat Completions, Messages and Responses apart. A body
/// that is not understood opens no turn.
#[must_use]
pub fn opens_user_turn(path: &str, body: &[u8]) -> bool {
    for item in prompt::items(path, body).into_iter().rev() {
        match role(item).as_deref() {
            // Instructions that a harness appends say nothing of who speaks.
            Some("system" | "developer") => {}
            Some("user") => return wrote(item) && !has_tool_result(item),
            _ => return false,
        }
    }
    false
}

fn role(item: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        role: Cow<'a, str>,
    }

    if item.get().starts_with('"') {
        // A bare string in Responses.
        return Some(Cow::Borrowed("user"));
    }
    serde_json::from_str(item.get()).ok().map(|Item { role }| role)
}

fn wrote(item: &RawValue) -> bool {
    prompt::message(item).is_some_and(|message| message.role == Role::User)
}

/// In Messages, the results of tools come in messages of the user.
fn has_tool_result(item: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
    }

    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        r#type: Cow<'a, str>,
    }

    let parts = serde_json::from_str(item.get()).map_or(Vec::new(), |Item { content }| content);
    parts.iter().any(|part| {
        serde_json::from_str(part.get()).is_ok_and(|Part { r#type }| r#type == "tool_result")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "/v1/chat/completions";
    const MESSAGES: &str = "/v1/messages";
    const RESPONSES: &str = "/v1/responses";

    #[test]
    fn a_message_of_the_user_opens_a_turn() {
        for (path, body) in [
            (
                CHAT,
                r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"hi"}]}"#,
            ),
            (
                CHAT,
                r#"{"messages":[{"role":"user","content":"hi"},{"role":"developer","content":"d"}]}"#,
            ),
            (MESSAGES, r#"{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#),
            (RESPONSES, r#"{"input":"hi"}"#),
            (
                RESPONSES,
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}]}"#,
            ),
        ] {
            assert!(opens_user_turn(path, body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_step_of_the_loop_does_not() {
        for (path, body) in [
            (
                CHAT,
                r#"{"messages":[{"role":"user","content":"hi"},{"role":"tool","content":"4"}]}"#,
            ),
            (
                CHAT,
                r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"a"}]}"#,
            ),
            (
                MESSAGES,
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"4"}]}]}"#,
            ),
            (
                MESSAGES,
                r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"4"},{"type":"text","text":"note"}]}]}"#,
            ),
            (
                MESSAGES,
                r#"{"messages":[{"role":"user","content":"<system-reminder>be brief</system-reminder>"}]}"#,
            ),
            (
                RESPONSES,
                r#"{"input":[{"role":"user","content":"hi"},{"type":"function_call_output","output":"4"}]}"#,
            ),
            (CHAT, r#"{"messages":[]}"#),
            (CHAT, "{}"),
            (CHAT, "no json"),
        ] {
            assert!(!opens_user_turn(path, body.as_bytes()), "{body}");
        }
    }
}
