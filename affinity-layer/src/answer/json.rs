//! What a JSON document says at the paths that matter to us, read in pieces of any size.
//!
//! The scanner follows the structure of the document and does not check it: what is not JSON yields
//! no values, or values at paths that are not looked at. Its memory is bounded whatever it reads.
//!
//! 1. A document may be cut anywhere, also within an escape or a number: what is under way is kept in
//!    the scanner, and the pieces are not.
//! 2. A path has one [`Step`] for each level that is open. Names become steps as they are read, so that
//!    nothing is compared as text later; names that mean nothing to us are all [`Step::Other`].
//! 3. Up to 8 levels are followed, where the deepest path that a [fact](super::facts) looks at has
//!    five. Deeper ones are counted, so that their braces match, and yield nothing.
//! 4. Up to 256 bytes of a string are kept. A longer one is skipped: as a value it yields nothing, as a
//!    name it is [`Step::Other`].
//!
//! A parser that builds a tree needs the whole document, and so would hold an answer back until its end.
//! serde_json cannot stop in the middle of one and continue; a search for `"stop_reason"` in the bytes
//! finds it in text as well. Most bytes of an answer are in strings, which [`memchr2`] skips.

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
    /// A string, its escapes resolved as far as a name or an id of ours may contain them.
    Text(&'a str),
    /// A piece of a string, its escapes resolved, of any length; only from a scanner that
    /// [tells pieces](JsonScanner::telling_pieces). The string as a whole may follow as [`Text`](Self::Text).
    Piece(&'a [u8]),
    /// A number that consists of digits and fits.
    Number(u64),
    /// An object begins.
    Object,
    /// The object or array that is the whole document ends; its path is empty.
    End,
}

/// One step of a path: a name that means something to us, or an array's element. All protocols share the
/// names; what a name means depends on the path that it ends.
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
    Container,
    ContainerId,
    FileId,
    CallId,
    Text,
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
    CacheWriteTokens,
    CacheCreation,
    Ephemeral1hInputTokens,
    /// Any other name, and an object before its first name.
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
    /// One step for each open level that is followed: where its next value belongs.
    path: Vec<Step>,
    /// Levels beyond those in `path`.
    deeper: usize,
    in_string: bool,
    /// The current string. Its buffer is kept between strings, as each event of a stream has some.
    text: Text,
    /// The current literal or number, which ends with the byte that follows it.
    word: Word,
    /// The next string of the current object is a name.
    at_name: bool,
    /// Strings are told piece by piece, too.
    tells_pieces: bool,
}

/// A value that is neither string, object nor array.
#[derive(Debug, Default)]
enum Word {
    /// No byte of one has come.
    #[default]
    None,
    /// Digits alone, and the number so far.
    Digits(u64),
    /// A literal, a number with a sign, a point or an exponent, or one beyond `u64`: no token count.
    Other,
}

/// The beginning of the current string, as much of it as matters.
#[derive(Debug, Default)]
struct Text {
    /// At most [`MAX_STRING`] of them.
    bytes: Vec<u8>,
    /// There were more. What is kept then equals no name, and is no value.
    too_long: bool,
    escape: Escape,
    /// The first half of a character that takes two escapes, as UTF-16 has it.
    high: Option<u32>,
}

/// What one byte of a string was.
enum Taken {
    /// The end of the string.
    Quote,
    /// A part of an escape.
    Nothing,
    /// A character, or the last byte of its escape.
    Char(char),
}

/// Where in an escape the next byte belongs, since a piece may end within one.
#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    /// After the backslash.
    Begun,
    /// The digits of `\u` that are missing, and the value so far.
    Unicode(u8, u32),
}

impl Step {
    /// The step that a name is. Most names of an answer are none, and one match on the text is cheaper
    /// than to compare each path as text.
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
            "container" => Self::Container,
            "container_id" => Self::ContainerId,
            "file_id" => Self::FileId,
            "call_id" => Self::CallId,
            "text" => Self::Text,
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
            "cache_write_tokens" => Self::CacheWriteTokens,
            "cache_creation" => Self::CacheCreation,
            "ephemeral_1h_input_tokens" => Self::Ephemeral1hInputTokens,
            _ => Self::Other,
        }
    }
}

impl JsonScanner {
    /// Begins another document, whatever is open in the current one: a stream whose event was cut off is
    /// read on with the next event.
    pub(super) fn restart(&mut self) {
        self.path.clear();
        self.text.restart();
        (self.deeper, self.in_string, self.at_name) = (0, false, false);
        self.word = Word::None;
    }

