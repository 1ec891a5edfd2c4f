//! Where a server's reply ends, and whether the client library may read it.
//!
//! The library decodes a reply by recursion and without a limit, so a reply of some thousand nested
//! arrays would end the process. It also keeps whatever it cannot end yet: a string of a declared
//! length of 2 GB, or a stream of elements without an end. So replies are looked at before the
//! library sees them, by a scanner that keeps a count for each open aggregate and nothing else.
//!
//! 1. A reply has at most 32 levels, 65,536 elements and 4 MiB. The replies to our own commands
//!    have three levels; the largest one is a burst of invalidations.
//! 2. What no server sends in answer to our commands is refused: streamed strings and aggregates,
//!    the null forms of RESP2 (which the library takes for the start of a stream), unknown types.
//! 3. The content of numbers and lines is left to the library, which reads those without recursion.

use memchr::memchr;

/// The levels of a reply: an array of arrays has two.
const MAX_LEVELS: usize = 32;

/// The elements of a reply, on all levels together.
const MAX_ELEMENTS: usize = 65_536;

/// The bytes of a reply. A value of a pin is at most 2 MiB, and larger ones are removed unread.
pub(super) const MAX_REPLY: usize = 4 * 1024 * 1024;

/// A reply that is not of the protocol, or exceeds a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidReply;

/// Finds the end of one reply after another, without recursion.
#[derive(Debug)]
pub(super) struct ReplyScanner {
    /// The elements that each open level still lacks; the first level is the reply itself.
    open: Vec<usize>,
    /// Where the next element begins.
    at: usize,
    /// Up to here there is no end of the line that begins at `at`.
    searched: usize,
    elements: usize,
}

/// One element: what it opens, and where that begins.
struct Element {
    end: usize,
    /// How many elements it announces.
    opens: usize,
    /// It precedes the element that it belongs to, and does not count as one.
    is_attribute: bool,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self { open: vec![1], at: 0, searched: 0, elements: 0 }
    }
}

impl ReplyScanner {
    /// The length of the reply that `bytes` begins with, `None` until it is whole.
    ///
    /// While it is not whole, `bytes` must begin with the same bytes at the next call. The scan goes on
    /// where it ended, however small the pieces are in which a reply arrives.
    ///
    /// # Errors
    ///
    /// When it is no reply, or exceeds a limit. The scanner is of no use from then on.
    pub(super) fn whole(&mut self, bytes: &[u8]) -> Result<Option<usize>, InvalidReply> {
        while let Some(element) = self.element(bytes)? {
            (self.at, self.searched) = (element.end, element.end);
            self.enter(&element)?;
            if self.at > MAX_REPLY {
                return Err(InvalidReply);
            }
            if self.open.is_empty() {
                return Ok(Some(std::mem::take(self).at));
            }
        }
        if bytes.len() > MAX_REPLY { Err(InvalidReply) } else { Ok(None) }
    }

    /// Counts an element, opens its level, and closes the levels that it completes.
    fn enter(&mut self, element: &Element) -> Result<(), InvalidReply> {
        if let Some(left) = self.open.last_mut().filter(|_| !element.is_attribute) {
            *left -= 1;
        }
        self.elements += element.opens;
        if element.opens > 0 {
            self.open.push(element.opens);
        }
        if self.elements > MAX_ELEMENTS || self.open.len() > MAX_LEVELS + 1 {
            return Err(InvalidReply);
        }
        while self.open.last() == Some(&0) {
            self.open.pop();
        }
        Ok(())
    }

    /// The element at `at`, `None` until its line, and what the line announces, is there.
    fn element(&mut self, bytes: &[u8]) -> Result<Option<Element>, InvalidReply> {
        match bytes.get(self.at) {
            Some(kind) if !b"+-:_,#($!=*~>%|".contains(kind) => return Err(InvalidReply),
            _ => {}
        }
        let Some((kind, line, end)) = self.line(bytes) else { return Ok(None) };
        let element = |opens| Some(Element { end, opens, is_attribute: kind == b'|' });
        match kind {
            b'$' | b'!' | b'=' => text(bytes, end, number(line)?),
            b'*' | b'~' | b'>' => Ok(element(number(line)?)),
            b'%' | b'|' => Ok(element(2 * number(line)?)),
            _ => Ok(element(0)),
        }
    }

    /// The type, the text and the end of the line at `at`, `None` until it is whole.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Option<(u8, &'a [u8], usize)> {
        let (kind, rest) = bytes.get(self.at..)?.split_first()?;
        let from = self.at + 1;
        loop {
            let searched = self.searched.max(from);
            let newline = searched + memchr(b'\n', bytes.get(searched..)?)?;
            let end = newline + 1;
            let line = rest.get(..newline - from)?;
            if let Some(line) = line.strip_suffix(b"\r") {
                return Some((*kind, line, end));
            }
            self.searched = end;
        }
    }
}

/// A string of `length` bytes behind its line, `None` until it is whole.
fn text(bytes: &[u8], from: usize, length: usize) -> Result<Option<Element>, InvalidReply> {
    let to = from + length;
    match bytes.get(to..to + 2) {
        Some(b"\r\n") => Ok(Some(Element { end: to + 2, opens: 0, is_attribute: false })),
        Some(_) => Err(InvalidReply),
        None => Ok(None),
    }
}

/// A length or a count within the limits of a whole reply.
fn number(line: &[u8]) -> Result<usize, InvalidReply> {
    if line.is_empty() || line.len() > 7 || !line.iter().all(u8::is_ascii_digit) {
        return Err(InvalidReply);
    }
    let number = line.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if number > MAX_REPLY { Err(InvalidReply) } else { Ok(number) }
}

#[cfg(test)]
mod tests;
