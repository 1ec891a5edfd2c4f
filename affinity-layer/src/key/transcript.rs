//! What a request tells of its conversation, in one form for the three protocols.
//!
//! A client that names no session still sends the whole conversation each time. A [`Transcript`] holds
//! the [prints](Print) of it by which a later part of the same conversation is found.
//!
//! # One form
//!
//! - White space, the blocks of an agent's harness, marks for the provider's cache, thoughts, and the
//!   form of a content (a string, or a list of one part) move from turn to turn and do not count.
//!   Neither do the tools that are offered.
//! - Instructions are apart from the messages, wherever they stand: smolagents replaces them for its
//!   last call, and aider repeats them at the end.
//! - Messages of the model in a row are one answer, be they blocks, items or messages.
//! - A message of which nothing is left is none. What is not understood counts as it is written, so that
//!   two conversations that differ are never taken for one.
//!
//! # Evidence
//!
//! [`Transcript::evidence`] lists what may lead to the session, the strongest first: the random ids of
//! calls in the latest answers, the latest answers, the same request, the messages before the latest
//! answers. [`AnswerNotes`] says what counts of an answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::AffinityKey;
use super::notes::AnswerNotes;
use super::print::{Domain, Print, PrintKey, Printer};
use crate::agents::without_harness;

/// The latest answers that are looked for. A client may put messages of its own between them, as aider
/// does, but not many.
const ANSWERS: usize = 3;

/// The prints of one request's conversation.
#[derive(Debug)]
pub(crate) struct Transcript {
    key: PrintKey,
    instructions: Print,
    opening: Print,
    /// The messages up to each place; the last one is all of them.
    upto: Vec<Print>,
    /// The latest first.
    answers: Vec<PastAnswer>,
}

/// An answer in a request, and what was said before it.
#[derive(Debug, Default)]
struct PastAnswer {
    calls: Vec<Print>,
    text: Option<Print>,
    /// How many messages come before it.
    before: usize,
}

/// Something by which the session of a request may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) print: Print,
    /// The place of the answer that it is from, for [`Transcript::traces`]; `None` for the request itself.
    pub(crate) answer: Option<usize>,
    /// It counts only for a request that is longer than the one that was served last: the same text may
    /// have been said twice.
    pub(crate) is_text: bool,
}

impl Transcript {
    /// Reads a body of any of the three protocols; `None` if it is not JSON or nobody has asked anything.
    pub(crate) fn of(body: &[u8], key: &PrintKey) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            system: Option<&'a RawValue>,
            #[serde(borrow)]
            instructions: Option<&'a RawValue>,
            #[serde(borrow)]
            messages: Option<&'a RawValue>,
            #[serde(borrow)]
            input: Option<&'a RawValue>,
        }

        let body: Body<'_> = serde_json::from_slice(body).ok()?;
        let mut reading = Reading::new(key);
        for told in [body.system, body.instructions].into_iter().flatten() {
            content(&mut reading.instructions, told, Voice::Other);
        }
        let conversation = body.messages.or(body.input)?;
        match serde_json::from_str::<Vec<&RawValue>>(conversation.get()) {
            // Responses takes a bare string for one user message.
            Err(_) => {
                let text: String = serde_json::from_str(conversation.get()).ok()?;
                reading.message(|printer| printer.text(without_harness(&text).as_bytes()));
            }
            Ok(items) => items.into_iter().for_each(|item| reading.item(item)),
        }
        reading.done()
    }

    /// What may lead to the session, the strongest first.
    pub(crate) fn evidence(&self) -> Vec<Evidence> {
        let answers = || self.answers.iter().enumerate();
        let of = |n, print, is_text| Evidence { print, answer: Some(n), is_text };
        let calls =
            answers().flat_map(|(n, said)| said.calls.iter().map(move |call| of(n, *call, false)));
        let texts = answers().filter_map(|(n, said)| Some(of(n, said.text?, true)));
        let same = Evidence { print: self.request(), answer: None, is_text: false };
        let served = answers().map(|(n, said)| of(n, self.served_upto(said.before), false));
        calls.chain(texts).chain([same]).chain(served).collect()
    }

    /// The prints by which the answer at `place` could be found, and the request that it answered.
    pub(crate) fn traces(&self, place: usize) -> Vec<Print> {
        let Some(said) = self.answers.get(place) else { return Vec::new() };
        let mut traces = said.calls.clone();
        traces.extend(said.text);
        traces.extend([self.served_upto(said.before), self.request_upto(said.before)]);
        traces
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.upto.len()
    }

    /// Whether the model has said anything.
    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The print of all messages.
    pub(crate) fn head(&self) -> Print {
        self.messages_upto(self.upto.len())
    }

    /// Whether this conversation begins with the messages of another request, of which `head` is the print.
    pub(crate) fn continues(&self, head: Print) -> bool {
        self.upto.contains(&head)
    }

    /// What an identical request has.
    pub(crate) fn request(&self) -> Print {
        self.request_upto(self.upto.len())
    }

    /// What leads from the messages of this request to its session, for requests that begin with them.
    pub(crate) fn served(&self) -> Print {
        self.served_upto(self.upto.len())
    }

    /// What leads from a session to the request that it has served last.
    pub(crate) fn last_of(&self, session: &AffinityKey) -> Print {
        let mut printer = self.key.printer(Domain::Session);
        printer.bytes(session.session().as_bytes());
        printer.finish()
    }

    /// What is noted of the answer to this request.
    pub(crate) fn answered(&self) -> AnswerNotes {
        AnswerNotes::new(&self.key, self.opening)
    }

    /// The opening together with the counter of a client.
    pub(super) fn counted(&self, counter: &[u8]) -> Print {
        let mut printer = self.key.printer(Domain::Counted);
        printer.print(self.opening);
        printer.bytes(counter);
        printer.finish()
    }

    fn messages_upto(&self, messages: usize) -> Print {
        let last = messages.checked_sub(1).and_then(|last| self.upto.get(last));
        last.copied().unwrap_or(self.opening)
    }

    fn request_upto(&self, messages: usize) -> Print {
        let parts = [self.instructions, self.messages_upto(messages)];
        self.key.print_of(Domain::Request, &parts)
    }

    fn served_upto(&self, messages: usize) -> Print {
        self.key.print_of(Domain::Served, &[self.messages_upto(messages)])
    }
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Model,
    /// The user, a tool, or the application.
    Other,
}

