//! What is learnt from an answer. Each fact sees every value of the one pass over it.
//!
//! 1. A fact is a small state machine over [values](JsonValue) and the [paths](Step) to them. It keeps
//!    flags, counts, or one bounded string, never the answer.
//! 2. No fact asks which protocol it reads: the three say what we look for in places that do not
//!    overlap. A gateway that translates between them, and a server that mixes them, are read as well.
//! 3. A word counts only at its path. Text that contains `"stop_reason"` is only text, and the tools of
//!    the request, which an answer of Responses repeats, are not calls.
//! 4. A fact sees nothing after the end of the answer.
//!
//! [`AnswerReader`](super::AnswerReader) feeds them, and its table lists what each of them looks for.
//! Random answers, cut at random, are compared with a parser that reads the whole (`tests/random`).

use super::json::{JsonValue, Step};
use super::usage::Usage;
use crate::key::AnswerNotes;

/// The last events of a stream, by their `type`: one of Messages, three of Responses.
pub(super) const LAST_EVENTS: [&str; 4] =
    ["message_stop", "response.completed", "response.incomplete", "response.failed"];

/// The data of the last event of a Chat Completions stream.
const DONE: &[u8] = b"[DONE]";

/// Items of Responses that are calls of tools which the provider itself runs: the client has no
/// result to send.
pub(super) const HOSTED_CALLS: [&str; 5] = [
    "code_interpreter_call",
    "file_search_call",
    "image_generation_call",
    "mcp_call",
    "web_search_call",
];

/// How the events of a Responses stream begin that carry the input of a call for the client.
const CALL_EVENTS: [&str; 2] =
    ["response.function_call_arguments.", "response.custom_tool_call_input."];

/// Everything that is learnt from one answer.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) ending: Ending,
    pub(super) task: Task,
    pub(super) tokens: Tokens,
    pub(super) id: ResponseId,
    pub(super) held: HeldIds,
    /// Only of an answer whose conversation is known by what is said.
    pub(super) said: Option<Said>,
}

impl Facts {
    pub(super) fn new(is_stream: bool) -> Self {
        let (ending, id) = (Ending::new(is_stream), ResponseId::new(is_stream));
        let (task, tokens, held) = (Task::default(), Tokens::default(), HeldIds::default());
        Self { ending, task, tokens, id, held, said: None }
    }

    /// Takes a value of the document; what follows the end of the answer does not count. The ending comes
    /// last, so that the value that ends the answer still counts for the others.
    pub(super) fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        if self.ending.is_over() {
            return;
        }
        self.task.note(path, value);
        self.tokens.note(path, value);
        self.id.note(path, value);
        self.held.note(path, value);
        if let Some(said) = &mut self.said {
            said.note(path, value);
        }
        self.ending.note(path, value);
    }
}

/// Whether the answer has said that it is over.
///
/// A document is over with its last brace and not with the event that announces it: the reason to stop of
/// Responses stands in the document whose `type` says that it is the last.
#[derive(Debug)]
pub(super) struct Ending {
    over: bool,
    /// The current document is the last one of the answer.
    last: bool,
    /// How many bytes of [`DONE`] the current event holds; `None` once it holds anything else.
    done: Option<usize>,
}

impl Ending {
    /// An answer that is not a stream has one document, which is the last.
    pub(super) fn new(is_stream: bool) -> Self {
        Self { over: false, last: !is_stream, done: Some(0) }
    }

    /// The next document of a stream begins.
    pub(super) fn next_document(&mut self) {
        (self.last, self.done) = (false, Some(0));
    }

    /// Looks for [`DONE`], which is not JSON, in the data of a stream.
    pub(super) fn note_data(&mut self, data: &[u8]) {
        for byte in data {
            self.done = match self.done {
                Some(0) if *byte == b' ' => Some(0),
                Some(seen) if DONE.get(seen) == Some(byte) => Some(seen + 1),
                _ => return self.done = None,
            };
        }
        self.over |= self.done == Some(DONE.len());
    }

    /// Takes a value; the `type` may come before or after what else its document holds.
    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        match (path, value) {
            ([Step::Type], JsonValue::Text(kind)) => self.last |= LAST_EVENTS.contains(&kind),
            (_, JsonValue::End) => self.over = self.last,
            _ => {}
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

/// Whether the answer ends the client's task or leaves it something to do.
///
/// A call counts wherever it appears, and more than any reason to stop: whoever takes a call for an
/// end loses the session in the middle of its task, and whoever takes an end for a call keeps a pin
/// that would have expired anyway. Words that are not known are treated accordingly: an unknown item
/// `…_call` is a call, an unknown reason to stop is an end.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// The answer gave a reason to stop, whether or not it is final.
    has_reason: bool,
    /// The answer gave a reason to stop that is final.
    stops: bool,
    /// The client has a call to carry out, or must ask the model to continue.
    goes_on: bool,
}

impl Task {
    /// Takes a value. A call of Chat Completions is known by the object that begins in its place and not
    /// by the key, for some servers send an empty list or `null` with every answer.
    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        match value {
            JsonValue::Text(text) => self.note_text(path, text),
            JsonValue::Object => self.goes_on |= is_chat_call(path),
            JsonValue::Number(_) | JsonValue::Piece(_) | JsonValue::End => {}
        }
    }

