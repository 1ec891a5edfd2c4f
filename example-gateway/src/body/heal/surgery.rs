//! The cutting, once it is known how many blocks go.
//!
//! It meets the blocks in the order in which the search has counted them. A message is cut after its parts
//! are: only then is it known whether anything is left of it.

use std::collections::HashSet;
use std::ops::Range;

use super::blocks::{
    Block, CLEAR_THINKING, EMPTY_MESSAGE, ITEM_ID, Kind, REDACTED_THINKING, THINKING,
    THINKING_MODE, holds_results, is_of_a_model, item, loses_its_id, message_member, part,
    part_member,
};
use crate::body::walk::{Cutter, children, member, string_member};

/// The cutting, once it is known how many blocks go.
#[derive(Default)]
pub(super) struct Surgery<'a> {
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
    /// The first `left` blocks of `text` are to go, and the server tools' `calls` whose results do.
    pub(super) fn new(text: &'a [u8], left: usize, calls: HashSet<&'a [u8]>) -> Self {
        Self { text, left, calls, ..Self::default() }
    }

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

    /// What is cut out of the body at `whole`, in no order, and a bit for each kind of it.
    pub(super) fn body(mut self, whole: &Range<usize>) -> (Vec<Range<usize>>, u16) {
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
