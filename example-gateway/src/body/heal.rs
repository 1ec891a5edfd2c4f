//! Healing: leaving out of a body what only one vendor can read, so that another can go on with it.
//!
//! The body is what it was with ranges cut out; no byte is written anew. Blocks are counted in the order in
//! which they are written, and all up to one of them go:
//!
//! | kind | protocol | what goes |
//! |---|---|---|
//! | `thinking`, `redacted_thinking` | messages, chat | the block |
//! | `server_tool_result` | messages | a result with encrypted content, and the call of the tool |
//! | `citations` | messages | the `citations` of a text, if they point into such a result |
//! | `reasoning`, `compaction`, `encrypted_content` | responses | the item |
//! | `reasoning_details`, `thinking_blocks`, `encrypted_content` | chat | the member of the message |
//! | `thought_signature` | chat | the member of the message or call that holds it |
//!
//! What makes no sense without them goes as well:
//!
//! | kind | what goes |
//! |---|---|
//! | `empty_message` | a message of which nothing is left |
//! | `item_id` | the `id` of a message or call whose reasoning went, which would ask for the reasoning |
//! | `clear_thinking` | an edit of `context_management` that speaks of thinking |
//! | `thinking_mode` | `thinking`, in a loop of tools whose last answer does not begin with thinking |
//!
//! The last one is the rule of Messages: with thinking switched on, the last answer of a loop of tools must
//! begin with its thinking. When that went, the loop is finished without; what the new vendor thinks in the
//! next one stays.

use std::collections::HashSet;
use std::ops::Range;

use super::walk::{Child, Cutter, children, member, string_member};

/// A kind of what is left out; its place in [`KINDS`].
type Kind = usize;

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
const THINKING: Kind = 0;
const REDACTED_THINKING: Kind = 1;
const SERVER_TOOL_RESULT: Kind = 2;
const CITATIONS: Kind = 3;
const REASONING: Kind = 4;
const COMPACTION: Kind = 5;
const ENCRYPTED_CONTENT: Kind = 6;
const REASONING_DETAILS: Kind = 7;
const THINKING_BLOCKS: Kind = 8;
const THOUGHT_SIGNATURE: Kind = 9;
const EMPTY_MESSAGE: Kind = 10;
const ITEM_ID: Kind = 11;
const CLEAR_THINKING: Kind = 12;
const THINKING_MODE: Kind = 13;

/// Up to where blocks are left out.
pub(crate) enum Upto<'a> {
    /// Every one that is there.
    End,
    /// The last one that is it, by what identifies it. Without it nothing is left out.
    Block(&'a dyn Fn(&[u8]) -> bool),
}

/// What is cut out of one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Healing {
    /// In order, and apart from each other. The top-level `routing_preferences` are among them.
    pub(super) cuts: Vec<Range<usize>>,
    /// A bit for each of [`KINDS`].
    kinds: u16,
    /// What identifies the last block that is left out.
    last: Range<usize>,
    /// Whether blocks stay that come after it.
    pub(crate) is_partial: bool,
}

