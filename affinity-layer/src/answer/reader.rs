//! The one pass over an answer: framing, then JSON, then facts.
//!
//! The [body](super::body) of the middleware feeds an [`AnswerReader`]. It is public for applications
//! that have an answer without a tower service around it, such as a client, a batch job or a test.

use http::response::Parts;
use http::{HeaderName, header};

use super::facts::{Facts, Said};
use super::json::JsonScanner;
use super::sse::EventScanner;
use super::usage::Usage;
use crate::key::AnswerNotes;

/// Reads one answer in pieces of any size, without HTTP around it.
///
/// The three protocols say what it looks for in places that do not overlap, so the reader does not
/// need to know which one it reads.
///
/// | | Chat Completions | Messages | Responses |
/// |---|---|---|---|
/// | the task goes on | `finish_reason` `tool_calls`, `function_call`; any `tool_calls[]` or `function_call` | `stop_reason` `tool_use`, `pause_turn`, `compaction`; any block `tool_use` | any item whose type ends in `_call` and that the client is to carry out |
/// | the task ends | any other `finish_reason` | any other `stop_reason` | `status` `completed`, `incomplete`, `failed`, `cancelled` |
/// | the answer is over | `[DONE]` | `message_stop` | `response.completed`, `.incomplete`, `.failed` |
/// | prompt | `prompt_tokens` | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `input_tokens` |
/// | cached | `prompt_tokens_details.cached_tokens` | `cache_read_input_tokens` | `input_tokens_details.cached_tokens` |
/// | written | `prompt_tokens_details.cache_write_tokens` | `cache_creation_input_tokens`, of which for an hour `cache_creation.ephemeral_1h_input_tokens` | `input_tokens_details.cache_write_tokens` |
/// | output | `completion_tokens` | `output_tokens` | `output_tokens` |
///
/// - A call keeps the task going whatever the reason to stop, and wherever the call appears: for a
///   forced tool, and with some servers always, the reason of a call is `stop`.
/// - An answer that is not a stream is over with its JSON. What follows the end is not read.
/// - A stream of Chat Completions counts its tokens only for a client that asked for it by
///   `stream_options.include_usage`. A count that is missing is `None`, never 0; of several the
///   largest holds.
/// - The reader keeps a few hundred bytes, whatever the answer holds. Strings of more than 256 bytes
///   and what is nested deeper than 8 levels are skipped.
///
/// ```
/// use affinity_layer::answer::AnswerReader;
///
/// let answer = r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":900}}"#;
/// let mut reader = AnswerReader::new("application/json").expect("a content type of answers");
/// for piece in answer.as_bytes().chunks(7) {
///     reader.feed(piece);
/// }
/// assert!(reader.is_over() && reader.ends_task());
/// assert_eq!(reader.usage().prompt_tokens, Some(900));
/// assert_eq!(reader.usage().cached_tokens, None);
/// ```
#[derive(Debug)]
pub struct AnswerReader {
    framing: Framing,
    json: JsonScanner,
    facts: Facts,
}

/// How the JSON of an answer is wrapped. [`BeginningReader`](super::BeginningReader) reads by it too.
#[derive(Debug)]
pub(super) enum Framing {
    /// The body is one document.
    Plain,
    /// The body is a stream of events, each with a document in its data.
    Stream(EventScanner),
}

impl Framing {
    /// That of an uncompressed answer; `None` when it cannot be read.
    pub(super) fn of_head(head: &Parts) -> Option<Self> {
        if is_compressed(head) {
            return None;
        }
        Self::of(text(head, &header::CONTENT_TYPE)?)
    }

    /// By the media type alone. Its parameters do not matter: JSON is UTF-8 whatever `charset` says.
    fn of(content_type: &str) -> Option<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("text/event-stream") {
            Some(Self::Stream(EventScanner::default()))
        } else if is_json(media) {
            Some(Self::Plain)
        } else {
            None
        }
    }
}

