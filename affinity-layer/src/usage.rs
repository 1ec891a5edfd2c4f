//! How many tokens an answer has cost, as the provider itself says, read from the answer as it passes.
//!
//! The three protocols say it in places that do not overlap, so the reader need not be told which one
//! it reads:
//!
//! | protocol | place | of the prompt | of these, cached | of the answer |
//! |---|---|---|---|---|
//! | Chat Completions | `usage` | `prompt_tokens` | `prompt_tokens_details.cached_tokens` | `completion_tokens` |
//! | Messages | `usage`, in a stream also `message.usage` | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `cache_read_input_tokens` | `output_tokens` |
//! | Responses | `usage`, in a stream `response.usage` | `input_tokens` | `input_tokens_details.cached_tokens` | `output_tokens` |
//!
//! - In Messages `input_tokens` leaves out what the cache is read or written for; the sum is what the
//!   other two call the prompt.
//! - A stream of Chat Completions tells it only to a client that asked by
//!   `stream_options.include_usage`. What is not told is `None`, never 0.
//! - `message_start` tells of output before there is any, so that number is not taken.
//! - A number that stands in several events only grows, and the largest counts.
//! - The answer may come in pieces of any size. Nothing is copied or held but a few hundred bytes,
//!   whatever the answer holds.
//!
//! ```
//! use affinity_layer::usage::UsageReader;
//!
//! let answer = http::Response::builder()
//!     .header("content-type", "application/json")
//!     .body(r#"{"usage":{"prompt_tokens":900,"prompt_tokens_details":{"cached_tokens":768}}}"#)
//!     .unwrap();
//! let mut reader = UsageReader::of(&answer).unwrap();
//! for piece in answer.body().as_bytes().chunks(7) {
//!     reader.feed(piece);
//! }
//! let usage = reader.usage();
//! assert_eq!((usage.prompt_tokens, usage.cached_tokens), (Some(900), Some(768)));
//! assert_eq!(usage.output_tokens, None);
//! ```

use http::Response;

use crate::release::readable;
use crate::release::scan::{Ending, Found, Framing, Json, Key};

/// Tokens of one answer; `None` is what it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the request, cached ones included.
    pub prompt_tokens: Option<u64>,
    /// Of those, the ones that the provider had in its cache; `None` also without the former.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub output_tokens: Option<u64>,
}

/// Reads the usage of one answer; see the [module docs](self).
#[derive(Debug)]
pub struct UsageReader {
    framing: Framing,
    json: Json,
    ending: Ending,
    told: Told,
}

/// The numbers as they stand in the answer.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    prompt: Option<u64>,
    input: Option<u64>,
    cached: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    output: Option<u64>,
}

impl UsageReader {
    /// A reader for the body of `response`; `None` when it cannot be read: its status is not 2xx, it
    /// is neither JSON nor a stream of events, or it is compressed.
    pub fn of<B>(response: &Response<B>) -> Option<Self> {
        readable(response).and_then(Self::new)
    }

    fn new(content_type: &str) -> Option<Self> {
        let framing = Framing::of(content_type)?;
        let ending = Ending::new(framing.is_stream());
        Some(Self { framing, json: Json::default(), ending, told: Told::default() })
    }

    /// Reads on.
    pub fn feed(&mut self, bytes: &[u8]) {
        let is_stream = self.framing.is_stream();
        let Self { framing, json, ending, told } = self;
        framing.feed(bytes, |data| match data {
            _ if ending.is_over() => {}
            Some(data) => {
                if is_stream {
                    ending.note_data(data);
                }
                json.feed(data, |path, found| {
                    if !ending.is_over() {
                        told.note(path, found);
                        ending.note(path, found);
                    }
                });
            }
            None => {
                ending.next_document();
                json.restart();
            }
        });
    }

    /// Whether the answer has said that it is over; its body may go on for a while.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ending.is_over()
    }

    /// What was told so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.told.usage()
    }
}

impl Told {
    fn note(&mut self, path: &[Key], found: Found<'_>) {
        let Found::Number(number) = found else { return };
        let (begins, place) = match path {
            [Key::Message, Key::Usage, place @ ..] => (true, place),
            [Key::Usage, place @ ..] | [Key::Response, Key::Usage, place @ ..] => (false, place),
            _ => return,
        };
        let told = match place {
            [Key::PromptTokens] => &mut self.prompt,
            [Key::InputTokens] => &mut self.input,
            [Key::PromptTokensDetails | Key::InputTokensDetails, Key::CachedTokens] => {
                &mut self.cached
            }
            [Key::CacheReadInputTokens] => &mut self.cache_read,
            [Key::CacheCreationInputTokens] => &mut self.cache_creation,
            [Key::CompletionTokens | Key::OutputTokens] if !begins => &mut self.output,
            _ => return,
        };
        *told = (*told).max(Some(number));
    }

    fn usage(self) -> Usage {
        let beside = [self.cache_read, self.cache_creation].into_iter().flatten();
        let input = self.input.map(|input| beside.fold(input, u64::saturating_add));
        // Where Messages is spoken to by translation, the numbers of both stand side by side, and the
        // prompt is the whole already.
        let prompt_tokens = self.prompt.or(input);
        let cached_tokens = prompt_tokens.and(self.cached.or(self.cache_read));
        Usage { prompt_tokens, cached_tokens, output_tokens: self.output }
    }
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