impl Healing {
    /// The names of what is left out, as a list with commas.
    pub(crate) fn kinds(&self) -> String {
        let named = KINDS.iter().zip(0..).filter(|(_, kind)| self.kinds >> kind & 1 == 1);
        named.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Where what identifies the last block is in the body.
    pub(crate) fn last(&self) -> Range<usize> {
        self.last.clone()
    }
}

/// How `text`, one checked object, is healed; `None` if nothing has to be left out.
pub(super) fn heal(text: &[u8], upto: &Upto<'_>) -> Option<Healing> {
    let whole = text.iter().position(|byte| *byte == b'{')?..text.len();
    let mut search = Search { count: 0, last: None, results: Vec::new(), upto };
    for top in children(text, &whole) {
        if matches!(top.key, b"messages" | b"input") {
            children(text, &top.value).for_each(|message| search.message(text, &message.value));
        }
    }
    let (limit, last) = search.last?;
    let is_partial = limit + 1 < search.count;
    let results = search.results.into_iter().filter(|(place, _)| *place <= limit);
    let calls = results.filter_map(|(_, id)| text.get(id)).collect();
    let surgery = Surgery { text, left: limit + 1, calls, ..Surgery::default() };
    let (mut cuts, kinds) = surgery.body(&whole);
    cuts.sort_by_key(|cut| cut.start);
    Some(Healing { cuts, kinds, last, is_partial })
}

/// A block that only one vendor can read.
struct Block {
    kind: Kind,
    /// What identifies it.
    id: Range<usize>,
}

/// What one child of a message is: a block, a member that is a block, or neither.
fn part(text: &[u8], value: &Range<usize>) -> Option<Block> {
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
fn part_member(text: &[u8], child: &Child<'_>) -> Option<Block> {
    let is_foreign = child.key == b"citations"
        && children(text, &child.value)
            .any(|citation| member(text, &citation.value, "encrypted_index").is_some());
    is_foreign.then(|| Block { kind: CITATIONS, id: child.value.clone() })
}

/// Whether a member of a message, or of a call in one, is a block.
fn message_member(text: &[u8], child: &Child<'_>) -> Option<Block> {
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
fn item(text: &[u8], value: &Range<usize>) -> Option<Block> {
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

/// The search for the last block that goes.
struct Search<'a> {
    count: usize,
    last: Option<(usize, Range<usize>)>,
    /// The results of server tools: which block each is, and the id of its call.
    results: Vec<(usize, Range<usize>)>,
    upto: &'a Upto<'a>,
}

impl Search<'_> {
    fn block(&mut self, text: &[u8], block: Block) {
        let is_it = match self.upto {
            Upto::End => true,
            Upto::Block(is_it) => is_it(text.get(block.id.clone()).unwrap_or_default()),
        };
        if block.kind == SERVER_TOOL_RESULT {
            self.results.push((self.count, block.id.clone()));
        }
        if is_it {
            self.last = Some((self.count, block.id));
        }
        self.count += 1;
    }

    /// The blocks of a message or item, in the order in which [`Surgery`] meets them.
    fn message(&mut self, text: &[u8], value: &Range<usize>) {
        if let Some(block) = item(text, value) {
            return self.block(text, block);
        }
        for child in children(text, value) {
            match child.key {
                b"content" if text.get(child.value.start) == Some(&b'[') => {
                    for element in children(text, &child.value) {
                        if let Some(block) = part(text, &element.value) {
                            self.block(text, block);
                            continue;
                        }
                        let members = children(text, &element.value);
                        members
                            .filter_map(|member| part_member(text, &member))
                            .for_each(|block| self.block(text, block));
                    }
                }
                b"tool_calls" => {
                    for call in children(text, &child.value) {
                        children(text, &call.value)
                            .filter_map(|member| message_member(text, &member))
                            .for_each(|block| self.block(text, block));
                    }
                }
                _ => {
                    if let Some(block) = message_member(text, &child) {
                        self.block(text, block);
                    }
                }
            }
        }
    }
}

/// The cutting, once it is known how many blocks go.
#[derive(Default)]
struct Surgery<'a> {
    text: &'a [u8],
    /// How many blocks are still to go.
    left: usize,
    /// How many blocks and calls are gone.
    gone: usize,
    kinds: u16,
    /// The calls of server tools whose results go.
    calls: HashSet<&'a [u8]>,
    /// Whether the item before is reasoning that went, or belongs to it.
    is_orphan: bool,
    /// Whether the last answer so far begins with thinking.
    thinks: bool,
    /// Whether results of tools came after it.
    is_loop: bool,
}

impl<'a> Surgery<'a> {
    fn note(&mut self, kind: Kind) {
        self.kinds |= 1 << kind;
    }