/// An item of a conversation, as far as it matters.
#[derive(Deserialize)]
struct Item<'a> {
    role: Option<Cow<'a, str>>,
    #[serde(rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    function_call: Option<&'a RawValue>,
    call_id: Option<Cow<'a, str>>,
}

/// A conversation that is being read.
struct Reading {
    key: PrintKey,
    instructions: Printer,
    opening: Option<Print>,
    upto: Vec<Print>,
    /// The oldest first.
    answers: Vec<PastAnswer>,
    /// The answer that is being read.
    answer: Option<AnswerNotes>,
}

impl Reading {
    fn new(key: &PrintKey) -> Self {
        Self {
            key: key.clone(),
            instructions: key.printer(Domain::Instructions),
            opening: None,
            upto: Vec::new(),
            answers: Vec::new(),
            answer: None,
        }
    }

    fn item(&mut self, item: &RawValue) {
        let Ok(read) = serde_json::from_str::<Item<'_>>(item.get()) else {
            return self.message(|printer| printer.text(item.get().as_bytes()));
        };
        match (read.role.as_deref(), read.kind.as_deref().unwrap_or_default()) {
            (Some("system" | "developer"), _) => {
                if let Some(told) = read.content {
                    content(&mut self.instructions, told, Voice::Other);
                }
            }
            (Some("assistant" | "model"), _) => self.spoken(&read),
            (None, "reasoning") => {}
            (None, kind) if kind.ends_with("_call") || kind == "mcp_approval_request" => {
                self.called(item, read.call_id.as_deref());
            }
            (None, kind) if kind.ends_with("_call_output") => {
                self.message(|printer| members(printer, item, Voice::Other));
            }
            (_, _) => self.message(|printer| match read.content {
                Some(said) => content(printer, said, Voice::Other),
                None => members(printer, item, Voice::Other),
            }),
        }
    }

    /// A message that is not the model's. One of which nothing is left does not count.
    fn message(&mut self, say: impl FnOnce(&mut Printer) -> bool) {
        let mut printer = self.key.printer(Domain::Opening);
        if !say(&mut printer) {
            return;
        }
        self.end_answer();
        let said = printer.finish();
        self.opening.get_or_insert(said);
        self.push(Voice::Other, said);
    }

    /// A message of the model: its text, and its calls.
    fn spoken(&mut self, item: &Item<'_>) {
        let mut printer = self.key.printer(Domain::Opening);
        let mut has_said =
            item.content.is_some_and(|said| content(&mut printer, said, Voice::Model));
        for calls in [item.tool_calls, item.function_call].into_iter().flatten() {
            if !matches!(calls.get(), "null" | "[]") {
                has_said |= printer.text(calls.get().as_bytes());
            }
        }
        if !has_said {
            return;
        }
        let Some(answer) = self.answer() else { return };
        if let Some(said) = item.content {
            spoken_parts(answer, said);
        }
        if let Some(calls) = item.tool_calls {
            ids(calls).iter().for_each(|id| answer.call(id));
        }
        self.push(Voice::Model, printer.finish());
    }

    /// A call that is an item of its own.
    fn called(&mut self, item: &RawValue, id: Option<&str>) {
        let mut printer = self.key.printer(Domain::Opening);
        members(&mut printer, item, Voice::Model);
        if let Some(answer) = self.answer() {
            answer.call(id.unwrap_or_default());
            self.push(Voice::Model, printer.finish());
        }
    }

    /// The answer that goes on. `None` where nobody has asked yet: that was said by no model of ours.
    fn answer(&mut self) -> Option<&mut AnswerNotes> {
        let opening = self.opening?;
        if self.answer.is_none() {
            let before = self.upto.len();
            self.answers.push(PastAnswer { before, ..PastAnswer::default() });
            self.answer = Some(AnswerNotes::new(&self.key, opening));
        }
        self.answer.as_mut()
    }

    fn end_answer(&mut self) {
        if let (Some(answer), Some(said)) = (self.answer.take(), self.answers.last_mut()) {
            let (calls, text) = answer.prints();
            (said.calls, said.text) = (calls.to_vec(), text);
        }
    }

    fn push(&mut self, voice: Voice, said: Print) {
        let mut printer = self.key.printer(Domain::Messages);
        printer.bytes(&[u8::from(voice == Voice::Model)]);
        printer.print(said);
        if let Some(before) = self.upto.last() {
            printer.print(*before);
        }
        self.upto.push(printer.finish());
    }

    fn done(mut self) -> Option<Transcript> {
        self.end_answer();
        let opening = self.opening?;
        self.answers.reverse();
        self.answers.truncate(ANSWERS);
        Some(Transcript {
            instructions: self.instructions.finish(),
            key: self.key,
            opening,
            upto: self.upto,
            answers: self.answers,
        })
    }
}

