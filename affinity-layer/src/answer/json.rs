//! What a JSON document says at the paths that matter to us, read in pieces of any size.
//!
//! The scanner follows the structure of the document and does not check it: what is not JSON yields
//! no values, or values at paths that are not looked at. Its memory is bounded whatever it reads.

use memchr::memchr2;

use crate::AffinityKey;

/// The nesting that is followed; deeper levels are only counted.
const MAX_DEPTH: usize = 8;

/// The bytes that are kept of a string. The longest one that we look for is the id of a response,
/// which becomes a session id.
const MAX_STRING: usize = AffinityKey::MAX_SESSION_LEN;

/// A value that the document holds at some path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonValue<'a> {
    Text(&'a str),
    /// A number that consists of digits and fits.
    Number(u64),
    /// An object begins.
    Object,
    /// The object or array that is the whole document ends; its path is empty.
    End,
}

/// One step of a path: a name that means something to us, or an array's element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Choices,
    FinishReason,
    Message,
    ToolCalls,
    FunctionCall,
    Content,
    ContentBlock,
    StopReason,
    Delta,
    Status,
    Response,
    Output,
    Item,
    Error,
    Object,
    Type,
    Id,
    Usage,
    PromptTokens,
    CompletionTokens,
    InputTokens,
    OutputTokens,
    PromptTokensDetails,
    InputTokensDetails,
    CachedTokens,
    CacheReadInputTokens,
    CacheCreationInputTokens,
    Other,
    /// An element of an array.
    Element,
}

/// Reads one document after the other.
///
/// For `{"a":[{"id":"x"}]}` with `id` among the [steps](Step), `found` is called with
///
/// | path | value |
/// |---|---|
/// | (empty) | `Object` |
/// | `Other`, `Element` | `Object` |
/// | `Other`, `Element`, `Id` | `Text("x")` |
/// | (empty) | `End` |
///
/// A value is known with its last byte: a text with its closing quote, a number with what follows it.
#[derive(Debug, Default)]
pub(super) struct JsonScanner {
    path: Vec<Step>,
    /// Levels beyond those in `path`.
    deeper: usize,
    in_string: bool,
    /// The current string. Its buffer is kept between strings, as each event of a stream has some.
    text: Text,
    word: Word,
    /// The next string of the current object is a name.
    at_name: bool,
}

/// A value that is neither string, object nor array.
#[derive(Debug, Default)]
enum Word {
    #[default]
    None,
    Digits(u64),
    Other,
}

#[derive(Debug, Default)]
struct Text {
    bytes: Vec<u8>,
    too_long: bool,
    escape: Escape,
}

#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    Begun,
    /// The digits of `\u` that are missing, and the value so far.
    Unicode(u8, u32),
}

impl Step {
    fn of(name: &str) -> Self {
        match name {
            "choices" => Self::Choices,
            "finish_reason" => Self::FinishReason,
            "message" => Self::Message,
            "tool_calls" => Self::ToolCalls,
            "function_call" => Self::FunctionCall,
            "content" => Self::Content,
            "content_block" => Self::ContentBlock,
            "stop_reason" => Self::StopReason,
            "delta" => Self::Delta,
            "status" => Self::Status,
            "response" => Self::Response,
            "output" => Self::Output,
            "item" => Self::Item,
            "error" => Self::Error,
            "object" => Self::Object,
            "type" => Self::Type,
            "id" => Self::Id,
            "usage" => Self::Usage,
            "prompt_tokens" => Self::PromptTokens,
            "completion_tokens" => Self::CompletionTokens,
            "input_tokens" => Self::InputTokens,
            "output_tokens" => Self::OutputTokens,
            "prompt_tokens_details" => Self::PromptTokensDetails,
            "input_tokens_details" => Self::InputTokensDetails,
            "cached_tokens" => Self::CachedTokens,
            "cache_read_input_tokens" => Self::CacheReadInputTokens,
            "cache_creation_input_tokens" => Self::CacheCreationInputTokens,
            _ => Self::Other,
        }
    }
}

impl JsonScanner {
    /// Begins another document.
    pub(super) fn restart(&mut self) {
        self.path.clear();
        self.text.restart();
        (self.deeper, self.in_string, self.at_name) = (0, false, false);
        self.word = Word::None;
    }

