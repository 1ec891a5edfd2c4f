//! A body as it arrives: in pieces, which nothing moves until it is whole.
//!
//! One buffer that grows would be moved each time, the last time half of 32 MiB at once, and all other
//! clients of the thread would wait for it. Pieces are joined when the body is read, on the thread for that.

use bytes::Bytes;

use crate::stack::memory::{Held, SMALL};

/// The most that is set aside at once, and so the longest piece: 1 MiB.
const LONGEST: usize = 1 << 20;

/// What has come of a body.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// All but the last are full.
    pieces: Vec<Vec<u8>>,
    length: usize,
    /// The bytes of all pieces, those that are only set aside too.
    capacity: usize,
}

impl Pieces {
    /// The bytes that have come.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How much more is to be set aside before `data` is taken, of a body of which `rest` bytes more are
    /// declared to follow; 0 while there is room for `data`.
    ///
    /// What has come is a pledge for as much again, so that a length that is only declared sets little aside.
    pub(super) fn wanted(&self, data: usize, rest: usize) -> usize {
        let Some(lacking) = data.checked_sub(self.capacity - self.length).filter(|n| *n > 0) else {
            return 0;
        };
        let come = self.length + data;
        let ahead = match rest {
            // None is declared: more may come or not.
            0 => come / 4,
            rest => rest.min(SMALL.max(come)),
        };
        lacking + ahead.min(LONGEST)
    }

    /// Takes `data`, for which `wanted` bytes were set aside.
    pub(super) fn push(&mut self, mut data: &[u8], wanted: usize) {
        self.length += data.len();
        if let Some(last) = self.pieces.last_mut() {
            let (fits, rest) = data.split_at(data.len().min(last.capacity() - last.len()));
            last.extend_from_slice(fits);
            data = rest;
        }
        if wanted > 0 {
            let mut piece = Vec::new();
            piece.reserve_exact(wanted.max(data.len()));
            piece.extend_from_slice(data);
            self.capacity += wanted;
            self.pieces.push(piece);
        }
    }

    pub(super) fn into_arrived(self, held: Option<Held>) -> Arrived {
        let Self { pieces, length, .. } = self;
        Arrived { body: Body::Pieces(pieces), length, held }
    }
}

/// A whole body, which may be in pieces still.
#[derive(Debug)]
pub(crate) struct Arrived {
    body: Body,
    length: usize,
    /// The memory that it holds.
    held: Option<Held>,
}

#[derive(Debug)]
enum Body {
    /// It came in one frame.
    One(Bytes),
    Pieces(Vec<Vec<u8>>),
}

impl Arrived {
    /// A body that came in one frame.
    pub(super) fn at_once(bytes: Bytes, held: Option<Held>) -> Self {
        Self { length: bytes.len(), body: Body::One(bytes), held }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// All of it in one piece, which holds the memory. A long body is copied, so its place is where it is
    /// read.
    pub(crate) fn join(self) -> Bytes {
        let Self { body, length, held } = self;
        let bytes = match body {
            Body::One(bytes) => bytes,
            Body::Pieces(pieces) => joined(pieces, length),
        };
        let Some(mut held) = held else { return bytes };
        held.shrink_to(length);
        held.attach(bytes)
    }
}

fn joined(mut pieces: Vec<Vec<u8>>, length: usize) -> Bytes {
    let mut whole = match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => {
            let mut whole = Vec::with_capacity(length);
            // Each is freed once it is copied, so that the body is not held twice.
            pieces.into_iter().for_each(|piece| whole.extend_from_slice(&piece));
            whole
        }
    };
    whole.shrink_to_fit();
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// All of `length` bytes in parts of `part`, of a body that declares `declared`; the most that was set
    /// aside beyond what had come, and the longest piece.
    fn taken(length: usize, part: usize, declared: usize) -> (Bytes, usize, usize) {
        let all: Vec<u8> = b"0123456789abc".iter().copied().cycle().take(length).collect();
        let (mut pieces, mut beyond) = (Pieces::default(), 0);
        for data in all.chunks(part) {
            let rest = declared.saturating_sub(pieces.len() + data.len());
            let wanted = pieces.wanted(data.len(), rest);
            pieces.push(data, wanted);
            assert!(pieces.capacity >= pieces.len());
            beyond = beyond.max(pieces.capacity - pieces.len());
        }
        assert_eq!(pieces.len(), length);
        let longest = pieces.pieces.iter().map(Vec::capacity).max().unwrap_or_default();
        assert_eq!(pieces.pieces.iter().map(Vec::capacity).sum::<usize>(), pieces.capacity);
        let bytes = pieces.into_arrived(None).join();
        assert!(bytes == all, "{length} bytes in parts of {part}");
        (bytes, beyond, longest)
    }

    #[test]
    fn what_is_set_aside_for_a_body_is_at_most_as_much_as_has_come_and_counts() {
        // A byte of a body that declares a megabyte, and 64 KiB.
        assert_eq!(Pieces::default().wanted(1, MIB), 1 + SMALL);
        // Of a body with a length, no byte is set aside that does not come.
        assert_eq!(Pieces::default().wanted(10, 20), 30);
        assert_eq!(Pieces::default().wanted(100, 0), 125);
        let (_, beyond, _) = taken(32 * MIB, 100_000, 32 * MIB);
        assert!(beyond <= LONGEST, "{beyond}");
        let (_, beyond, _) = taken(32 * MIB, 16_000, 0);
        assert!(beyond <= LONGEST, "{beyond}");
    }

    #[test]
    fn a_long_body_is_kept_in_pieces_that_are_never_moved() {
        for (length, part, declared) in
            [(32 * MIB, 128 << 10, 32 * MIB), (32 * MIB, 16_384, 0), (5 * MIB, 7, 5 * MIB)]
        {
            let (_, _, longest) = taken(length, part, declared);
            assert!(longest <= LONGEST + (128 << 10), "{longest}");
        }
    }

    #[test]
    fn bodies_of_all_lengths_are_as_they_came() {
        for length in [0, 1, 100, SMALL, SMALL + 1, 300_001] {
            for part in [1, 999, 65_536, 300_001] {
                for declared in [0, length, 2 * length] {
                    taken(length, part, declared);
                }
            }
        }
    }
}
