//! Keys of the map: 128 bits under secret keys, however long the id is.
//!
//! Three things follow:
//!
//! 1. An entry has the same size for any id, and a dump of the memory shows none.
//! 2. A client cannot choose ids that collide or crowd into one table: it does not know the key of
//!    the hash. With 128 bits, chance is no concern.
//! 3. The bits are split between uses that must not depend on each other: 64 for the place in a
//!    table, 32 for the part of the store, and 16 for the tenant.
//!
//! SipHash-1-3 gives 128 bits in one pass and is a keyed pseudo-random function. The standard
//! library's version has 64 bits, where a collision among millions of sessions is likely enough to
//! give one session the model of another.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::num::NonZeroU64;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::AffinityKey;

/// A keyed hash of a key, and the tenant that it belongs to. Without the hash's own key no one can make two ids collide, and by chance it
/// does not happen. The last 16 bits but one are those of the key's tenant; the very last is always
/// set, so that an `Option` of a digest is no larger.
///
/// Digests are equal whatever tenant they carry: the tenant follows from the key, and whoever looks for
/// an entry by its name in Redis alone does not know it.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Digest(u64, NonZeroU64);

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        let unlike = (self.0 ^ other.0) | ((self.1.get() ^ other.1.get()) & !TENANT_MASK);
        unlike == 0
    }
}

impl Eq for Digest {}

/// The bits of the second half that stand for the tenant.
const TENANT_MASK: u64 = ((1 << TENANT_BITS) - 1) << 1;

/// The bit that says that a key is that of an observed claim: a listing knows nothing else of a key.
const OBSERVED: u64 = 1 << (TENANT_BITS + 1);

/// Few enough for the counts to fit into 256 KiB, and enough that two busy tenants rarely share
/// one.
const TENANT_BITS: u32 = 16;

impl Digest {
    /// How many tenants are distinguished.
    pub(super) const TENANTS: usize = 1 << TENANT_BITS;

    /// Which of `parts` parts of the store the key belongs to; independent of the half that the map
    /// hashes by, and of the tenant.
    pub(in crate::store) fn part(self, parts: usize) -> usize {
        // The upper half of the bits as a fraction: no division, and any number of parts.
        let fraction = u128::from(self.1.get() >> u32::BITS);
        usize::try_from((fraction * parts as u128) >> u32::BITS).unwrap_or_default()
    }

    /// Whose key it is, as a number below [`Self::TENANTS`].
    pub(super) fn tenant(self) -> usize {
        usize::try_from(self.1.get() >> 1 & (Self::TENANTS as u64 - 1)).unwrap_or_default()
    }

    /// Whether it is that of an observed claim.
    pub(super) fn is_observed(self) -> bool {
        self.1.get() & OBSERVED != 0
    }

    /// This digest as that of a pin or of an observed claim.
    fn of_claim(self, is_observed: bool) -> Self {
        let bit = if is_observed { OBSERVED } else { 0 };
        Self(self.0, NonZeroU64::MIN | self.1.get() & !OBSERVED | bit)
    }

    /// Reads what `Display` wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_at_checked(16).filter(|_| text.len() == 32)?;
        let number = |text| {
            // No sign, and small letters only: one digest has one text.
            let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let is_hex = str::bytes(text).all(digits);
            u64::from_str_radix(text, 16).ok().filter(|_| is_hex)
        };
        Some(Self(number(first)?, NonZeroU64::new(number(second)?)?))
    }

    /// This digest as that of a key of the tenant with the digest `tenant`.
    fn of_tenant(self, tenant: u64) -> Self {
        let bits = (Self::TENANTS as u64 - 1) << 1;
        Self(self.0, NonZeroU64::MIN | self.1.get() & !bits | tenant << 1 & bits)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// The map hashes by the first half only; equality is by both.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// Makes digests under keys drawn from the system when the process starts.
///
/// Another process draws others, so digests never leave the process but as opaque names.
#[derive(Clone, Copy)]
pub(in crate::store) struct Digester {
    plain: SipHasher13,
    /// For keys of several parts, so that none of them meets one of a single part.
    parted: SipHasher13,
}

impl Default for Digester {
    fn default() -> Self {
        let random = || RandomState::new().hash_one(());
        let hasher = || SipHasher13::new_with_keys(random(), random());
        Self { plain: hasher(), parted: hasher() }
    }
}

impl Digester {
    /// The digest of a name that comes in pieces.
    ///
    /// Names are those of pins in Redis. Their tenant is not known here; whoever knows it adds it by
    /// [`of_scope`](Self::of_scope).
    pub(in crate::store) fn digest(&self, pieces: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Digest {
        digest(self.plain, pieces)
    }

    /// The same digest for an entry of the tenant of `key`.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn of_scope(&self, digest: Digest, key: &AffinityKey) -> Digest {
        digest.of_tenant(self.tenant(key))
    }

    /// All keys without a tenant belong to one.
    fn tenant(&self, key: &AffinityKey) -> u64 {
        key.scope().map_or(0, |scope| self.digest(|hash| hash(scope.as_bytes())).0)
    }

    /// The digest of a key that is known by its parts.
    ///
    /// The lengths of the parts are hashed with them, or `("ab", "c")` and `("a", "bc")` would be
    /// one key. A session id alone, the usual case, is hashed without them, under a key of its own.
    pub(super) fn digest_key(&self, key: &AffinityKey) -> Digest {
        let parts = key.parts();
        if let [[], [], session, []] = parts {
            // All keys without a tenant belong to one: no hash is needed.
            return digest(self.plain, |hash| hash(session)).of_tenant(0).of_claim(false);
        }
        let digest = digest(self.parted, |hash| {
            let mut lengths = 0_u64;
            for part in parts {
                hash(part);
                // No part is as long as 2^16, so the lengths say where each one ends.
                lengths = lengths << 16 | part.len() as u64;
            }
            hash(&lengths.to_le_bytes());
        });
        digest.of_tenant(self.tenant(key)).of_claim(key.is_observed())
    }
}

/// Sets the last bit: the second half is never zero.
fn digest(mut hasher: SipHasher13, pieces: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Digest {
    pieces(&mut |piece| hasher.write(piece));
    let hash = hasher.finish128();
    Digest(hash.h1, NonZeroU64::MIN | hash.h2)
}

impl fmt::Debug for Digester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Digester").finish_non_exhaustive()
    }
}

/// Hashes a [`Digest`] to itself.
///
/// A digest is uniform already, and hashing it again would only cost time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdentityState;

/// The hasher of [`IdentityState`]. It is only ever given one `u64`.
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

#[cfg(test)]
mod tests;