    /// Whether a block is to go.
    fn goes(&mut self, block: Option<Block>) -> bool {
        let Some(block) = block.filter(|_| self.left > 0) else { return false };
        self.left -= 1;
        self.gone += 1;
        self.note(block.kind);
        true
    }

    fn body(mut self, whole: &Range<usize>) -> (Vec<Range<usize>>, u16) {
        let text = self.text;
        let mut cuts = Vec::new();
        for top in children(text, whole) {
            if matches!(top.key, b"messages" | b"input") {
                self.messages(&top.value, &mut cuts);
            }
        }
        let mut cutter = Cutter::default();
        for top in children(text, whole) {
            let goes = match top.key {
                b"routing_preferences" => true,
                b"thinking" => self.stops_thinking(&top.value),
                b"context_management" => {
                    let mut inner = Vec::new();
                    let goes = self.edits(&top.value, &mut inner);
                    if !goes {
                        cuts.append(&mut inner);
                    }
                    goes
                }
                _ => false,
            };
            if goes { cutter.cut(&top.whole) } else { cutter.keep(&top.whole, &mut cuts) }
        }
        cutter.end(&mut cuts);
        (cuts, self.kinds)
    }

    fn messages(&mut self, messages: &Range<usize>, cuts: &mut Vec<Range<usize>>) {
        let mut cutter = Cutter::default();
        for message in children(self.text, messages) {
            let mut inner = Vec::new();
            if self.message(&message.value, &mut inner) {
                cutter.cut(&message.whole);
            } else {
                cutter.keep(&message.whole, cuts);
                cuts.append(&mut inner);
            }
        }
        cutter.end(cuts);
    }

    /// Cuts blocks out of one message or item. Returns whether it goes as a whole.
    fn message(&mut self, message: &Range<usize>, cuts: &mut Vec<Range<usize>>) -> bool {
        let text = self.text;
        let block = item(text, message);
        let is_reasoning = block.is_some();
        if self.goes(block) {
            self.is_orphan = true;
            return true;
        }
        if is_reasoning || !is_of_a_model(text, message) {
            self.is_orphan = false;
        }
        let mut cutter = Cutter::default();
        let (mut says, mut calls, mut first) = (false, false, None);
        let gone = self.gone;
        for child in children(text, message) {
            let goes = match child.key {
                b"content" => {
                    let (is_left, begin) = self.content(&child.value, cuts);
                    says |= is_left;
                    first = begin;
                    false
                }
                b"tool_calls" => {
                    calls |= children(text, &child.value).next().is_some();
                    self.calls_of(&child.value, cuts);
                    false
                }
                b"function_call" | b"refusal" | b"audio" => {
                    calls |= text.get(child.value.clone()) != Some(b"null");
                    false
                }
                b"id" if self.is_orphan && loses_its_id(text, message) => {
                    self.note(ITEM_ID);
                    true
                }
                _ => {
                    let block = message_member(text, &child);
                    let is_block = block.is_some();
                    let goes = self.goes(block);
                    // A later block is the new vendor's.
                    says |= is_block && !goes;
                    goes
                }
            };
            if goes { cutter.cut(&child.whole) } else { cutter.keep(&child.whole, cuts) }
        }
        cutter.end(cuts);
        let is_empty =
            self.gone > gone && !says && !calls && string_member(text, message, "role").is_some();
        if is_empty {
            self.note(EMPTY_MESSAGE);
        } else if string_member(text, message, "role") == Some(b"assistant") {
            self.thinks = first.is_some_and(|kind| matches!(kind, THINKING | REDACTED_THINKING));
            self.is_loop = false;
        } else {
            self.is_loop |= holds_results(text, message);
        }
        is_empty
    }

