//! How many entries each tenant holds.

use std::sync::atomic::{AtomicU32, Ordering};

use super::digest::Digest;

/// One count for each [`Digest::tenant`]. When the map is full, a tenant's new entry takes the place of
/// one of a tenant that holds at least as many: a tenant with few sessions never loses them to one
/// with many, and no quota has to be set.
///
/// Tenants may share a count, by chance and not by choice: digests are keyed.
#[derive(Debug)]
pub(super) struct Tenants(Box<[AtomicU32]>);

impl Default for Tenants {
    fn default() -> Self {
        Self((0..Digest::TENANTS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Tenants {
    fn count(&self, digest: Digest) -> Option<&AtomicU32> {
        self.0.get(digest.tenant())
    }

    pub(super) fn held(&self, digest: Digest) -> u32 {
        self.count(digest).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(super) fn entered(&self, digest: Digest) {
        if let Some(count) = self.count(digest) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn left(&self, digest: Digest) {
        if let Some(count) = self.count(digest) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