/// Takes a content: a string, or a list of parts, of which one part is the same as a string. Returns
/// whether anything is left of it.
fn content(printer: &mut Printer, content: &RawValue, voice: Voice) -> bool {
    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(content.get()) {
        return own_text(printer, &text, voice);
    }
    let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(content.get()) else {
        return content.get() != "null" && printer.text(content.get().as_bytes());
    };
    parts.into_iter().fold(false, |any, part| members(printer, part, voice) | any)
}

/// What the user said is without the blocks of a harness; what the model said is as it is.
fn own_text(printer: &mut Printer, text: &str, voice: Voice) -> bool {
    match voice {
        Voice::Model => printer.text(text.as_bytes()),
        Voice::Other => printer.text(without_harness(text).as_bytes()),
    }
}

/// Takes a part or an item: its text, else the members that do not move.
fn members(printer: &mut Printer, part: &RawValue, voice: Voice) -> bool {
    let Ok(members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(part.get()) else {
        return printer.text(part.get().as_bytes());
    };
    let kind = members.get("type").map_or("", |kind| kind.get().trim_matches('"'));
    if matches!(kind, "thinking" | "redacted_thinking" | "reasoning") {
        return false;
    }
    let text = members.get("text");
    if let Some(Ok(text)) = text.map(|text| serde_json::from_str::<Cow<'_, str>>(text.get())) {
        return own_text(printer, &text, voice);
    }
    let mut any = false;
    for (name, value) in &members {
        match &**name {
            "type" | "cache_control" | "status" => {}
            // An item of Responses has an id of its own, which some clients leave out.
            "id" if members.contains_key("call_id") => {}
            "content" if kind == "tool_result" => {
                content(printer, value, Voice::Other);
                // A result of nothing is a result.
                any = true;
            }
            name => {
                printer.bytes(name.as_bytes());
                printer.bytes(b" ");
                printer.text(value.get().as_bytes());
                any = true;
            }
        }
    }
    any
}

/// Notes the text and the calls in a content of the model.
fn spoken_parts(answer: &mut AnswerNotes, content: &RawValue) {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(rename = "type")]
        kind: Option<Cow<'a, str>>,
        text: Option<Cow<'a, str>>,
        id: Option<Cow<'a, str>>,
    }

    if let Ok(text) = serde_json::from_str::<Cow<'_, str>>(content.get()) {
        return answer.text(text.as_bytes());
    }
    let parts: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
    for part in parts {
        let Ok(part) = serde_json::from_str::<Part<'_>>(part.get()) else { continue };
        if let Some(text) = part.text {
            answer.text(text.as_bytes());
        }
        if part.kind.is_some_and(|kind| kind == "tool_use") {
            answer.call(&part.id.unwrap_or_default());
        }
    }
}

/// The ids of the calls of Chat Completions.
fn ids(calls: &RawValue) -> Vec<String> {
    #[derive(Deserialize)]
    struct Call {
        id: Option<String>,
    }

    let calls: Vec<Call> = serde_json::from_str(calls.get()).unwrap_or_default();
    calls.into_iter().filter_map(|call| call.id).collect()
}

#[cfg(test)]
#[cfg(feature = "fingerprint")]
mod tests;
