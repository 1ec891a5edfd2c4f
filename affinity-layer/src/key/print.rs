//! Keyed hashes of what was said in a conversation.
//!
//! A conversation is found again by its text, and no text may rest in the store: what is stored is a
//! [`Print`], 128 bits of a keyed hash. Nobody who reads the store, and knows how people begin, can tell
//! who has asked what, nor make up the print of a conversation of another.
//!
//! SipHash takes bytes in pieces of any size, so a stream can be hashed as it passes; it is keyed by
//! design, and the layer has it already.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::{AffinityKey, IdKind};

/// The key of all prints of a layer. Replicas that find each other's conversations have the same.
#[derive(Clone)]
pub(crate) struct PrintKey([u8; 16]);

/// The hash of some part of a conversation. Its [`Domain`] is part of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Print(u128);

/// What a print is of: the same text in two domains has two prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// The instructions of a request.
    Instructions,
    /// The first message of the user.
    Opening,
    /// The messages up to some point.
    Messages,
    /// Instructions and all messages: what an identical request has.
    Request,
    /// A request whose messages were served, for those that begin with them.
    Served,
    /// The id of a call in an answer.
    Call,
    /// An answer, together with the opening.
    Answer,
    /// A session, for what it has served last.
    Session,
    /// The opening, together with the counter of a client.
    Counted,
}

/// A hash under way. It can be fed in pieces that are cut anywhere.
#[derive(Clone)]
pub(crate) struct Printer(SipHasher24);

impl PrintKey {
    #[cfg(feature = "fingerprint")]
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// Begins a hash.
    pub(crate) fn printer(&self, domain: Domain) -> Printer {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u8(domain as u8);
        Printer(hasher)
    }

    /// The hash of other hashes.
    pub(crate) fn print_of(&self, domain: Domain, parts: &[Print]) -> Print {
        let mut printer = self.printer(domain);
        parts.iter().for_each(|part| printer.print(*part));
        printer.finish()
    }
}

impl Printer {
    /// Takes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    /// Takes text without its ASCII white space, which clients trim, add and convert. Returns whether
    /// anything was left of it.
    pub(crate) fn text(&mut self, text: &[u8]) -> bool {
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.fold(false, |_, word| {
            self.bytes(word);
            true
        })
    }

    /// Takes the hash of another part, whose length is always the same.
    pub(crate) fn print(&mut self, print: Print) {
        self.bytes(&print.0.to_le_bytes());
    }

    /// The hash of all that was taken.
    pub(crate) fn finish(&self) -> Print {
        Print(self.0.finish128().as_u128())
    }
}

impl Print {
    /// The key under which a link is stored that leads from this print to its session.
    pub(crate) fn link_key(self) -> AffinityKey {
        AffinityKey::ours(IdKind::Said, self.0)
    }

    /// As text, for a link.
    pub(crate) fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }

    /// The print that a link names.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        u128::from_str_radix(hex, 16).ok().map(Self)
    }

    /// The key of a session that is found by this print alone.
    pub(super) fn session_key(self) -> AffinityKey {
        AffinityKey::ours(IdKind::Fingerprint, self.0)
    }
}

impl fmt::Debug for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Print").finish_non_exhaustive()
    }
}

impl fmt::Debug for PrintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintKey").finish_non_exhaustive()
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PrintKey = PrintKey([7; 16]);

    #[test]
    fn neither_pieces_nor_white_space_change_a_print() {
        let print = |pieces: &[&str]| {
            let mut printer = KEY.printer(Domain::Answer);
            pieces.iter().for_each(|piece| {
                printer.text(piece.as_bytes());
            });
            printer.finish()
        };
        let whole = print(&["It is done."]);
        for pieces in [&["It", " is\n do", "ne."][..], &["", "Itisdone", "."], &["\tIt is done. "]]
        {
            assert_eq!(print(pieces), whole, "{pieces:?}");
        }
        assert_ne!(print(&["It is done"]), whole);
    }

    #[test]
    fn key_and_domain_are_part_of_a_print() {
        let print = |key: [u8; 16], domain| PrintKey(key).printer(domain).finish();
        let one = print([7; 16], Domain::Answer);
        assert_eq!(print([7; 16], Domain::Answer), one);
        assert_ne!(print([8; 16], Domain::Answer), one);
        assert_ne!(print([7; 16], Domain::Call), one);
        assert_eq!(one.link_key().kind(), IdKind::Said);
        assert_eq!(format!("{one:?}{KEY:?}"), "Print { .. }PrintKey { .. }");
    }
}
