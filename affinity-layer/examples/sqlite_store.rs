//! A store on SQLite, which passes the suite that every store must pass.
//!
//!     cargo run -p affinity-layer --features conformance --example sqlite_store [FILE]
//!
//! Each verb is one statement, or one transaction that holds the write lock from its first statement on: two
//! processes that claim a session at the same time agree on one pin. The suite waits for pins to end, on the
//! real clock, for about 15 seconds.

// An example prints what it found.
#![allow(clippy::print_stdout)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use affinity_layer::state::StateMark;
use affinity_layer::store::conformance;
use affinity_layer::{
    AffinityKey, AffinityStore, BoxError, Claim, Epoch, Expiry, ModelName, Pin, PinRead, RouteName,
    Selection, StoreError, StoreErrorKind,
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

/// One column for each part of a selection: a part that is left out changes what sessions do, much later. The
/// key is its canonical text, at most `AffinityKey::MAX_ENCODED_LEN` bytes, and is compared byte for byte.
/// Times are milliseconds since 1970. Epochs have a counter of their own: a release deletes the row, and a
/// counter in it would begin anew.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS pins (
        key TEXT PRIMARY KEY COLLATE BINARY,
        model TEXT NOT NULL,
        route TEXT,
        candidates TEXT NOT NULL,
        warm_up INTEGER NOT NULL,
        foreign_mark TEXT,
        epoch INTEGER NOT NULL,
        claimed_at INTEGER NOT NULL,
        ends INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS pins_by_end ON pins (ends);
    CREATE TABLE IF NOT EXISTS epochs (last INTEGER NOT NULL);
    INSERT INTO epochs SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM epochs);
";

const COLUMNS: &str = "model, route, candidates, warm_up, foreign_mark, epoch, claimed_at";

#[derive(Clone)]
struct SqliteStore(Arc<Mutex<Connection>>);

impl SqliteStore {
    fn new(connection: Connection) -> Result<Self, rusqlite::Error> {
        connection.busy_timeout(Duration::from_millis(50))?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Runs `work` in a transaction, on a thread that may block.
    async fn run<T, W>(&self, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>, i64) -> Result<T, BoxError> + Send + 'static,
    {
        let connection = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = work(&transaction, now())?;
            transaction.commit()?;
            Ok::<_, BoxError>(done)
        });
        let done =
            done.await.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error))?;
        done.map_err(|error| StoreError::new(StoreErrorKind::Unavailable, error))
    }

    /// Removes the pins that have ended. Call it now and then: nothing depends on it but the size of the file.
    async fn sweep(&self) -> Result<usize, StoreError> {
        self.run(|sql, now| Ok(sql.execute("DELETE FROM pins WHERE ends <= ?1", [now])?)).await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    millis(UNIX_EPOCH.elapsed().unwrap_or_default())
}

fn since(claimed_at: i64, now: i64) -> Duration {
    Duration::from_millis(u64::try_from(now - claimed_at).unwrap_or_default())
}

fn next_epoch(sql: &Transaction<'_>) -> Result<i64, rusqlite::Error> {
    sql.query_row("UPDATE epochs SET last = last + 1 RETURNING last", [], |row| row.get(0))
}

/// The pin in a row, and when it was claimed.
fn pin(row: &Row<'_>) -> Result<(Pin, i64), BoxError> {
    let (model, route): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let (candidates, warm_up): (String, u8) = (row.get(2)?, row.get(3)?);
    let (foreign, epoch, claimed_at): (Option<String>, i64, i64) =
        (row.get(4)?, row.get(5)?, row.get(6)?);
    let candidates: Vec<ModelName> = serde_json::from_str(&candidates)?;
    let route = route.as_deref().map(RouteName::new).transpose()?;
    let selection = Selection::new(ModelName::new(&model)?, route, candidates)
        .with_warm_up(warm_up)
        .with_foreign(foreign.as_deref().and_then(StateMark::parse));
    let at = UNIX_EPOCH + since(0, claimed_at);
    Ok((Pin::new(Arc::new(selection), Epoch(u64::try_from(epoch)?), at), claimed_at))
}

