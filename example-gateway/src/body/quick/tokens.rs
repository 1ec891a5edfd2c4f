//! The words of JSON: strings, numbers, literals.

use crate::config::Inputs;

/// Digits of a number that is certainly in range, with an exponent below 100.
const DIGITS: usize = 200;

/// What is left to read. Every step gives `None` where it does not find what it is for.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// Whether control characters stand in the whole, as they do between the words of JSON that is
    /// laid out for people. Without any, strings need not be searched for them.
    pub(super) has_controls: bool,
    /// What the messages were seen to hold beside text.
    pub(super) inputs: Inputs,
}

impl<'a> Reader<'a> {
    pub(super) fn space(&mut self) {
        while let [b' ' | b'\n' | b'\t' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    pub(super) fn take(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        (*first == wanted).then(|| self.rest = rest)
    }

    pub(super) fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// A string after its first quote: what stands between the two, and whether that holds escapes.
    pub(super) fn string(&mut self) -> Option<(&'a [u8], bool)> {
        let whole = self.rest;
        let mut is_escaped = false;
        loop {
            let (span, rest) = self.rest.split_at_checked(quote_or_escape(self.rest)?)?;
            if self.has_controls && controls(span) {
                return None;
            }
            let (first, rest) = rest.split_first()?;
            self.rest = rest;
            if *first == b'"' {
                return Some((whole.get(..whole.len() - rest.len() - 1)?, is_escaped));
            }
            is_escaped = true;
            self.escape()?;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match first {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.unit()? {
                // The two halves of one character.
                0xd800..0xdc00 => {
                    self.rest = self.rest.strip_prefix(b"\\u")?;
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
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
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
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits(2)?;
        }
        Some(())
    }

    /// At least one digit and at most `most`.
    fn digits(&mut self, most: usize) -> Option<()> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.rest = self.rest.get(count..)?;
        (1..=most).contains(&count).then_some(())
    }
}

/// Where the next of them stands. As a rule that is a few bytes away, so a search that is part of the
/// loop is a fifth faster than one behind a call.
#[cfg(target_arch = "x86_64")]
fn quote_or_escape(text: &[u8]) -> Option<usize> {
    memchr::arch::x86_64::sse2::memchr::Two::new(b'"', b'\\')?.find(text)
}

#[cfg(not(target_arch = "x86_64"))]
fn quote_or_escape(text: &[u8]) -> Option<usize> {
    memchr::memchr2(b'"', b'\\', text)
}

/// Whether `text` holds control characters. All bytes are looked at, without leaving early, so that
/// the compiler takes many at once.
pub(super) fn controls(text: &[u8]) -> bool {
    text.iter().fold(false, |any, byte| any | (*byte < b' '))
}
