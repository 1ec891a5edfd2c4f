//! Whether an answer is the last of its task: read from the answer as it passes.
//!
//! The three protocols say it in places that do not overlap, so the scanner need not be told which
//! one it reads:
//!
//! | protocol | place | goes on |
//! |---|---|---|
//! | Chat Completions | `choices[].finish_reason` | `tool_calls`, `function_call` |
//! | | `choices[].message`, in a stream `delta` | an item of `tool_calls`, or a `function_call` |
//! | Messages | `stop_reason`, in a stream `delta.stop_reason` | `tool_use`, `pause_turn` |
//! | Responses | `status` and `output[].type`, in a stream below `response` | `completed` with an item `…_call` that is for the client to carry out |
//!
//! Any other reason ends the task; an empty one is none. A call goes on whatever the reason: where a
//! tool is forced, and at some servers always, the reason of a call is `stop`.
//!
//! The answer is over with its top-level object; a stream with `[DONE]`, or with the object whose `type`
//! is `message_stop` or `response.completed`, `.incomplete` or `.failed`. What follows is not read.
//! Memory is bounded whatever the answer holds.

mod ending;
mod json;
mod key;
mod sse;

pub(crate) use self::ending::Ending;
pub(crate) use self::json::{Found, Json};
pub(crate) use self::key::Key;
use self::sse::Lines;

/// Items of Responses for tools that the provider itself has run; the client has nothing to answer.
const HOSTED: [&str; 5] = [
    "code_interpreter_call",
    "file_search_call",
    "image_generation_call",
    "mcp_call",
    "web_search_call",
];

/// Reads an answer in pieces of any size.
#[derive(Debug)]
pub(super) struct Scanner {
    framing: Framing,
    json: Json,
    seen: Seen,
    ending: Ending,
}

/// How the JSON of an answer is wrapped.
#[derive(Debug)]
pub(crate) enum Framing {
    Plain,
    Stream(Lines),
}

impl Framing {
    /// That of a content type, `None` when it is none of an answer.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("text/event-stream") {
            Some(Self::Stream(Lines::default()))
        } else if media.eq_ignore_ascii_case("application/json") {
            Some(Self::Plain)
        } else {
            None
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Reads on; `found` is called with each piece of JSON, and with `None` where a document of a
    /// stream ends.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Option<&[u8]>)) {
        match self {
            Self::Plain => found(Some(bytes)),
            Self::Stream(lines) => lines.feed(bytes, found),
        }
    }
}

/// What the answer has said so far.
#[derive(Debug, Default)]
struct Seen {
    ends: bool,
    goes_on: bool,
    /// Of the document at hand.
    completed: bool,
    calls: bool,
}

impl Scanner {
    /// A scanner for a body of this content type, `None` when it is none of an answer.
    pub(super) fn new(content_type: &str) -> Option<Self> {
        let framing = Framing::of(content_type)?;
        let ending = Ending::new(framing.is_stream());
        Some(Self { framing, json: Json::default(), seen: Seen::default(), ending })
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let is_stream = self.is_stream();
        let Self { framing, json, seen, ending } = self;
        framing.feed(bytes, |data| match data {
            _ if ending.is_over() => {}
            Some(data) => {
                if is_stream {
                    ending.note_data(data);
                }
                json.feed(data, |path, found| {
                    if !ending.is_over() {
                        seen.note(path, found);
                        ending.note(path, found);
                    }
                });
            }
            None => {
                seen.end_document();
                ending.next_document();
                json.restart();
            }
        });
    }

    pub(super) fn is_stream(&self) -> bool {
        self.framing.is_stream()
    }

    /// Whether the end of the answer was seen, and not only of the body.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_over()
    }

    /// Whether the answer, which has ended, was the last of its task.
    pub(super) fn was_final(mut self) -> bool {
        self.seen.end_document();
        self.seen.ends && !self.seen.goes_on
    }
}

impl Seen {
    fn note(&mut self, path: &[Key], found: Found<'_>) {
        match found {
            Found::Text(value) => self.note_text(path, value),
            Found::Object => self.goes_on |= is_call(path),
            Found::Number(_) | Found::End => {}
        }
    }

    fn note_text(&mut self, path: &[Key], value: &str) {
        match path {
            // Some servers fill in the reason of every event of a stream.
            _ if value.is_empty() => {}
            [Key::Choices, Key::Element, Key::FinishReason] => {
                self.reason(matches!(value, "tool_calls" | "function_call"));
            }
            [Key::StopReason] | [Key::Delta, Key::StopReason] => {
                self.reason(matches!(value, "tool_use" | "pause_turn"));
            }
            [Key::Status] | [Key::Response, Key::Status] => match value {
                "completed" => self.completed = true,
                "incomplete" | "failed" | "cancelled" => self.reason(false),
                _ => {}
            },
            [Key::Output, Key::Element, Key::Type]
            | [Key::Response, Key::Output, Key::Element, Key::Type] => {
                let calls = value.ends_with("_call") && !HOSTED.contains(&value);
                self.calls |= calls || value == "mcp_approval_request";
            }
            _ => {}
        }
    }

    fn reason(&mut self, goes_on: bool) {
        self.goes_on |= goes_on;
        self.ends |= !goes_on;
    }

    /// `status` and `output` may stand in any order, so they count together at the end.
    fn end_document(&mut self) {
        if std::mem::take(&mut self.completed) {
            self.reason(self.calls);
        }
        self.calls = false;
    }
}

/// Whether an object at this path is a call that the client is to carry out.
fn is_call(path: &[Key]) -> bool {
    let [Key::Choices, Key::Element, Key::Message | Key::Delta, call @ ..] = path else {
        return false;
    };
    matches!(call, [Key::ToolCalls, Key::Element] | [Key::FunctionCall])
}

#[cfg(test)]
pub(crate) mod random;
#[cfg(test)]
mod tests;
