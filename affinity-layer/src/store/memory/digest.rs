//! Keys of the map: 128 bits under secret keys, however long the id is.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Two independently keyed hashes of a key. Nobody who does not know the keys can make two ids
/// meet, and by chance it does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Digest(u64, u64);

impl Digest {
    /// Which part of the store the key belongs to; independent of the half that the map hashes by.
    pub(in crate::store) fn part(self) -> usize {
        // Truncation is harmless: any bits will do.
        #[allow(clippy::cast_possible_truncation)]
        let part = self.1 as usize;
        part
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Makes digests under keys drawn from the system when the process starts.
#[derive(Debug, Default)]
pub(in crate::store) struct Digester(RandomState, RandomState);

impl Digester {
    /// The digest of a name; one of several parts needs a type that keeps them apart, as a slice of
    /// slices does.
    pub(in crate::store) fn digest(&self, name: &(impl Hash + ?Sized)) -> Digest {
        Digest(self.0.hash_one(name), self.1.hash_one(name))
    }
}

/// Hashes a [`Digest`] to itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdentityState;

#[derive(Debug, Default)]
pub(super) struct Identity(u64);

impl BuildHasher for IdentityState {
    type Hasher = Identity;

    fn build_hasher(&self) -> Identity {
        Identity::default()
    }
}

impl Hasher for Identity {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