/// `application/json` and the types with its structured suffix (RFC 6839), such as
/// `application/problem+json`.
fn is_json(media: &str) -> bool {
    let Some((kind, subtype)) = media.split_once('/') else { return false };
    let suffix = subtype.rsplit('+').next().unwrap_or_default();
    kind.eq_ignore_ascii_case("application") && suffix.eq_ignore_ascii_case("json")
}

impl AnswerReader {
    /// A reader for an uncompressed body of this content type; `None` when that is neither
    /// `application/json`, nor a type such as `application/problem+json`, nor `text/event-stream`. Parameters such as `charset` are ignored.
    #[must_use]
    pub fn new(content_type: &str) -> Option<Self> {
        Framing::of(content_type).map(Self::with)
    }

    /// A reader for the body below `head`; `None` when it cannot be read: its status is not 2xx, its
    /// content type is not that of an answer, or it is compressed.
    #[must_use]
    pub fn of(head: &Parts) -> Option<Self> {
        if !head.status.is_success() {
            return None;
        }
        Framing::of_head(head).map(Self::with)
    }

    fn with(framing: Framing) -> Self {
        let facts = Facts::new(matches!(framing, Framing::Stream(_)));
        Self { framing, json: JsonScanner::default(), facts }
    }

    /// The same reader, which also notes what is said.
    pub(super) fn hearing(mut self, notes: AnswerNotes) -> Self {
        self.json = self.json.telling_pieces();
        self.facts.said = Some(Said::new(notes));
        self
    }

    /// What was said, if it is noted.
    pub(super) fn notes(&self) -> Option<&AnswerNotes> {
        self.facts.said.as_ref().map(Said::notes)
    }

    /// Reads on. The pieces may be cut anywhere; what was found does not depend on where.
    ///
    /// Bytes that are not JSON, or that belong to no answer, are skipped: a reader never fails. After the
    /// [end](Self::is_over) nothing is read any more.
    pub fn feed(&mut self, bytes: &[u8]) {
        let Self { framing, json, facts } = self;
        if facts.ending.is_over() {
            return;
        }
        match framing {
            Framing::Plain => json.feed(bytes, |path, value| facts.note(path, value)),
            Framing::Stream(events) => events.feed(bytes, |data| match data {
                _ if facts.ending.is_over() => {}
                Some(data) => {
                    facts.ending.note_data(data);
                    json.feed(data, |path, value| facts.note(path, value));
                }
                None => {
                    facts.ending.next_document();
                    json.restart();
                }
            }),
        }
    }

    /// Whether the answer is a stream of events.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.framing, Framing::Stream(_))
    }

    /// Whether the answer has said that it is over. Its body may continue for a while.
    ///
    /// It is `false` for an answer that has broken off, and for one that never says so, which ends with its
    /// body.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.facts.ending.is_over()
    }

    /// Whether the model is done with the task, by what was read so far: there is a reason to stop, and
    /// nothing is left for the client to do. Valid once the answer has ended.
    #[must_use]
    pub fn ends_task(&self) -> bool {
        self.facts.task.is_ended()
    }

    /// Whether the model has told why it stops.
    pub(super) fn has_reason(&self) -> bool {
        self.facts.task.has_reason()
    }

    /// The `id` of a plain answer, or the first `response.id` of a stream of Responses.
    ///
    /// Plain answers of the other protocols have an `id` too, with which no request can go on. An id of
    /// more than 256 bytes is `None`.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        self.facts.id.get()
    }

    /// The ids of containers and files that were found since the last call: what the provider made beside the
    /// answer. At most eight of one answer are reported.
    pub(super) fn take_held_ids(&mut self) -> Vec<String> {
        self.facts.held.take()
    }

    /// The tokens that were counted so far. They are complete once the answer has ended.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.facts.tokens.usage()
    }
}

/// Whether the body would have to be inflated to be read.
pub(super) fn is_compressed(head: &Parts) -> bool {
    let encoding = text(head, &header::CONTENT_ENCODING).unwrap_or("identity");
    !encoding.eq_ignore_ascii_case("identity")
}

fn text<'a>(head: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    head.headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}