    fn note_text(&mut self, path: &[Step], text: &str) {
        match path {
            // Some servers fill in the reason in every event of a stream.
            _ if text.is_empty() => {}
            [Step::Choices, Step::Element, Step::FinishReason] => {
                self.stop_reason(matches!(text, "tool_calls" | "function_call"));
            }
            [Step::StopReason] | [Step::Delta, Step::StopReason] => {
                self.stop_reason(matches!(text, "tool_use" | "pause_turn" | "compaction"));
            }
            [Step::Status] | [Step::Response, Step::Status] => {
                let stops = matches!(text, "completed" | "incomplete" | "failed" | "cancelled");
                self.has_reason |= stops;
                self.stops |= stops;
            }
            [Step::ContentBlock, Step::Type]
            | [Step::Content, Step::Element, Step::Type]
            | [Step::Message, Step::Content, Step::Element, Step::Type] => {
                self.goes_on |= text == "tool_use";
            }
            [Step::Type] => self.goes_on |= CALL_EVENTS.iter().any(|event| text.starts_with(event)),
            [Step::Item, Step::Type]
            | [Step::Output, Step::Element, Step::Type]
            | [Step::Response, Step::Output, Step::Element, Step::Type] => {
                self.goes_on |= is_client_call(text);
            }
            _ => {}
        }
    }

    fn stop_reason(&mut self, goes_on: bool) {
        self.has_reason = true;
        self.goes_on |= goes_on;
        self.stops |= !goes_on;
    }

    pub(super) fn has_reason(&self) -> bool {
        self.has_reason
    }

    /// An answer without any reason to stop ends nothing: it broke off, or it is no answer of a model.
    pub(super) fn is_ended(&self) -> bool {
        self.stops && !self.goes_on
    }
}

/// Whether an object at this path is a call of Chat Completions.
fn is_chat_call(path: &[Step]) -> bool {
    let [Step::Choices, Step::Element, Step::Message | Step::Delta, call @ ..] = path else {
        return false;
    };
    matches!(call, [Step::ToolCalls, Step::Element] | [Step::FunctionCall])
}

/// Whether an item of Responses is for the client to carry out or to approve.
fn is_client_call(kind: &str) -> bool {
    kind == "mcp_approval_request" || kind.ends_with("_call") && !HOSTED_CALLS.contains(&kind)
}

/// The token counts of an answer, by the names that the protocols give them.
///
/// They are added up only when they are [asked for](Self::usage): a stream of Messages tells its input
/// in its first event and its output in its last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tokens {
    prompt: Option<u64>,
    input: Option<u64>,
    cached: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    cache_creation_1h: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
}

impl Tokens {
    /// Takes a count. Of several the largest holds: streams repeat a count as it grows.
    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        let JsonValue::Number(number) = value else { return };
        let (begins, place) = match path {
            [Step::Message, Step::Usage, place @ ..] => (true, place),
            [Step::Usage, place @ ..] | [Step::Response, Step::Usage, place @ ..] => (false, place),
            _ => return,
        };
        let count = match place {
            [Step::PromptTokens] => &mut self.prompt,
            [Step::InputTokens] => &mut self.input,
            [Step::PromptTokensDetails | Step::InputTokensDetails, Step::CachedTokens] => {
                &mut self.cached
            }
            [Step::PromptTokensDetails | Step::InputTokensDetails, Step::CacheWriteTokens] => {
                &mut self.cache_write
            }
            [Step::CacheReadInputTokens] => &mut self.cache_read,
            [Step::CacheCreationInputTokens] => &mut self.cache_creation,
            [Step::CacheCreation, Step::Ephemeral1hInputTokens] => &mut self.cache_creation_1h,
            // `message_start` counts output before there is any.
            [Step::CompletionTokens | Step::OutputTokens] if !begins => &mut self.output,
            _ => return,
        };
        *count = (*count).max(Some(number));
    }

    /// The counts in one form for all protocols. Without a prompt no cached part is reported, for a share
    /// of an unknown whole misleads.
    pub(super) fn usage(self) -> Usage {
        let beside = [self.cache_read, self.cache_creation].into_iter().flatten();
        let input = self.input.map(|input| beside.fold(input, u64::saturating_add));
        // A translated answer of Messages holds the names of both protocols, and its prompt is
        // already the sum.
        let prompt_tokens = self.prompt.or(input);
        Usage {
            prompt_tokens,
            cached_tokens: prompt_tokens.and(self.cached.or(self.cache_read)),
            written_tokens: prompt_tokens.and(self.cache_write.or(self.cache_creation)),
            // Only Messages knows two lifetimes.
            written_1h_tokens: prompt_tokens
                .and(self.cache_creation_1h.or(self.cache_write.map(|_| 0))),
            output_tokens: self.output,
        }
    }
}