    /// Reads on, and calls `found` with each value and the path to it.
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(&[Step], JsonValue<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.in_string {
                let taken = self.text.take_plain(rest);
                if taken > 0 {
                    rest = rest.get(taken..).unwrap_or_default();
                    continue;
                }
                if self.text.is_ended_by(byte) {
                    self.string_ended(&mut found);
                }
                rest = after;
                continue;
            }
            rest = after;
            match byte {
                b'"' => self.in_string = true,
                b'{' => {
                    if self.deeper == 0 {
                        found(&self.path, JsonValue::Object);
                    }
                    self.open(Step::Other, true);
                }
                b'[' => self.open(Step::Element, false),
                b'}' | b']' => {
                    self.word_ended(&mut found);
                    self.close(&mut found);
                }
                b',' => {
                    self.word_ended(&mut found);
                    self.at_name = self.in_object();
                }
                b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => self.word.push(byte),
            }
        }
    }

    fn in_object(&self) -> bool {
        self.deeper == 0 && self.path.last().is_some_and(|step| *step != Step::Element)
    }

    fn open(&mut self, step: Step, at_name: bool) {
        if self.path.len() < MAX_DEPTH && self.deeper == 0 {
            self.path.push(step);
            self.at_name = at_name;
        } else {
            self.deeper += 1;
            self.at_name = false;
        }
    }

    fn close(&mut self, found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        self.at_name = false;
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.path.pop().is_some() && self.path.is_empty() {
            found(&[], JsonValue::End);
        }
    }

    fn word_ended(&mut self, found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        if let Word::Digits(number) = std::mem::take(&mut self.word)
            && self.deeper == 0
            && !self.at_name
        {
            found(&self.path, JsonValue::Number(number));
        }
    }

    fn string_ended(&mut self, found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        self.in_string = false;
        if self.deeper == 0 {
            let value = self.text.value();
            if !self.at_name {
                if let Some(value) = value {
                    found(&self.path, JsonValue::Text(value));
                }
            } else if let Some(last) = self.path.last_mut() {
                *last = value.map_or(Step::Other, Step::of);
            }
            self.at_name = false;
        }
        self.text.restart();
    }
}

impl Word {
    fn push(&mut self, byte: u8) {
        let before = match self {
            Self::None => Some(0),
            Self::Digits(before) => Some(*before),
            Self::Other => None,
        };
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        let number = before
            .zip(digit)
            .and_then(|(before, digit)| before.checked_mul(10)?.checked_add(digit));
        *self = number.map_or(Self::Other, Self::Digits);
    }
}

impl Text {
    fn restart(&mut self) {
        self.bytes.clear();
        (self.too_long, self.escape) = (false, Escape::None);
    }

    /// The whole string, unless it is too long.
    fn value(&self) -> Option<&str> {
        if self.too_long { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    /// Takes the bytes up to the next quote or escape, which are most of an answer. Returns how many.
    fn take_plain(&mut self, bytes: &[u8]) -> usize {
        if !matches!(self.escape, Escape::None) {
            return 0;
        }
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let plain = bytes.get(..end).unwrap_or_default();
        let kept = plain.get(..MAX_STRING - self.bytes.len()).unwrap_or(plain);
        self.bytes.extend_from_slice(kept);
        self.too_long |= kept.len() < plain.len();
        plain.len()
    }

    /// Takes one byte. Returns whether it is the closing quote.
    fn is_ended_by(&mut self, byte: u8) -> bool {
        match std::mem::take(&mut self.escape) {
            Escape::None => match byte {
                b'"' => return true,
                b'\\' => self.escape = Escape::Begun,
                _ => self.push(byte),
            },
            Escape::Begun if byte == b'u' => self.escape = Escape::Unicode(4, 0),
            // No string that we look for contains what the other escapes mean.
            Escape::Begun => self.push(if matches!(byte, b'"' | b'/') { byte } else { b'\\' }),
            Escape::Unicode(left, value) => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let value = value * 16 + digit;
                match left {
                    1 => self.push(u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(b'?')),
                    _ => self.escape = Escape::Unicode(left - 1, value),
                }
            }
        }
        false
    }

    fn push(&mut self, byte: u8) {
        if self.bytes.len() < MAX_STRING {
            self.bytes.push(byte);
        } else {
            self.too_long = true;
        }
    }
}
