//! JSON, read without a copy: strings, numbers and literals, and the values that they make up.

use super::stops::{BLOCK, Seen, look};
use crate::body::content::{Contents, Place};

/// Digits of a number that is certainly in range, with an exponent below 100.
const DIGITS: usize = 200;

/// A place in a text. Every step returns `None` if it does not find what it expects.
pub(super) struct Reader<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    /// The start of the block that was searched last, and what was found there.
    block: usize,
    seen: Seen,
    /// Whether every string so far is ASCII.
    pub(super) is_ascii: bool,
    /// What the body holds so far.
    pub(super) contents: Contents,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let seen = look(text, 0);
        let contents = Contents::default();
        Self { text, at: 0, block: 0, seen, is_ascii: seen.is_ascii, contents }
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    pub(super) fn literal(&mut self, text: &[u8]) -> Option<()> {
        let is_there = self.text.get(self.at..)?.starts_with(text);
        is_there.then(|| self.at += text.len())
    }

    /// A string after its first quote: the text between the quotes, and whether it holds escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Option<(&'a [u8], bool)> {
        // Most strings are keys and other words that end within the block.
        if let Some(stop) = self.stop_in_block()
            && self.text.get(stop) == Some(&b'"')
        {
            let string = self.text.get(self.at..stop)?;
            self.at = stop + 1;
            return Some((string, false));
        }
        self.long_string()
    }

    #[inline(never)]
    fn long_string(&mut self) -> Option<(&'a [u8], bool)> {
        let start = self.at;
        let mut is_escaped = false;
        while self.at < self.text.len() {
            let Some(stop) = self.stop_in_block() else {
                self.next_block();
                continue;
            };
            self.at = stop + 1;
            match self.text.get(stop)? {
                b'"' => return Some((self.text.get(start..stop)?, is_escaped)),
                b'\\' => self.escape()?,
                // A control character.
                _ => return None,
            }
            is_escaped = true;
        }
        None
    }

    /// The next byte that a string cannot pass over, if the block searched last holds one. It is usually
    /// a few bytes away, so a block is searched once and consulted many times.
    #[inline]
    fn stop_in_block(&self) -> Option<usize> {
        let passed = self.at.wrapping_sub(self.block);
        if passed >= BLOCK {
            return None;
        }
        let ahead = self.seen.stops >> passed;
        (ahead != 0).then(|| self.at + ahead.trailing_zeros() as usize)
    }

    /// Searches the block in which the reader is, or the next if it knows that one.
    fn next_block(&mut self) {
        let current = self.at - self.at % BLOCK;
        if current == self.block {
            self.at = self.block + BLOCK;
        }
        self.block = self.at - self.at % BLOCK;
        self.seen = look(self.text, self.block);
        self.is_ascii &= self.seen.is_ascii;
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let kind = self.peek()?;
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.unit()? {
                // The two halves of one character.
                0xd800..0xdc00 => {
                    self.literal(b"\\u")?;
                    (0xdc00..0xe000).contains(&self.unit()?).then_some(())
                }
                0xdc00..0xe000 => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u32> {
        let digits: &[u8; 4] = self.text.get(self.at..)?.first_chunk()?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, byte| Some(unit << 4 | char::from(*byte).to_digit(16)?))
    }

    pub(super) fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits(DIGITS)?;
        }
        if self.take(b'.').is_some() {
            self.digits(DIGITS)?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits(2)?;
        }
        Some(())
    }

    /// At least one digit and at most `most`.
    fn digits(&mut self, most: usize) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (1..=most).contains(&count).then_some(())
    }

    /// A key with its colon. One that holds an escape may be another one in disguise.
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let (key, is_escaped) = self.string()?;
        self.space();
        self.take(b':')?;
        self.space();
        (!is_escaped).then_some(key)
    }

    /// After an element: whether `end` closes the list, else a comma has been passed.
    pub(super) fn is_last(&mut self, end: u8) -> Option<bool> {
        self.space();
        if self.take(end).is_some() {
            return Some(true);
        }
        self.take(b',')?;
        self.space();
        Some(false)
    }

    /// A value of any kind. What it holds is noted by its place.
    pub(super) fn value(&mut self, depth: u8, place: Place) -> Option<()> {
        let first = self.peek()?;
        if let b'"' | b'[' | b'{' = first {
            self.at += 1;
        }
        match first {
            b'"' => {
                let (text, is_escaped) = self.string()?;
                match place {
                    Place::Type => {
                        self.contents.note_type(text);
                        return (!is_escaped).then_some(());
                    }
                    Place::Reference => self.contents.refers |= !text.is_empty(),
                    _ => {}
                }
                Some(())
            }
            b'[' => self.array(depth.checked_sub(1)?, place.of_elements()),
            b'{' => self.object(depth.checked_sub(1)?, place),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    /// After its first byte.
    fn array(&mut self, depth: u8, place: Place) -> Option<()> {
        self.space();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth, place)?;
            if self.is_last(b']')? {
                return Some(());
            }
        }
    }

    /// After its first byte.
    fn object(&mut self, depth: u8, place: Place) -> Option<()> {
        self.space();
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.key()?;
            let inner = place.within(key, &mut self.contents);
            self.value(depth, inner)?;
            if self.is_last(b'}')? {
                return Some(());
            }
        }
    }
}
