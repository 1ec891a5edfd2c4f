//! What the tests of the stores share.
//!
//! Calls of a store are boxed: without optimisation one takes up to 100 KiB of the stack, and a
//! test has 2 MiB.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::store::Unready;
use affinity_layer::{
    AffinityKey, AffinityStore, Claim, Expiry, ModelName, Pin, PinRead, RedisOptions, RedisStore,
    Selection, StoreError, TieredStore,
};
use affinity_tests::redis::RedisServer;
use affinity_tests::until;
use tokio::time::{Instant, interval};

/// The lifetime of pins whose end a test does not wait for.
pub(crate) const LONG: Expiry = Expiry::fixed(Duration::from_secs(600));

/// A command timeout that a busy machine keeps.
pub(crate) const CALM: Duration = Duration::from_secs(1);

/// The prefix that is set by default.
pub(crate) const PREFIX: &str = "plano:affinity:";

/// Near copies of a [`TieredStore`] under test.
const CAPACITY: usize = 10_000;

pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions::from_url(url).unwrap().command_timeout(CALM)
}

pub(crate) fn key(session: &str) -> AffinityKey {
    AffinityKey::new(session).unwrap()
}

/// The name under which the pin of a session without scope rests by default.
pub(crate) fn name(session: &str) -> String {
    format!("{PREFIX}{session}")
}

pub(crate) fn selection(model: &str) -> Arc<Selection> {
    Arc::new(Selection::of(ModelName::new(model).unwrap()))
}

/// A store that has connected.
pub(crate) async fn redis(options: &RedisOptions) -> RedisStore {
    let store = RedisStore::new(options).unwrap();
    Box::pin(answers(&store)).await;
    store
}

/// A store that has connected and follows the changes of others.
pub(crate) async fn tiered(options: &RedisOptions) -> TieredStore {
    let store = TieredStore::new(Box::pin(redis(options)).await, CAPACITY);
    until(async || store.is_ready()).await;
    store
}

/// Waits until the store says that this is why it is not ready.
pub(crate) async fn until_unready(store: &TieredStore, cause: Option<Unready>) {
    let what = format!("{cause:?}");
    soon(Duration::from_secs(10), &what, async || store.unready() == cause).await;
}

/// Waits until the store answers, on each connection if it has several.
pub(crate) async fn answers(store: &RedisStore) {
    let mut row = 0;
    until(async || {
        row = if get(store, "is-it-there").await.is_ok() { row + 1 } else { 0 };
        row >= 8
    })
    .await;
}

/// Asks `condition` again and again until it holds, within `limit`.
#[track_caller]
pub(crate) fn soon(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let mut pace = interval(Duration::from_millis(5));
        while !condition().await {
            assert!(start.elapsed() < limit, "{place}: {what}: not within {limit:?}");
            pace.tick().await;
        }
    }
}

/// Whether all `stores`, and nobody else, follow this run of the server. A store that has not
/// noticed yet that its server was restarted still calls itself ready; the server knows better.
pub(crate) async fn all_follow(server: &RedisServer, stores: &[&TieredStore]) -> bool {
    let Ok(clients) = server.cmd(&["CLIENT", "LIST"]).await else { return false };
    let tracks = |client: &str| {
        let flags = client.split(' ').find_map(|field| field.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('t'))
    };
    let following = clients.text().unwrap_or_default().lines().filter(|line| tracks(line)).count();
    following == stores.len() && stores.iter().all(|store| store.is_ready())
}

/// The pin of a session. A decision that is no pin counts as the failure behind it.
pub(crate) async fn get(
    store: &impl AffinityStore,
    session: &str,
) -> Result<Option<Pin>, StoreError> {
    match Box::pin(store.get(&key(session), &LONG)).await? {
        PinRead::Decided { failure, .. } => Err(failure.into()),
        read => Ok(read.pin()),
    }
}

pub(crate) async fn claim(
    store: &impl AffinityStore,
    session: &str,
    model: &str,
) -> Result<Claim, StoreError> {
    Box::pin(store.claim(&key(session), selection(model), &LONG)).await
}

/// A turn of a session as the layer makes it: what is at hand, else what the store says.
pub(crate) async fn turn(
    store: &impl AffinityStore,
    session: &str,
    expiry: &Expiry,
) -> Option<Pin> {
    match store.peek(&key(session), expiry) {
        Some(pin) => Some(pin),
        None => Box::pin(store.get(&key(session), expiry)).await.ok().and_then(PinRead::pin),
    }
}

/// The model of a turn: that of the pin, or what the store decided alone while Redis failed.
pub(crate) async fn model(store: &impl AffinityStore, session: &str) -> Option<String> {
    let selection = match store.peek(&key(session), &LONG) {
        Some(pin) => Some(pin.selection),
        None => Box::pin(store.get(&key(session), &LONG)).await.ok().and_then(PinRead::selection),
    };
    selection.map(|selection| selection.model().to_string())
}

/// The model that rests in Redis under a readable name.
pub(crate) async fn model_in(server: &RedisServer, session: &str) -> Option<String> {
    let value = server.cmd(&["GET", &name(session)]).await.ok()?;
    let value: serde_json::Value = serde_json::from_str(value.text()?).unwrap();
    Some(value["model_name"].as_str().unwrap().to_owned())
}

/// Milliseconds that the pin of a session has left at Redis, negative where there is none.
pub(crate) async fn left(server: &RedisServer, session: &str) -> i64 {
    server.run(&["PTTL", &name(session)]).await.integer().unwrap()
}