/// The id of a response. It stands in another place in a stream than in a plain answer, and the `id` of
/// an event or of an item is not it. The first one holds. The scanner reports none that is longer
/// than a session id may be.
#[derive(Debug)]
pub(super) struct ResponseId {
    place: &'static [Step],
    id: Option<String>,
}

impl ResponseId {
    fn new(is_stream: bool) -> Self {
        let place: &[Step] = if is_stream { &[Step::Response, Step::Id] } else { &[Step::Id] };
        Self { place, id: None }
    }

    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        if let JsonValue::Text(text) = value
            && path == self.place
        {
            self.id.get_or_insert_with(|| text.to_owned());
        }
    }

    pub(super) fn get(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

/// The ids of what the provider made beside the answer: containers, and files in them. A later request may
/// refer to them, and only this provider has them.
#[derive(Debug, Default)]
pub(super) struct HeldIds {
    /// Those that were found since they were last [taken](Self::take).
    new: Vec<String>,
    /// How many more are noted.
    found: usize,
}

impl HeldIds {
    /// The most that are noted of one answer.
    const MOST: usize = 8;

    /// Takes an id. A name that means nothing to us is nowhere on the way to one: so the input of a tool,
    /// which the model makes up, is passed over.
    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        let ([.., Step::Container, Step::Id] | [.., Step::ContainerId | Step::FileId]) = path
        else {
            return;
        };
        if let JsonValue::Text(id) = value
            && self.found < Self::MOST
            && !path.contains(&Step::Other)
            && !self.new.iter().any(|known| known == id)
        {
            self.found += 1;
            self.new.push(id.to_owned());
        }
    }

    /// Those that are new.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.new)
    }
}

/// What the model says: its text, and the ids of its calls.
///
/// A stream of Responses repeats the text up to three times. Its items count, which hold it whole; the last
/// event counts where no item has come.
#[derive(Debug)]
pub(super) struct Said {
    notes: AnswerNotes,
    has_items: bool,
}

impl Said {
    pub(super) fn new(notes: AnswerNotes) -> Self {
        Self { notes, has_items: false }
    }

    pub(super) fn notes(&self) -> &AnswerNotes {
        &self.notes
    }

    fn note(&mut self, path: &[Step], value: JsonValue<'_>) {
        match value {
            JsonValue::Piece(piece) => self.note_piece(path, piece),
            // What the provider itself carries out has no result to come back.
            JsonValue::Text(id) if is_call_id(path) && !id.starts_with("srvtoolu_") => {
                self.notes.call(id);
            }
            _ => {}
        }
    }

    fn note_piece(&mut self, path: &[Step], piece: &[u8]) {
        use Step::{
            Choices, Content, ContentBlock, Delta, Element, Item, Message, Output, Response,
        };
        match path {
            [Choices, Element, Message | Delta, Content]
            | [Choices, Element, Message | Delta, Content, Element, Step::Text]
            | [Content, Element, Step::Text]
            | [ContentBlock | Delta, Step::Text]
            | [Output, Element, Content, Element, Step::Text] => self.notes.text(piece),
            [Item, Content, Element, Step::Text] => {
                self.has_items = true;
                self.notes.text(piece);
            }
            [Response, Output, Element, Content, Element, Step::Text] if !self.has_items => {
                self.notes.text(piece);
            }
            _ => {}
        }
    }
}

/// Whether a text at this path is the id of a call.
fn is_call_id(path: &[Step]) -> bool {
    use Step::{CallId, Choices, Content, ContentBlock, Delta, Element, Id, Item, Message, Output};
    matches!(
        path,
        [Choices, Element, Message | Delta, Step::ToolCalls, Element, Id]
            | [ContentBlock, Id]
            | [Content, Element, Id]
            | [Output, Element, CallId]
            | [Item, CallId]
            | [Step::Response, Output, Element, CallId]
    )
}