    /// Cuts blocks out of the content of a message. Returns whether anything is left of it, and the kind of
    /// block with which it begins then.
    fn content(
        &mut self,
        content: &Range<usize>,
        cuts: &mut Vec<Range<usize>>,
    ) -> (bool, Option<Kind>) {
        let text = self.text;
        if text.get(content.start) != Some(&b'[') {
            let is_empty = matches!(text.get(content.clone()), Some(b"null" | b"\"\""));
            return (!is_empty, None);
        }
        let mut cutter = Cutter::default();
        let (mut is_left, mut first) = (false, None);
        for child in children(text, content) {
            let block = part(text, &child.value);
            let kind = block.as_ref().map(|block| block.kind);
            let is_call = string_member(text, &child.value, "type") == Some(b"server_tool_use")
                && member(text, &child.value, "id")
                    .and_then(|id| text.get(id))
                    .is_some_and(|id| self.calls.contains(id));
            if self.goes(block) || is_call {
                self.gone += usize::from(is_call);
                cutter.cut(&child.whole);
                continue;
            }
            cutter.keep(&child.whole, cuts);
            if !is_left {
                (is_left, first) = (true, kind);
            }
            if kind.is_none() {
                let mut members = Cutter::default();
                for member in children(text, &child.value) {
                    match self.goes(part_member(text, &member)) {
                        true => members.cut(&member.whole),
                        false => members.keep(&member.whole, cuts),
                    }
                }
                members.end(cuts);
            }
        }
        cutter.end(cuts);
        (is_left, first)
    }

    /// Cuts signatures out of the calls of a message.
    fn calls_of(&mut self, calls: &Range<usize>, cuts: &mut Vec<Range<usize>>) {
        let text = self.text;
        for call in children(text, calls) {
            let mut cutter = Cutter::default();
            for member in children(text, &call.value) {
                match self.goes(message_member(text, &member)) {
                    true => cutter.cut(&member.whole),
                    false => cutter.keep(&member.whole, cuts),
                }
            }
            cutter.end(cuts);
        }
    }

    /// Whether the request goes on without thinking.
    fn stops_thinking(&mut self, thinking: &Range<usize>) -> bool {
        let kind = string_member(self.text, thinking, "type");
        let stops = self.is_loop && !self.thinks && kind.is_some_and(|kind| kind != b"disabled");
        if stops {
            self.note(THINKING_MODE);
        }
        stops
    }

    /// Cuts edits that speak of thinking out of `context_management`. Returns whether nothing is left of it.
    fn edits(&mut self, management: &Range<usize>, cuts: &mut Vec<Range<usize>>) -> bool {
        let text = self.text;
        let mut others = 0;
        let mut is_empty = false;
        for member in children(text, management) {
            if member.key != b"edits" {
                others += 1;
                continue;
            }
            let mut cutter = Cutter::default();
            for edit in children(text, &member.value) {
                let kind = string_member(text, &edit.value, "type").unwrap_or_default();
                if kind.starts_with(b"clear_thinking") {
                    self.note(CLEAR_THINKING);
                    is_empty = true;
                    cutter.cut(&edit.whole);
                } else {
                    cutter.keep(&edit.whole, cuts);
                }
            }
            is_empty &= cutter.end(cuts);
        }
        is_empty && others == 0
    }
}

/// Whether an item of Responses is what a model has said or called.
fn is_of_a_model(text: &[u8], item: &Range<usize>) -> bool {
    let kind = string_member(text, item, "type").unwrap_or(b"message");
    match kind {
        b"message" => string_member(text, item, "role") == Some(b"assistant"),
        kind => kind.ends_with(b"_call"),
    }
}

/// Whether an item may go without its id. Of other calls of tools the id is required.
fn loses_its_id(text: &[u8], item: &Range<usize>) -> bool {
    let kind = string_member(text, item, "type").unwrap_or(b"message");
    matches!(kind, b"message" | b"function_call" | b"custom_tool_call")
}

/// Whether a message holds the result of a tool.
fn holds_results(text: &[u8], message: &Range<usize>) -> bool {
    let content = member(text, message, "content");
    content.is_some_and(|content| {
        children(text, &content)
            .any(|part| string_member(text, &part.value, "type") == Some(b"tool_result"))
    })
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
