//! Where a new turn of the user begins in an agent's loop.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conversation::{self, Role};
use crate::list::each;

/// The types of parts that hold no text and that a user adds, in the three protocols.
const ATTACHMENTS: [&str; 8] = [
    "document",
    "file",
    "image",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "video_url",
];

/// Whether the newest message of a body is one that the user wrote, and not a step of a loop that is
/// under way: a tool's result, or text that only the agent's harness put in. Pictures, sound and files
/// are written like text.
///
/// `path` is that of the request; it distinguishes Chat Completions, Messages and Responses. A body
/// that is not understood opens no turn.
///
/// ```
/// use router_client::opens_user_turn;
///
/// let path = "/v1/chat/completions";
/// let asked = br#"{"messages": [{"role": "user", "content": "What is 2 + 2?"}]}"#;
/// assert!(opens_user_turn(path, asked));
///
/// let tool = br#"{"messages": [{"role": "user", "content": "What is 2 + 2?"},
///     {"role": "assistant", "content": null, "tool_calls": []},
///     {"role": "tool", "content": "4"}]}"#;
/// assert!(!opens_user_turn(path, tool));
/// ```
#[must_use]
pub fn opens_user_turn(path: &str, body: &[u8]) -> bool {
    for item in conversation::items(path, body).into_iter().rev() {
        match role(item).as_deref() {
            // Instructions that a harness appends do not show who speaks.
            Some("system" | "developer") => {}
            Some("user") => {
                let parts = Parts::of(item);
                // In Messages, the results of tools come in messages of the user.
                if parts.tool_result {
                    return false;
                }
                if wrote(item) || parts.attachment {
                    return true;
                }
                // A harness may speak in a message of its own, after that of the user.
            }
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
    conversation::message(item).is_some_and(|message| message.role == Role::User)
}

/// What the parts of a content that is a list are.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    tool_result: bool,
    attachment: bool,
}

impl Parts {
    fn of(item: &RawValue) -> Self {
        #[derive(Deserialize)]
        struct Item<'a> {
            #[serde(borrow)]
            content: &'a RawValue,
        }

        #[derive(Deserialize)]
        struct Part<'a> {
            #[serde(borrow)]
            r#type: Cow<'a, str>,
        }

        let mut found = Self::default();
        let Ok(Item { content }) = serde_json::from_str(item.get()) else { return found };
        let is_list = each(content, |part| {
            if let Ok(Part { r#type }) = serde_json::from_str(part.get()) {
                found.tool_result |= r#type == "tool_result";
                found.attachment |= ATTACHMENTS.contains(&&*r#type);
            }
        });
        if is_list { found } else { Self::default() }
    }
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

    const REMINDER: &str = "<system-reminder>be brief</system-reminder>";

    #[test]
    fn what_the_harness_says_after_the_user_takes_nothing_back() {
        let reminder = format!(r#"{{"role":"user","content":"{REMINDER}"}}"#);
        let hook = r#"{"role":"user","content":[{"type":"text","text":"<user-prompt-submit-hook>x</user-prompt-submit-hook>"}]}"#;
        for (path, list, answer) in [
            (CHAT, "messages", r#"{"role":"assistant","content":"a"}"#),
            (
                MESSAGES,
                "messages",
                r#"{"role":"assistant","content":[{"type":"text","text":"a"}]}"#,
            ),
            (
                RESPONSES,
                "input",
                r#"{"role":"assistant","content":[{"type":"output_text","text":"a"}]}"#,
            ),
        ] {
            let opens = |newest: &str| {
                let body = format!(r#"{{"{list}":[{answer},{newest}{hook},{reminder}]}}"#);
                opens_user_turn(path, body.as_bytes())
            };
            assert!(opens(r#"{"role":"user","content":"q3"},"#), "{path}");
            assert!(!opens(""), "{path}: the harness alone");
        }
        let tool = r#"{"role":"user","content":[{"type":"tool_result","content":"4"}]}"#;
        let body = format!(r#"{{"messages":[{{"role":"user","content":"q"}},{tool},{reminder}]}}"#);
        assert!(!opens_user_turn(MESSAGES, body.as_bytes()));
        let output = r#"{"type":"function_call_output","output":"4"}"#;
        let body = format!(r#"{{"input":[{{"role":"user","content":"q"}},{output},{reminder}]}}"#);
        assert!(!opens_user_turn(RESPONSES, body.as_bytes()));
    }

    #[test]
    fn pictures_sound_and_files_are_written_too() {
        for (path, list, kinds) in [
            (CHAT, "messages", &["image_url", "input_audio", "file"][..]),
            (MESSAGES, "messages", &["image", "document"]),
            (RESPONSES, "input", &["input_image", "input_file"]),
        ] {
            for kind in kinds {
                let body =
                    format!(r#"{{"{list}":[{{"role":"user","content":[{{"type":"{kind}"}}]}}]}}"#);
                assert!(opens_user_turn(path, body.as_bytes()), "{body}");
            }
            let body = format!(r#"{{"{list}":[{{"role":"user","content":[{{"type":"x"}}]}}]}}"#);
            assert!(!opens_user_turn(path, body.as_bytes()), "{body}");
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