/// The pin of a key that has not ended.
fn live(sql: &Transaction<'_>, key: &str, now: i64) -> Result<Option<(Pin, i64)>, BoxError> {
    let select = format!("SELECT {COLUMNS} FROM pins WHERE key = ?1 AND ends > ?2");
    let found = sql.query_row(&select, params![key, now], |row| Ok(pin(row))).optional()?;
    found.transpose()
}

/// Writes the pin of a key, whatever there was.
fn write(
    sql: &Transaction<'_>,
    key: &str,
    selection: &Selection,
    claimed_at: i64,
    ends: i64,
) -> Result<(), BoxError> {
    let insert = format!(
        "INSERT OR REPLACE INTO pins (key, {COLUMNS}, ends) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    );
    let route = selection.route().map(RouteName::as_str);
    let foreign = selection.foreign().map(|mark| mark.to_string());
    let candidates = serde_json::to_string(selection.candidates())?;
    let (model, warm_up, epoch) =
        (selection.model().as_str(), selection.warm_up(), next_epoch(sql)?);
    let row = params![key, model, route, candidates, warm_up, foreign, epoch, claimed_at, ends];
    sql.execute(&insert, row)?;
    Ok(())
}

fn written(sql: &Transaction<'_>, key: &str, now: i64) -> Result<Pin, BoxError> {
    Ok(live(sql, key, now)?.ok_or("the pin ended at once")?.0)
}

impl AffinityStore for SqliteStore {
    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        let (key, expiry) = (key.encode(""), *expiry);
        self.run(move |sql, now| {
            let Some((pin, claimed_at)) = live(sql, &key, now)? else {
                return Ok(PinRead::Absent);
            };
            // A use of a pin defers its end when it slides.
            if let Some(left) = expiry.after_use(since(claimed_at, now)) {
                let ends = now + millis(left);
                sql.execute("UPDATE pins SET ends = ?2 WHERE key = ?1", params![key, ends])?;
            }
            Ok(PinRead::Pinned(pin))
        })
        .await
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        let (key, left) = (key.encode(""), millis(expiry.initial()));
        self.run(move |sql, now| {
            if let Some((pin, _)) = live(sql, &key, now)? {
                return Ok(Claim::lost(pin));
            }
            write(sql, &key, &selection, now, now + left)?;
            Ok(Claim::won(written(sql, &key, now)?))
        })
        .await
    }

    async fn repin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (key, expiry) = (key.encode(""), *expiry);
        self.run(move |sql, now| {
            let Some((pin, claimed_at)) = live(sql, &key, now)? else { return Ok(None) };
            if pin.epoch != from {
                return Ok(Some(Claim::lost(pin)));
            }
            // The time of the claim is kept, and with it the maximum age.
            let left = expiry.after_use(since(claimed_at, now)).unwrap_or(expiry.initial());
            write(sql, &key, &selection, claimed_at, now + millis(left))?;
            Ok(Some(Claim::won(written(sql, &key, now)?)))
        })
        .await
    }

    async fn release(&self, key: &AffinityKey, epoch: Option<Epoch>) -> Result<bool, StoreError> {
        let key = key.encode("");
        // No pin of this store has an epoch beyond this range.
        let Ok(epoch) = epoch.map(|epoch| i64::try_from(epoch.0)).transpose() else {
            return Ok(false);
        };
        self.run(move |sql, now| {
            let delete = "DELETE FROM pins
                          WHERE key = ?1 AND ends > ?2 AND (?3 IS NULL OR epoch = ?3)";
            Ok(sql.execute(delete, params![key, now, epoch])? == 1)
        })
        .await
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let connection = match std::env::args().nth(1) {
        Some(file) => Connection::open(file)?,
        None => Connection::open_in_memory()?,
    };
    let store = SqliteStore::new(connection)?;
    // The file may still hold the pins of an earlier run.
    let namespace = format!("suite-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    conformance::run(&store, &namespace, conformance::wait).await;
    println!(
        "the store keeps every promise of the suite; {} pins have ended",
        store.sweep().await?
    );
    Ok(())
}
