//! The data of server-sent events, read in pieces of any size.
//!
//! Lines end with `\n`, `\r\n` or `\r`, as the standard has it, and an empty line ends an event. Fields
//! other than `data` are skipped: what the protocols say in `event` they repeat in the data. The space
//! after `data:` is part of what is found, for JSON does not mind it. A byte order mark before the first
//! line is skipped, as the standard has it too.
//!
//! Nothing is buffered. A line of a megabyte, or one that never ends, goes to the [JSON
//! scanner](super::json) in the pieces in which it comes, and that scanner has the limits. A reader that
//! collects whole events would need a limit of its own, and fail at the answer that exceeds it.

use memchr::memchr2;

/// Reads a stream line by line, in pieces that may end within a line, a field or an end of line.
#[derive(Debug)]
pub(super) struct EventScanner {
    state: State,
    /// The last byte was a carriage return: a line feed after it belongs to it.
    after_return: bool,
    /// The event has a line of data already.
    has_data: bool,
}

impl Default for EventScanner {
    fn default() -> Self {
        Self { state: State::Start(0), after_return: false, has_data: false }
    }
}

/// Where in a line the next byte belongs.
#[derive(Debug)]
enum State {
    /// The stream began with so many bytes of a byte order mark, and with nothing else.
    Start(usize),
    /// The line began with so many bytes of `data:`, and with nothing else.
    Field(usize),
    /// In the value of a `data` field.
    Data,
    /// In a comment or another field: the rest of the line says nothing.
    Skip,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

const FIELD: &[u8] = b"data:";

impl EventScanner {
    /// Reads on, and calls `found` with each piece of data, and with `None` where an event ends.
    ///
    /// Several `data` lines of an event are found with a line feed between them, as the standard has it. Two
    /// empty lines in a row are two ends, so `found` must not take an end for an event with data.
    pub(super) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Option<&[u8]>)) {
        let mut rest = self.start(bytes);
        while let Some((&byte, after)) = rest.split_first() {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            if matches!(byte, b'\r' | b'\n') {
                if !(byte == b'\n' && after_return) {
                    if matches!(self.state, State::Field(0)) {
                        self.has_data = false;
                        found(None);
                    }
                    self.state = State::Field(0);
                }
                rest = after;
                continue;
            }
            match self.state {
                State::Field(seen) => {
                    self.state = match FIELD.get(seen) {
                        Some(expected) if *expected != byte => State::Skip,
                        _ if seen + 1 == FIELD.len() => {
                            if std::mem::replace(&mut self.has_data, true) {
                                found(Some(b"\n"));
                            }
                            State::Data
                        }
                        _ => State::Field(seen + 1),
                    };
                    rest = after;
                }
                State::Start(_) | State::Data | State::Skip => {
                    let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    let (line, after) = rest.split_at(end);
                    if matches!(self.state, State::Data) {
                        found(Some(line));
                    }
                    rest = after;
                }
            }
        }
    }

    /// Skips the byte order mark that the stream may begin with. Returns what comes after it.
    fn start<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let (&State::Start(seen), Some((byte, after))) = (&self.state, bytes.split_first()) {
            let is_mark = BYTE_ORDER_MARK.get(seen) == Some(byte);
            self.state = match seen + 1 {
                next if is_mark && next < BYTE_ORDER_MARK.len() => State::Start(next),
                _ if is_mark || seen == 0 => State::Field(0),
                // Part of a mark: a name that no field has.
                _ => State::Skip,
            };
            if !is_mark {
                break;
            }
            bytes = after;
        }
        bytes
    }
}
