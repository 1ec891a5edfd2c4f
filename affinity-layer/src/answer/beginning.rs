//! Whether the beginning of an answer shows that its model serves.
//!
//! [`first_event`](crate::first_event) holds the head of an answer until it knows. The question is another
//! one than that of [`AnswerReader`](super::AnswerReader), which asks how an answer ends: here the first
//! sign counts, an error is one, and the reader is dropped as soon as there is one. Both share the
//! framing, the scanner and the mark of the end.
//!
//! A wrong "served" only brings back what happens without the layer; a wrong "error" takes a session away
//! from a model that serves it. So all that is not understood counts as served.

use http::response::Parts;

use super::facts::Ending;
use super::json::{JsonScanner, JsonValue, Step};
use super::reader::Framing;

/// Events of a stream that say nothing yet: a provider sends them before its model has begun, and may
/// report after them that the model is overloaded.
const EMPTY_EVENTS: [&str; 5] =
    ["ping", "message_start", "response.created", "response.queued", "response.in_progress"];

/// What the beginning of an answer shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// Nothing yet. A body that ends here holds no answer.
    Open,
    /// Something of an answer.
    Served,
    /// An error instead of an answer.
    Error,
}

/// Reads the beginning of an answer in pieces of any size.
///
/// - A stream begins with its first event that is not one of [`EMPTY_EVENTS`]; comments and blank bytes
///   say nothing. An event is an error by its `type` (`error`, `response.failed`), or by an `error`
///   that is not `null`.
/// - A plain answer is an error in the same way. It is none with its end, or as soon as an object in a
///   list begins, such as a choice, a block or an item.
/// - Of any other body, and of a compressed one, the first byte counts.
#[derive(Debug)]
pub(crate) struct BeginningReader {
    /// `None` for a body that cannot be read.
    framing: Option<Framing>,
    json: JsonScanner,
    /// To know `[DONE]`, which ends a stream and is no answer.
    ending: Ending,
    document: Document,
    found: Beginning,
}

/// The current document: the whole of a plain answer, or an event of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Document {
    /// The event says nothing yet.
    is_empty_event: bool,
    /// There are bytes of it that are not blank.
    has_data: bool,
}

impl BeginningReader {
    /// A reader for the body below `head`, whatever its status.
    pub(crate) fn new(head: &Parts) -> Self {
        Self {
            framing: Framing::of_head(head),
            json: JsonScanner::default(),
            ending: Ending::new(true),
            document: Document::default(),
            found: Beginning::Open,
        }
    }

    /// Reads on. What it returns does not change any more once it is not [`Beginning::Open`].
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Beginning {
        let Self { framing, json, ending, document, found } = self;
        match framing {
            _ if *found != Beginning::Open => {}
            None if bytes.is_empty() => {}
            None => *found = Beginning::Served,
            Some(Framing::Plain) => document.read(json, bytes, found, false),
            Some(Framing::Stream(events)) => events.feed(bytes, |data| match data {
                _ if *found != Beginning::Open || ending.is_over() => {}
                Some(data) => {
                    ending.note_data(data);
                    // `[DONE]` alone is not an answer.
                    if !ending.is_over() {
                        document.read(json, data, found, true);
                    }
                }
                None => {
                    ending.next_document();
                    // What is not JSON is for the client to understand.
                    if document.has_data && !document.is_empty_event {
                        *found = Beginning::Served;
                    }
                    *document = Document::default();
                    json.restart();
                }
            }),
        }
        *found
    }
}

impl Document {
    /// Reads on in the document, and decides by its first byte whether it can be JSON at all.
    fn read(
        &mut self,
        json: &mut JsonScanner,
        data: &[u8],
        found: &mut Beginning,
        is_stream: bool,
    ) {
        if !self.has_data {
            let first = data.iter().find(|byte| !byte.is_ascii_whitespace());
            let Some(first) = first else { return };
            self.has_data = true;
            if !matches!(first, b'{' | b'[') {
                // What is not JSON is for the client to understand.
                *found = Beginning::Served;
            }
        }
        json.feed(data, |path, value| {
            if *found == Beginning::Open {
                *found = self.note(path, value, is_stream);
            }
        });
    }

    /// What one value shows. An `error` counts if it holds anything: some servers send `null` or an empty
    /// text with every answer. Some providers wrap an error in an array, where it counts as well.
    fn note(&mut self, path: &[Step], value: JsonValue<'_>, is_stream: bool) -> Beginning {
        match (path, value) {
            ([Step::Error] | [Step::Element, Step::Error], value)
                if value != JsonValue::Text("") =>
            {
                Beginning::Error
            }
            ([Step::Type | Step::Object], JsonValue::Text("error" | "response.failed")) => {
                Beginning::Error
            }
            ([Step::Type], JsonValue::Text(kind)) => {
                self.is_empty_event = is_stream && EMPTY_EVENTS.contains(&kind);
                Beginning::Open
            }
            ([_, Step::Element], JsonValue::Object) if !is_stream => Beginning::Served,
            (_, JsonValue::End) if !self.is_empty_event => Beginning::Served,
            _ => Beginning::Open,
        }
    }
}
