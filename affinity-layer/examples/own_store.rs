//! A custom store, which keeps pins in rows as a database would, and passes the suite that every store
//! must pass.
//!
//!     cargo run -p affinity-layer --features conformance --example own_store
//!
//! Over a database each verb becomes one statement or one transaction: `claim` an
//! `INSERT ... ON CONFLICT DO NOTHING`, `repin` an `UPDATE ... WHERE epoch = ?`, `release` a
//! `DELETE ... WHERE epoch = ?`.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use affinity_layer::store::conformance;
use affinity_layer::{
    AffinityKey, AffinityStore, BoxError, Claim, Epoch, Expiry, ModelName, Pin, RouteName,
    Selection, StoreError, StoreErrorKind, store::PinRead,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Everything that a pin is made of. A store that drops a column changes what sessions do: without
/// `warm_up` no session would ever be bound that is set to warm up.
#[derive(Clone)]
struct Row {
    model: String,
    route: Option<String>,
    candidates: Vec<String>,
    warm_up: u8,
    epoch: u64,
    claimed_at: SystemTime,
    /// The same moment on the clock by which pins end, which is the store's own.
    claimed: Instant,
    ends: Instant,
}

impl Row {
    fn new(selection: &Selection, epoch: u64, expiry: &Expiry) -> Self {
        let now = Instant::now();
        Self {
            model: selection.model().to_string(),
            route: selection.route().map(ToString::to_string),
            candidates: selection.candidates().iter().map(ToString::to_string).collect(),
            warm_up: selection.warm_up(),
            epoch,
            claimed_at: SystemTime::now(),
            claimed: now,
            ends: now + expiry.initial(),
        }
    }

    /// The row after a move: the time of the claim is kept, and with it the maximum age.
    fn moved(&self, selection: &Selection, epoch: u64, expiry: &Expiry) -> Self {
        let left = expiry.after_use(self.age()).unwrap_or(expiry.initial());
        let (claimed, claimed_at) = (self.claimed, self.claimed_at);
        let ends = Instant::now() + left;
        Self { claimed, claimed_at, ends, ..Self::new(selection, epoch, expiry) }
    }

    /// A use of a pin, which defers its end when it slides.
    fn touch(&mut self, expiry: &Expiry) {
        if let Some(left) = expiry.after_use(self.age()) {
            self.ends = Instant::now() + left;
        }
    }

    fn age(&self) -> Duration {
        self.claimed.elapsed()
    }

    fn pin(&self) -> Result<Pin, StoreError> {
        let invalid = |error| StoreError::new(StoreErrorKind::Invalid, error);
        let model = |name: &String| ModelName::new(name).map_err(invalid);
        let route = self.route.as_deref().map(RouteName::new).transpose().map_err(invalid)?;
        let candidates = self.candidates.iter().map(model).collect::<Result<Vec<_>, _>>()?;
        let selection = Selection::new(model(&self.model)?, route, candidates);
        let selection = Arc::new(selection.with_warm_up(self.warm_up));
        Ok(Pin::new(selection, Epoch(self.epoch), self.claimed_at))
    }
}

#[derive(Default)]
struct Rows {
    /// By [`AffinityKey::encode`], which no two keys share: the session id alone would let the ids of
    /// headers and bodies, of two tenants, or of a sub-agent and its main loop meet.
    by_key: HashMap<String, Row>,
    /// One sequence for all keys, so that an epoch is greater than every earlier one of its key, also
    /// across a release.
    last_epoch: u64,
}

impl Rows {
    /// The row of a pin that has not ended.
    fn live(&mut self, key: &str) -> Option<&mut Row> {
        self.by_key.get_mut(key).filter(|row| row.ends > Instant::now())
    }

    fn next_epoch(&mut self) -> u64 {
        self.last_epoch += 1;
        self.last_epoch
    }
}

#[derive(Default)]
struct OwnStore(Mutex<Rows>);

impl AffinityStore for OwnStore {
    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let mut rows = self.0.lock().await;
        let Some(row) = rows.live(&key.encode("")) else { return Ok(PinRead::Absent) };
        row.touch(expiry);
        row.pin().map(PinRead::Pinned)
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let (mut rows, key) = (self.0.lock().await, key.encode(""));
        if let Some(row) = rows.live(&key) {
            return row.pin().map(Claim::lost);
        }
        let row = Row::new(&selection, rows.next_epoch(), expiry);
        rows.by_key.insert(key, row.clone());
        row.pin().map(Claim::won)
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (mut rows, key) = (self.0.lock().await, key.encode(""));
        let epoch = rows.next_epoch();
        let Some(row) = rows.live(&key) else { return Ok(None) };
        if row.epoch != from.0 {
            return row.pin().map(Claim::lost).map(Some);
        }
        *row = row.moved(&selection, epoch, expiry);
        row.pin().map(Claim::won).map(Some)
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let (mut rows, key) = (self.0.lock().await, key.encode(""));
        let is_meant = |row: &mut Row| epoch.is_none_or(|epoch| row.epoch == epoch.0);
        let released = rows.live(&key).is_some_and(is_meant);
        if released {
            rows.by_key.remove(&key);
        }
        Ok(released)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    // The store follows tokio's clock, so that the suite need not wait for pins to end.
    tokio::time::pause();
    conformance::run(&OwnStore::default(), "own-store", conformance::wait).await;
    println!("the store keeps every promise of the suite");
    Ok(())
}
