//! A custom store over an asynchronous map, such as the one in which a session library keeps its records, and
//! it passes the suite that every store must pass.
//!
//!     cargo run -p affinity-layer --features conformance --example own_store
//!
//! Such a map can load, save and delete, and cannot compare. So each verb takes a lock of this process
//! around its steps, and one process has to own the map. A database needs no lock: there each verb is one
//! statement or one transaction, as in `sqlite_store.rs`.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use affinity_layer::state::StateMark;
use affinity_layer::store::conformance;
use affinity_layer::{
    AffinityKey, AffinityStore, BoxError, Claim, Epoch, Expiry, ModelName, Pin, PinRead, RouteName,
    Selection, StoreError, StoreErrorKind,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard, RwLock};
use tokio::time::Instant;

/// The map, with the verbs of `tower_sessions::SessionStore`: records by id, and no more.
trait AsyncMap: Send + Sync + 'static {
    fn load(&self, id: &str) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;
    fn save(&self, id: &str, record: Record)
    -> impl Future<Output = Result<(), StoreError>> + Send;
    fn delete(&self, id: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What the map keeps: bytes, when they were first saved, and when they end, on the clock of the map.
#[derive(Clone)]
struct Record {
    json: String,
    made: Instant,
    ends: Instant,
}

/// Everything that a pin is made of, as JSON. A store that drops a field changes what sessions do: without
/// `warm_up` no session would ever be bound that is set to warm up.
#[derive(Deserialize, Serialize)]
struct Kept {
    model: ModelName,
    route: Option<RouteName>,
    candidates: Vec<ModelName>,
    warm_up: u8,
    foreign: Option<String>,
    epoch: u64,
    claimed_at: SystemTime,
}

impl Kept {
    fn new(selection: &Selection, epoch: u64, claimed_at: SystemTime) -> Self {
        Self {
            model: selection.model().clone(),
            route: selection.route().cloned(),
            candidates: selection.candidates().to_vec(),
            warm_up: selection.warm_up(),
            foreign: selection.foreign().map(|mark| mark.to_string()),
            epoch,
            claimed_at,
        }
    }

    fn read(record: &Record) -> Result<Self, StoreError> {
        serde_json::from_str(&record.json).map_err(invalid)
    }

    fn json(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(invalid)
    }

    fn into_pin(self) -> Pin {
        let selection = Selection::new(self.model, self.route, self.candidates)
            .with_warm_up(self.warm_up)
            .with_foreign(self.foreign.as_deref().and_then(StateMark::parse));
        Pin::new(Arc::new(selection), Epoch(self.epoch), self.claimed_at)
    }
}

fn invalid(error: serde_json::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, error)
}

/// Pins in any map.
struct MapStore<M> {
    map: M,
    /// Makes one step of the several that a verb takes. A busy store has a lock for each key.
    lock: Mutex<()>,
    /// One sequence for all keys, so that an epoch is greater than every earlier one of its key, also
    /// across a release. It begins with the time, so that it also grows across a restart.
    last_epoch: AtomicU64,
}

impl<M: AsyncMap> MapStore<M> {
    fn new(map: M) -> Self {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let micros = u64::try_from(since_1970.as_micros()).unwrap_or_default();
        Self { map, lock: Mutex::default(), last_epoch: AtomicU64::new(micros) }
    }

    /// The id of the record: the canonical text of the key, which no two keys share. The session id alone
    /// would let the ids of headers and bodies, of two tenants, or of a sub-agent and its main loop meet.
    async fn enter(&self, key: &AffinityKey) -> (MutexGuard<'_, ()>, String) {
        (self.lock.lock().await, key.encode("pin:"))
    }

    /// The record of a pin that has not ended.
    async fn live(&self, id: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.map.load(id).await?.filter(|record| record.ends > Instant::now()))
    }

    fn next_epoch(&self) -> u64 {
        self.last_epoch.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl<M: AsyncMap> AffinityStore for MapStore<M> {
    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let (_one_step, id) = self.enter(key).await;
        let Some(mut record) = self.live(&id).await? else { return Ok(PinRead::Absent) };
        let pin = Kept::read(&record)?.into_pin();
        // A use of a pin defers its end when it slides.
        if let Some(left) = expiry.after_use(record.made.elapsed()) {
            record.ends = Instant::now() + left;
            self.map.save(&id, record).await?;
        }
        Ok(PinRead::Pinned(pin))
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let (_one_step, id) = self.enter(key).await;
        if let Some(record) = self.live(&id).await? {
            return Ok(Claim::lost(Kept::read(&record)?.into_pin()));
        }
        let kept = Kept::new(&selection, self.next_epoch(), SystemTime::now());
        let made = Instant::now();
        let record = Record { json: kept.json()?, made, ends: made + expiry.initial() };
        self.map.save(&id, record).await?;
        Ok(Claim::won(kept.into_pin()))
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (_one_step, id) = self.enter(key).await;
        let Some(mut record) = self.live(&id).await? else { return Ok(None) };
        let before = Kept::read(&record)?;
        if before.epoch != from.0 {
            return Ok(Some(Claim::lost(before.into_pin())));
        }
        // The time of the claim is kept, and with it the maximum age.
        let kept = Kept::new(&selection, self.next_epoch(), before.claimed_at);
        let left = expiry.after_use(record.made.elapsed()).unwrap_or(expiry.initial());
        (record.json, record.ends) = (kept.json()?, Instant::now() + left);
        self.map.save(&id, record).await?;
        Ok(Some(Claim::won(kept.into_pin())))
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let (_one_step, id) = self.enter(key).await;
        let Some(record) = self.live(&id).await? else { return Ok(false) };
        let stored = Kept::read(&record)?.epoch;
        let is_meant = epoch.is_none_or(|epoch| stored == epoch.0);
        if is_meant {
            self.map.delete(&id).await?;
        }
        Ok(is_meant)
    }
}

/// Stands for the map of a session library.
#[derive(Default)]
struct Records(RwLock<HashMap<String, Record>>);

impl AsyncMap for Records {
    async fn load(&self, id: &str) -> Result<Option<Record>, StoreError> {
        // As one over a network does, it takes a while.
        tokio::time::sleep(Duration::from_micros(10)).await;
        Ok(self.0.read().await.get(id).cloned())
    }

    async fn save(&self, id: &str, record: Record) -> Result<(), StoreError> {
        self.0.write().await.insert(id.to_owned(), record);
        Ok(())
    }

    async fn delete(&self, id: &str) -> Result<(), StoreError> {
        self.0.write().await.remove(id);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // The map follows tokio's clock, so that the suite need not wait for pins to end.
    tokio::time::pause();
    let store = MapStore::new(Records::default());
    conformance::run(&store, "own-store", conformance::wait).await;
    println!("the store keeps every promise of the suite");
    Ok(())
}
