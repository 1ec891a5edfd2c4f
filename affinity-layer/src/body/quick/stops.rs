//! Where a string may end, for 64 bytes at a time.

use wide::u8x16;

/// As many bytes as are looked at together.
pub(super) const BLOCK: usize = 64;

/// What was seen of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// A bit for each byte that a string cannot just pass over, the first byte's the lowest: quotes,
    /// backslashes, control characters.
    pub(super) stops: u64,
    /// Whether all bytes are ASCII.
    pub(super) is_ascii: bool,
}

/// Looks at the block of `text` that begins at `start`; behind the end nothing stops.
pub(super) fn look(text: &[u8], start: usize) -> Seen {
    let rest = text.get(start..).unwrap_or_default();
    if let Some(block) = rest.first_chunk() {
        return look_at(block);
    }
    let mut block = [b' '; BLOCK];
    block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    look_at(&block)
}

fn look_at(block: &[u8; BLOCK]) -> Seen {
    let [quote, backslash, control] = [b'"', b'\\', b' ' - 1].map(u8x16::splat);
    let mut seen = Seen::default();
    let mut all = u8x16::ZERO;
    let (chunks, _) = block.as_chunks();
    for (chunk, place) in chunks.iter().zip([0, 16, 32, 48]) {
        let bytes = u8x16::new(*chunk);
        let is_control = bytes.min(control).simd_eq(bytes);
        let stops = bytes.simd_eq(quote) | bytes.simd_eq(backslash) | is_control;
        seen.stops |= u64::from(stops.to_bitmask()) << place;
        all |= bytes;
    }
    // The highest bits are those that ASCII does not have.
    seen.is_ascii = all.to_bitmask() == 0;
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_in_each_place_is_seen_as_it_is() {
        for byte in 0..=u8::MAX {
            for place in 0..BLOCK {
                let mut block = [b'a'; BLOCK];
                block[place] = byte;
                let seen = look_at(&block);
                let stops = byte < 0x20 || [b'"', b'\\'].contains(&byte);
                let expected = Seen { stops: u64::from(stops) << place, is_ascii: byte < 0x80 };
                assert_eq!(seen, expected, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn behind_the_end_nothing_stops() {
        let text = [b'"'; BLOCK + 3];
        assert_eq!(look(&text, 0).stops, u64::MAX);
        assert_eq!(look(&text, BLOCK), Seen { stops: 0b111, is_ascii: true });
        assert_eq!(look(&text, BLOCK + 3), Seen { stops: 0, is_ascii: true });
    }
}