    /// The same scanner, which also tells each piece of a string as it comes.
    pub(super) fn telling_pieces(self) -> Self {
        Self { tells_pieces: true, ..self }
    }

    /// Reads on, and calls `found` with each value and the path to it.
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(&[Step], JsonValue<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.in_string {
                let taken = self.text.take_plain(rest);
                if taken > 0 {
                    self.told(rest.get(..taken).unwrap_or_default(), &mut found);
                    rest = rest.get(taken..).unwrap_or_default();
                    continue;
                }
                match self.text.take_one(byte) {
                    Taken::Quote => self.string_ended(&mut found),
                    Taken::Nothing => {}
                    Taken::Char(char) => {
                        self.told(char.encode_utf8(&mut [0; 4]).as_bytes(), &mut found);
                    }
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

    /// Whether a comma here is followed by a name. The arrays are the levels whose step is an element.
    fn in_object(&self) -> bool {
        self.deeper == 0 && self.path.last().is_some_and(|step| *step != Step::Element)
    }

    /// Enters an object or array. Once a level is only counted, so are all those in it.
    fn open(&mut self, step: Step, at_name: bool) {
        if self.path.len() < MAX_DEPTH && self.deeper == 0 {
            self.path.push(step);
            self.at_name = at_name;
        } else {
            self.deeper += 1;
            self.at_name = false;
        }
    }

    /// Leaves an object or array. Braces and brackets are not told apart: in JSON they match.
    fn close(&mut self, found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        self.at_name = false;
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.path.pop().is_some() && self.path.is_empty() {
            found(&[], JsonValue::End);
        }
    }

    /// Reports a number that is complete. Literals are of no interest, nor is a number where a name
    /// belongs.
    fn word_ended(&mut self, found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        if let Word::Digits(number) = std::mem::take(&mut self.word)
            && self.deeper == 0
            && !self.at_name
        {
            found(&self.path, JsonValue::Number(number));
        }
    }

    /// Reports a piece of a string that is a value.
    fn told(&self, piece: &[u8], found: &mut impl FnMut(&[Step], JsonValue<'_>)) {
        if self.tells_pieces && self.deeper == 0 && !self.at_name {
            found(&self.path, JsonValue::Piece(piece));
        }
    }

    /// Reports a string, or takes it for the name of what follows.
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
    /// Takes one byte. A number that no longer fits is no number: a count that wraps around would be
    /// reported as a small one.
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
    /// Begins another string in the same buffer.
    fn restart(&mut self) {
        self.bytes.clear();
        (self.too_long, self.escape, self.high) = (false, Escape::None, None);
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

    /// Takes one byte, where an escape or the end of the string may be.
    fn take_one(&mut self, byte: u8) -> Taken {
        let char = match std::mem::take(&mut self.escape) {
            Escape::None => match byte {
                b'"' => return Taken::Quote,
                b'\\' => {
                    self.escape = Escape::Begun;
                    return Taken::Nothing;
                }
                // The rest of an unfinished escape; JSON has no such byte here.
                byte => char::from(byte),
            },
            Escape::Begun => match byte {
                b'u' => {
                    self.escape = Escape::Unicode(4, 0);
                    return Taken::Nothing;
                }
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                byte => char::from(byte),
            },
            Escape::Unicode(left, value) => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let value = value * 16 + digit;
                if left > 1 {
                    self.escape = Escape::Unicode(left - 1, value);
                    return Taken::Nothing;
                }
                match self.unit(value) {
                    Some(char) => char,
                    None => return Taken::Nothing,
                }
            }
        };
        for byte in char.encode_utf8(&mut [0; 4]).bytes() {
            self.push(byte);
        }
        Taken::Char(char)
    }

    /// The character that a unit of UTF-16 makes, with the one before it if that was a first half.
    fn unit(&mut self, unit: u32) -> Option<char> {
        let high = self.high.take();
        if (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
            return None;
        }
        let value = match high {
            Some(high) if (0xdc00..0xe000).contains(&unit) => {
                0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00)
            }
            _ => unit,
        };
        Some(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Keeps one byte if there is room.
    fn push(&mut self, byte: u8) {
        if self.bytes.len() < MAX_STRING {
            self.bytes.push(byte);
        } else {
            self.too_long = true;
        }
    }
}
