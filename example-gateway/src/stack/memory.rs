//! The memory that the bodies of all requests share.
//!
//! 1. Bytes are taken as they arrive, with what is set aside for those that follow, which is as much again
//!    at most, or 64 KiB: a length that is only declared takes nothing. They are given back when the last
//!    part of the body is dropped, so when no attempt can need it any more.
//! 2. Bodies of up to [`SMALL`] bytes have an eighth of the memory to themselves: large ones cannot keep
//!    them out.
//! 3. One client holds at most a quarter in large bodies.
//! 4. When the memory is taken, the slowest body that is still arriving makes room. One that is slower
//!    than all others is refused itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::extensions::Client;
use crate::telemetry::metrics;

/// The largest body that counts as small: 64 KiB.
pub(crate) const SMALL: usize = 64 * 1024;

/// A body younger than this is not slow.
const YOUNG: Duration = Duration::from_secs(1);

/// How long a body waits for the room that a slower one makes.
const PATIENCE: Duration = Duration::from_secs(1);

/// The memory for bodies. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes for small bodies alone.
    for_small: usize,
    /// Bytes for all others.
    for_large: usize,
    /// The most that one client holds in large bodies.
    share: usize,
    small: AtomicUsize,
    large: Mutex<Large>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Large {
    used: usize,
    by_client: HashMap<Client, usize>,
    arriving: HashMap<u64, Arriving>,
    bodies: u64,
}

/// A large body that is not whole yet.
#[derive(Debug)]
struct Arriving {
    since: Instant,
    bytes: usize,
    refused: Arc<Notify>,
}

/// Why a body gets no more memory.
enum Full {
    /// Its client holds as much as one may.
    OfClient,
    /// All of it is taken.
    OfAll,
}

