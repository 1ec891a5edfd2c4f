//! What agents put into the messages of their users.
//!
//! A harness adds reminders, hooks and the time of day to what the user wrote, and moves them from message
//! to message. A router that reads them judges the harness and not the task, and a fingerprint over them
//! changes with each turn. Both leave them out.

use std::borrow::Cow;

/// Blocks that agent harnesses put into user messages; the user did not write them.
const TAGS: [(&str, &str); 6] = [
    ("<system-reminder>", "</system-reminder>"),
    ("<user-prompt-submit-hook>", "</user-prompt-submit-hook>"),
    // goose moves it through the messages, with a clock in it.
    ("<info-msg>", "</info-msg>"),
    // What Cline and its forks, Codex and Copilot say of the machine and the time.
    ("<environment_details>", "</environment_details>"),
    ("<environment_context>", "</environment_context>"),
    ("<current_datetime>", "</current_datetime>"),
];

/// The text of a user message without the blocks that an agent's harness put into it, such as
/// `<system-reminder>`. A block that does not end is left as it is. What was around a block is left
/// unchanged, blank lines included.
///
/// Borrows where there is nothing to leave out, which is the case for most messages. It is meant for text
/// that is read, by a router say; never send the result to a model in place of the message.
///
/// ```
/// use affinity_layer::agents::without_harness;
///
/// let message = "<system-reminder>It is 12:01.</system-reminder>Fix the tests.";
/// assert_eq!(without_harness(message), "Fix the tests.");
/// ```
#[must_use]
pub fn without_harness(text: &str) -> Cow<'_, str> {
    TAGS.iter().fold(Cow::Borrowed(text), |text, (open, close)| {
        if text.contains(open) { without_blocks(&text, open, close).into() } else { text }
    })
}

/// All of `text` but its blocks of one kind. One pass over the text: blocks do not nest, and the first end
/// after a beginning is its end.
fn without_blocks(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, block)) = rest.split_once(open) {
        let Some((_, after)) = block.split_once(close) else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_wrote_is_left() {
        for (text, left) in [
            ("hello", "hello"),
            ("<system-reminder>r</system-reminder>", ""),
            ("a<system-reminder>r</system-reminder>b<system-reminder>s</system-reminder>c", "abc"),
            (
                "<user-prompt-submit-hook>h</user-prompt-submit-hook>a<system-reminder>r",
                "a<system-reminder>r",
            ),
            ("<info-msg>It is 12:01\n</info-msg>\nhello", "\nhello"),
        ] {
            assert_eq!(without_harness(text), left, "{text}");
        }
    }
}
