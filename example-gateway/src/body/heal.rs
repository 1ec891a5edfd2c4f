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

mod blocks;
mod surgery;

use std::ops::Range;

use self::blocks::{Block, KINDS, SERVER_TOOL_RESULT, item, message_member, part, part_member};
use self::surgery::Surgery;
use super::walk::children;

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
    let surgery = Surgery::new(text, limit + 1, calls);
    let (mut cuts, kinds) = surgery.body(&whole);
    cuts.sort_by_key(|cut| cut.start);
    Some(Healing { cuts, kinds, last, is_partial })
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

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
