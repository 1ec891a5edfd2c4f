use std::cell::LazyCell;

use crate::stack::{ANSWER, SHORT, Stack};

/// What a connection of HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames, with the least and the most that they hold, and whether they belong to a stream.
const KINDS: [(u8, usize, usize, Option<bool>); 8] = [
    (0, 0, MOST, Some(true)),
    (1, 1, MOST, Some(true)),
    (3, 4, 4, Some(true)),
    (4, 0, MOST, Some(false)),
    (6, 8, 8, Some(false)),
    (7, 8, MOST, Some(false)),
    (8, 4, 4, None),
    (9, 0, MOST, Some(true)),
];

/// The most that a frame holds unless more is agreed on.
const MOST: usize = 16 * 1024;

thread_local! {
    static STACK: LazyCell<Stack> = const { LazyCell::new(Stack::new) };
}

/// Any bytes after the preface of HTTP/2, to the whole gateway over sockets: what comes back is frames, each
/// as long as its kind allows, and settings come first.
pub fn http2(data: &[u8]) {
    let mut rest = &*STACK.with(|stack| stack.exchange(&[PREFACE, data].concat(), ANSWER, SHORT));
    let mut is_first = true;
    while let Some((head, after)) = rest.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let Some((_, least, most, of_stream)) = KINDS.iter().find(|kind| kind.0 == head[3]) else {
            panic!("a frame of the kind {}", head[3]);
        };
        assert!((*least..=*most).contains(&length), "{head:?}");
        assert!(of_stream.is_none_or(|of_stream| of_stream == (stream > 0)), "{head:?}");
        // The client opens all streams, and theirs have odd numbers. A reset may be of one that it tried to
        // open with an even number.
        let is_reset = head[3] == 3;
        assert!(stream == 0 || stream % 2 == 1 || is_reset, "{head:?}");
        assert!(!is_first || head[3] == 4, "{head:?}");
        is_first = false;
        rest = after.get(length..).unwrap_or_default();
    }
}
