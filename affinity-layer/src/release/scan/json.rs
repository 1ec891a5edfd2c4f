//! Strings, counts and objects of a JSON document by the path that leads to them, read in pieces of any size.
//!
//! It follows structure and does not check it: what is no JSON gives no strings, or strings that
//! mean nothing to us.

use memchr::memchr2;

use super::key::Key;
use crate::AffinityKey;

/// Nesting that is followed; deeper places are counted and not looked at.
const MAX_DEPTH: usize = 8;

/// Bytes that are kept of a string; none that we look for is longer: the id of a response is to be a
/// part of a key.
const MAX_STRING: usize = AffinityKey::MAX_SESSION_LEN;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    Text(&'a str),
    /// A number of digits alone that fits.
    Number(u64),
    /// The beginning of an object.
    Object,
    /// The end of the object or array that is the whole document; its path is empty.
    End,
}

#[derive(Debug, Default)]
pub(crate) struct Json {
    path: Vec<Key>,
    /// Levels beyond those in `path`.
    deeper: usize,
    in_string: bool,
    /// The string at hand; it is not given up between strings, as a stream has some in each event.
    text: Text,
    word: Word,
    /// The next string of the object at hand is a key.
    at_key: bool,
}

/// What stands outside of strings and structure.
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
    /// Digits of `\u` that are still to come, and their value so far.
    Unicode(u8, u32),
}

impl Json {
    /// Begins another document.
    pub(crate) fn restart(&mut self) {
        self.path.clear();
        self.text.restart();
        (self.deeper, self.in_string, self.at_key) = (0, false, false);
        self.word = Word::None;
    }

    /// Reads on; `found` is called for all that [`Found`] tells of, with the path to it.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(&[Key], Found<'_>)) {
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
                        found(&self.path, Found::Object);
                    }
                    self.open(Key::Other, true);
                }
                b'[' => self.open(Key::Element, false),
                b'}' | b']' => {
                    self.word_ended(&mut found);
                    self.close(&mut found);
                }
                b',' => {
                    self.word_ended(&mut found);
                    self.at_key = self.in_object();
                }
                b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => self.word.push(byte),
            }
        }
    }

    fn in_object(&self) -> bool {
        self.deeper == 0 && self.path.last().is_some_and(|key| *key != Key::Element)
    }

    fn open(&mut self, key: Key, at_key: bool) {
        if self.path.len() < MAX_DEPTH && self.deeper == 0 {
            self.path.push(key);
            self.at_key = at_key;
        } else {
            self.deeper += 1;
            self.at_key = false;
        }
    }

    fn close(&mut self, found: &mut impl FnMut(&[Key], Found<'_>)) {
        self.at_key = false;
        if self.deeper > 0 {
            self.deeper -= 1;
        } else if self.path.pop().is_some() && self.path.is_empty() {
            found(&[], Found::End);
        }
    }

    fn word_ended(&mut self, found: &mut impl FnMut(&[Key], Found<'_>)) {
        if let Word::Digits(number) = std::mem::take(&mut self.word)
            && self.deeper == 0
            && !self.at_key
        {
            found(&self.path, Found::Number(number));
        }
    }

    fn string_ended(&mut self, found: &mut impl FnMut(&[Key], Found<'_>)) {
        self.in_string = false;
        if self.deeper == 0 {
            let value = self.text.value();
            if !self.at_key {
                if let Some(value) = value {
                    found(&self.path, Found::Text(value));
                }
            } else if let Some(last) = self.path.last_mut() {
                *last = value.map_or(Key::Other, Key::of);
            }
            self.at_key = false;
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

    /// What it says, if all of that is known.
    fn value(&self) -> Option<&str> {
        if self.too_long { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    /// Takes the bytes up to the next quote or escape, which are most of an answer; says how many.
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

    /// Takes a byte; says whether it is the quote at the end.
    fn is_ended_by(&mut self, byte: u8) -> bool {
        match std::mem::take(&mut self.escape) {
            Escape::None => match byte {
                b'"' => return true,
                b'\\' => self.escape = Escape::Begun,
                _ => self.push(byte),
            },
            Escape::Begun if byte == b'u' => self.escape = Escape::Unicode(4, 0),
            // What an escape other than \u stands for is in nothing that we look for.
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
