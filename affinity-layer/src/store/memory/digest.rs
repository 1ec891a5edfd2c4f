//! Keys of the map: 128 bits under secret keys, however long the id is.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use crate::AffinityKey;

/// Two independently keyed hashes of a key. Nobody who does not know the keys can make two ids
/// meet, and by chance it does not happen. The last 16 bits are those of the key's tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Digest(u64, u64);

const TENANT_BITS: u32 = 16;

impl Digest {
    /// How many tenants are told apart.
    pub(super) const TENANTS: usize = 1 << TENANT_BITS;

    /// Which part of the store the key belongs to; independent of the half that the map hashes by.
    pub(in crate::store) fn part(self) -> usize {
        truncated(self.1 >> TENANT_BITS)
    }

    /// Whose key it is, as a number below [`Self::TENANTS`].
    pub(super) fn tenant(self) -> usize {
        truncated(self.1) % Self::TENANTS
    }

    /// This digest as that of a key of the tenant with the digest `tenant`.
    fn of_tenant(self, tenant: u64) -> Self {
        let bits = Self::TENANTS as u64 - 1;
        Self(self.0, self.1 & !bits | tenant & bits)
    }
}

/// Truncation is harmless: any bits of a hash will do.
#[allow(clippy::cast_possible_truncation, reason = "see above")]
fn truncated(hash: u64) -> usize {
    hash as usize
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

    /// The digest of a key that is known by its parts.
    pub(super) fn digest_key(&self, key: &AffinityKey) -> Digest {
        let digest = self.digest(&key.parts());
        // Without a tenant, all keys are those of one: no hash is needed to tell.
        let tenant = key.scope().map_or(0, |scope| self.0.hash_one(scope));
        digest.of_tenant(tenant)
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
