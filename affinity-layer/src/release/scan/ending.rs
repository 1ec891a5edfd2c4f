//! Where an answer is over, as it says itself.

use super::{Found, Key};

/// The last events of a stream, by their type.
pub(super) const LAST: [&str; 4] =
    ["message_stop", "response.completed", "response.incomplete", "response.failed"];

/// The data of the last event of Chat Completions.
const DONE: &[u8] = b"[DONE]";

/// What was seen of the end so far.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    over: bool,
    /// The document at hand is the last one of the answer.
    last: bool,
    /// So many bytes of [`DONE`], and nothing else; `None` after anything else.
    done: Option<usize>,
}

impl Ending {
    /// At the beginning of an answer; one that is no stream has one document.
    pub(crate) fn new(is_stream: bool) -> Self {
        let mut ending = Self::default();
        ending.begin_document(!is_stream);
        ending
    }

    /// A document of a stream begins.
    pub(crate) fn next_document(&mut self) {
        self.begin_document(false);
    }

    fn begin_document(&mut self, last: bool) {
        self.last = last;
        self.done = Some(0);
    }

    /// Looks for [`DONE`], which is no JSON, in the data of a stream.
    pub(crate) fn note_data(&mut self, data: &[u8]) {
        for byte in data {
            self.done = match self.done {
                Some(0) if *byte == b' ' => Some(0),
                Some(seen) if DONE.get(seen) == Some(byte) => Some(seen + 1),
                _ => return self.done = None,
            };
        }
        self.over |= self.done == Some(DONE.len());
    }

    pub(crate) fn note(&mut self, path: &[Key], found: Found<'_>) {
        match (path, found) {
            ([Key::Type], Found::Text(kind)) => self.last |= LAST.contains(&kind),
            (_, Found::End) => self.over = self.last,
            _ => {}
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }
}
