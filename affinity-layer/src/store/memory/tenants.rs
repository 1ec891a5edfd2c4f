//! How many entries each tenant holds.
//!
//! A store is shared by all scopes, and its bound is common to them. Without a count, one scope
//! that claims a new session for each request would push everybody's sessions out, although each
//! eviction alone looks fair.

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
    /// The count of the tenant of `digest`. It is always there, since a tenant's number is below
    /// the length.
    fn count(&self, digest: Digest) -> Option<&AtomicU32> {
        self.0.get(digest.tenant())
    }

    /// How many entries the tenant holds.
    pub(super) fn held(&self, digest: Digest) -> u32 {
        self.count(digest).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// One of its entries was added.
    pub(super) fn entered(&self, digest: Digest) {
        if let Some(count) = self.count(digest) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One of its entries is gone.
    pub(super) fn left(&self, digest: Digest) {
        if let Some(count) = self.count(digest) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