impl BodyMemory {
    /// Memory of `total` bytes.
    pub(crate) fn new(total: usize) -> Self {
        let for_small = total / 8;
        Self(Arc::new(Shared {
            for_small,
            for_large: total - for_small,
            share: total / 4,
            small: AtomicUsize::new(0),
            large: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// The largest body that can be held at all.
    pub(crate) fn largest_body(&self) -> usize {
        self.0.share
    }

    /// What a request of the client in `extensions` is going to hold.
    pub(crate) fn hold(&self, extensions: &Extensions) -> Held {
        let client = extensions.get().copied().unwrap_or(Client::Unknown);
        Held { memory: self.clone(), client, bytes: 0, place: Place::Small }
    }

    /// What all bodies hold together.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.0.small.load(Ordering::Relaxed) + self.large().used
    }

    fn large(&self) -> MutexGuard<'_, Large> {
        self.0.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for `bytes` of a small body.
    fn take_small(&self, bytes: usize) -> bool {
        let taken = self.0.small.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.0.for_small;
        if !taken {
            self.give_small(bytes);
        }
        taken
    }

    fn give_small(&self, bytes: usize) {
        self.0.small.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn take_large(&self, client: Client, bytes: usize) -> Result<(), Full> {
        let mut large = self.large();
        let of_client = large.by_client.get(&client).copied().unwrap_or_default();
        if of_client + bytes > self.0.share {
            return Err(Full::OfClient);
        }
        if large.used + bytes > self.0.for_large {
            return Err(Full::OfAll);
        }
        large.used += bytes;
        large.by_client.insert(client, of_client + bytes);
        Ok(())
    }

    fn give_large(&self, client: Client, bytes: usize) {
        let mut large = self.large();
        large.used -= bytes.min(large.used);
        if let Some(of_client) = large.by_client.get_mut(&client) {
            *of_client -= bytes.min(*of_client);
            if *of_client == 0 {
                large.by_client.remove(&client);
            }
        }
        drop(large);
        self.0.freed.notify_waiters();
    }

    /// Refuses the slowest of the bodies that are slower than body `id`, which has `more` bytes at hand;
    /// says whether there is one.
    fn refuse_slower(&self, id: u64, more: usize) -> bool {
        let large = self.large();
        let now = Instant::now();
        // Bytes a second. What has just begun would seem slow, or fast, by chance.
        let pace = |body: &Arriving, bytes: usize| {
            let age = now.duration_since(body.since).max(YOUNG);
            bytes as u128 * 1000 / age.as_millis().max(1)
        };
        let Some(own) = large.arriving.get(&id) else { return false };
        let own = pace(own, own.bytes + more);
        let others = large.arriving.iter().filter(|(other, _)| **other != id);
        let aged = others.filter(|(_, body)| now.duration_since(body.since) >= YOUNG);
        let paced = aged.map(|(_, body)| (pace(body, body.bytes), body));
        let slowest = paced.filter(|(pace, _)| *pace < own).min_by_key(|(pace, _)| *pace);
        let slowest = slowest.map(|(_, body)| body);
        slowest.inspect(|body| body.refused.notify_one()).is_some()
    }
}

/// What one body holds. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: BodyMemory,
    client: Client,
    bytes: usize,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Small,
    Large { id: u64, refused: Arc<Notify> },
}

impl Held {
    /// Takes `more` bytes.
    ///
    /// # Errors
    ///
    /// 503 where there is no room for them.
    pub(crate) async fn grow(&mut self, more: usize) -> Result<(), ApiError> {
        if matches!(self.place, Place::Small)
            && self.bytes + more <= SMALL
            && self.memory.take_small(more)
        {
            self.bytes += more;
            return Ok(());
        }
        self.grow_large(more).await
    }

    async fn grow_large(&mut self, more: usize) -> Result<(), ApiError> {
        let id = self.enter_large()?;
        let patience = Instant::now() + PATIENCE;
        loop {
            let memory = self.memory.clone();
            let mut freed = std::pin::pin!(memory.0.freed.notified());
            // From here on nothing that is given back is missed.
            freed.as_mut().enable();
            match memory.take_large(self.client, more) {
                Ok(()) => break,
                Err(Full::OfAll) if memory.refuse_slower(id, more) => {
                    if tokio::time::timeout_at(patience, freed).await.is_err() {
                        return Err(refused(&Full::OfAll));
                    }
                }
                Err(full) => return Err(refused(&full)),
            }
        }
        self.bytes += more;
        if let Some(body) = self.memory.large().arriving.get_mut(&id) {
            body.bytes = self.bytes;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        match self.place {
            Place::Small => self.memory.give_small(less),
            Place::Large { .. } => self.memory.give_large(self.client, less),
        }
    }

    /// Moves to the memory of large bodies what was held as a small one.
    fn enter_large(&mut self) -> Result<u64, ApiError> {
        if let Place::Large { id, .. } = self.place {
            return Ok(id);
        }
        self.memory.take_large(self.client, self.bytes).map_err(|full| refused(&full))?;
        self.memory.give_small(self.bytes);
        let refused = Arc::new(Notify::new());
        let mut large = self.memory.large();
        large.bodies += 1;
        let id = large.bodies;
        let body = Arriving { since: Instant::now(), bytes: self.bytes, refused: refused.clone() };
        large.arriving.insert(id, body);
        drop(large);
        self.place = Place::Large { id, refused };
        Ok(id)
    }

    /// Waits until the body has to make room for a faster one.
    pub(crate) async fn refused(&self) -> ApiError {
        match &self.place {
            Place::Small => std::future::pending().await,
            Place::Large { refused: told, .. } => {
                told.notified().await;
                refused(&Full::OfAll)
            }
        }
    }

    /// The body is whole: `bytes` hold its memory from now on, with all that is cut from them.
    pub(crate) fn attach(self, bytes: Bytes) -> Bytes {
        self.arrived();
        Bytes::from_owner(Owner { bytes, _held: self })
    }

    fn arrived(&self) {
        if let Place::Large { id, .. } = self.place {
            self.memory.large().arriving.remove(&id);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.place {
            Place::Small => self.memory.give_small(self.bytes),
            Place::Large { .. } => {
                self.arrived();
                self.memory.give_large(self.client, self.bytes);
            }
        }
    }
}

/// A body and what it holds.
struct Owner {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn refused(full: &Full) -> ApiError {
    metrics::shed("body_memory");
    ApiError::no_memory(match full {
        Full::OfClient => "the request bodies of this client take all the memory that it may have",
        Full::OfAll => "request bodies take all the memory that they may have",
    })
}

#[cfg(test)]
mod tests;
