//! What a block is, in each protocol, and what depends on one.

use std::ops::Range;

use crate::body::walk::{Child, children, member, string_member};

/// A kind of what is left out; its place in [`KINDS`].
pub(super) type Kind = usize;

/// The names of the kinds, as a client is told.
pub(super) const KINDS: [&str; 14] = [
    "thinking",
    "redacted_thinking",
    "server_tool_result",
    "citations",
    "reasoning",
    "compaction",
    "encrypted_content",
    "reasoning_details",
    "thinking_blocks",
    "thought_signature",
    "empty_message",
    "item_id",
    "clear_thinking",
    "thinking_mode",
];
pub(super) const THINKING: Kind = 0;
pub(super) const REDACTED_THINKING: Kind = 1;
pub(super) const SERVER_TOOL_RESULT: Kind = 2;
pub(super) const CITATIONS: Kind = 3;
pub(super) const REASONING: Kind = 4;
pub(super) const COMPACTION: Kind = 5;
pub(super) const ENCRYPTED_CONTENT: Kind = 6;
pub(super) const REASONING_DETAILS: Kind = 7;
pub(super) const THINKING_BLOCKS: Kind = 8;
pub(super) const THOUGHT_SIGNATURE: Kind = 9;
pub(super) const EMPTY_MESSAGE: Kind = 10;
pub(super) const ITEM_ID: Kind = 11;
pub(super) const CLEAR_THINKING: Kind = 12;
pub(super) const THINKING_MODE: Kind = 13;

/// A block that only one vendor can read.
pub(super) struct Block {
    pub(super) kind: Kind,
    /// What identifies it.
    pub(super) id: Range<usize>,
}

/// What one child of a message is: a block, a member that is a block, or neither.
pub(super) fn part(text: &[u8], value: &Range<usize>) -> Option<Block> {
    let kind = string_member(text, value, "type")?;
    let named = |kind, key| {
        let id = member(text, value, key).filter(|id| id.len() > 2);
        Some(Block { kind, id: id.unwrap_or_else(|| value.clone()) })
    };
    match kind {
        b"thinking" => named(THINKING, "signature"),
        b"redacted_thinking" => named(REDACTED_THINKING, "data"),
        kind if kind.ends_with(b"_tool_result") => {
            let content = member(text, value, "content")?;
            let is_encrypted = |value: &Range<usize>| {
                children(text, value)
                    .any(|member| matches!(member.key, b"encrypted_content" | b"encrypted_stdout"))
            };
            let has = is_encrypted(&content)
                || children(text, &content).any(|child| is_encrypted(&child.value));
            if has { named(SERVER_TOOL_RESULT, "tool_use_id") } else { None }
        }
        _ => None,
    }
}

/// Whether a member of a part of a message is a block.
pub(super) fn part_member(text: &[u8], child: &Child<'_>) -> Option<Block> {
    let is_foreign = child.key == b"citations"
        && children(text, &child.value)
            .any(|citation| member(text, &citation.value, "encrypted_index").is_some());
    is_foreign.then(|| Block { kind: CITATIONS, id: child.value.clone() })
}

/// Whether a member of a message, or of a call in one, is a block.
pub(super) fn message_member(text: &[u8], child: &Child<'_>) -> Option<Block> {
    let holds_signature = || {
        let signature = |value: &Range<usize>| {
            children(text, value)
                .any(|member| matches!(member.key, b"thought_signature" | b"thought_signatures"))
        };
        let google = member(text, &child.value, "google");
        signature(&child.value) || google.is_some_and(|google| signature(&google))
    };
    let is_there = text.get(child.value.clone()) != Some(b"null") && child.value.len() > 2;
    let kind = match child.key {
        b"reasoning_details" => REASONING_DETAILS,
        b"thinking_blocks" => THINKING_BLOCKS,
        b"encrypted_content" => ENCRYPTED_CONTENT,
        b"thought_signature" => THOUGHT_SIGNATURE,
        b"extra_content" | b"provider_specific_fields" if holds_signature() => THOUGHT_SIGNATURE,
        _ => return None,
    };
    is_there.then(|| Block { kind, id: child.value.clone() })
}

/// Whether an item of Responses is a block.
pub(super) fn item(text: &[u8], value: &Range<usize>) -> Option<Block> {
    let kind = string_member(text, value, "type")?;
    let content = member(text, value, "encrypted_content").filter(|content| content.len() > 2);
    let content = content.filter(|content| text.get(content.clone()) != Some(b"null"));
    let kind = match kind {
        b"reasoning" => REASONING,
        _ if content.is_none() => return None,
        kind if kind.starts_with(b"compaction") => COMPACTION,
        b"message" => return None,
        _ => ENCRYPTED_CONTENT,
    };
    let id = content.or_else(|| member(text, value, "id").filter(|id| id.len() > 2));
    Some(Block { kind, id: id.unwrap_or_else(|| value.clone()) })
}

/// Whether an item of Responses is what a model has said or called.
pub(super) fn is_of_a_model(text: &[u8], item: &Range<usize>) -> bool {
    let kind = string_member(text, item, "type").unwrap_or(b"message");
    match kind {
        b"message" => string_member(text, item, "role") == Some(b"assistant"),
        kind => kind.ends_with(b"_call"),
    }
}

/// Whether an item may go without its id. Of other calls of tools the id is required.
pub(super) fn loses_its_id(text: &[u8], item: &Range<usize>) -> bool {
    let kind = string_member(text, item, "type").unwrap_or(b"message");
    matches!(kind, b"message" | b"function_call" | b"custom_tool_call")
}

/// Whether a message holds the result of a tool.
pub(super) fn holds_results(text: &[u8], message: &Range<usize>) -> bool {
    let content = member(text, message, "content");
    content.is_some_and(|content| {
        children(text, &content)
            .any(|part| string_member(text, &part.value, "type") == Some(b"tool_result"))
    })
}
