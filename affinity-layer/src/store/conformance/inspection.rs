//! The promises of [`Inspect`].
//!
//! They are apart from those of the store itself because a store may do without the trait.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::{LONG, claim, get, key, model, selection};
use crate::admin::{Inspect, StoredKey, StoredPin};
use crate::store::AffinityStore;
use crate::{AffinityKey, Epoch, Expiry, ModelName, Selection, StoreErrorKind};

/// Runs every check of [`Inspect`], as [`run`](super::run) does for the store itself.
///
/// The listing of 200 pins reads the whole store, in pages down to one pin each: on a server with
/// millions of pins this takes a while. While it runs, no other client may add or remove pins
/// there, since a listing is exact only then.
///
/// # Panics
///
/// If the store breaks a promise, or returns an error.
pub async fn inspect<St, W, F>(store: &St, namespace: &str, wait: W)
where
    St: AffinityStore + Inspect,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    every_pin_is_listed_once(store, namespace).await;
    a_pin_is_found_by_its_name(store, namespace).await;
    nothing_stands_under_other_names(store).await;
    a_change_by_name_needs_the_epoch(store, namespace).await;
    a_link_is_no_pin(store, namespace).await;
    to_look_is_not_to_use(store, namespace, &wait).await;
}

/// The name under which a new pin of `key` is stored.
fn stored(store: &impl Inspect, key: &AffinityKey) -> StoredKey {
    store.stored_keys(key).into_iter().next().expect("a name")
}

async fn find(store: &impl Inspect, key: &AffinityKey) -> Option<StoredPin> {
    store.find(&stored(store, key)).await.expect("find")
}

/// How often each name is listed.
async fn listed(store: &impl Inspect, limit: usize) -> HashMap<StoredKey, usize> {
    let (mut told, mut cursor) = (HashMap::new(), None);
    loop {
        let page = store.list(cursor.as_deref(), limit).await.expect("a page");
        for pin in page.pins {
            *told.entry(pin.key).or_default() += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            return told;
        }
    }
}

/// With pages of one, a few and more than all: the cursor must neither skip nor repeat.
async fn every_pin_is_listed_once<St: AffinityStore + Inspect>(store: &St, namespace: &str) {
    let keys: Vec<_> = (0..200).map(|n| key(namespace, &format!("listed-{n}"))).collect();
    for key in &keys {
        claim(store, key, "a/one").await;
    }
    for limit in [1, 7, 1000] {
        let told = listed(store, limit).await;
        for key in &keys {
            assert_eq!(told.get(&stored(store, key)), Some(&1), "pages of {limit}");
        }
    }
}

/// With an id full of characters that names and cursors use themselves.
async fn a_pin_is_found_by_its_name<St: AffinityStore + Inspect>(store: &St, namespace: &str) {
    let scope = crate::Scope::new("a/b:%c").expect("a scope");
    let key = key(namespace, "found/{:%").with_scope(Some(scope)).with_lane("l").expect("a lane");
    assert_eq!(find(store, &key).await, None);
    let pin = claim(store, &key, "a/one").await.pin;
    let found = find(store, &key).await.expect("a pin");
    assert_eq!((&found.pin, &found.key), (&pin, &stored(store, &key)));
    assert!(found.session.is_none_or(|session| session == key));
    let left = found.left.expect("a pin of ours ends");
    assert!(left > Duration::ZERO && left <= LONG.initial(), "{left:?}");
    let age = found.age.expect("a claim of ours is noted");
    assert!(age < LONG.initial(), "{age:?}");
}

/// A name comes from a URL, so any text must be harmless. A cursor that no listing gave is refused
/// and does not start from the beginning: the caller would never end.
async fn nothing_stands_under_other_names<St: Inspect>(store: &St) {
    for name in ["", "no such name", "%", "/", "\u{e9}", "0123456789abcdef0123456789abcdeF"] {
        let key = StoredKey::new(name);
        assert_eq!(store.find(&key).await.expect("find"), None, "{name}");
        assert!(!store.release_stored(&key, None).await.expect("release"), "{name}");
        let moved = store.repin_stored(&key, Epoch(0), selection("a/one"), &LONG).await;
        assert_eq!(moved.expect("repin"), None, "{name}");
    }
    let error = store.list(Some("no such place"), 10).await.expect_err("no cursor");
    assert_eq!(error.kind(), StoreErrorKind::InvalidCursor);
}

/// An administrator acts on what he saw; if the session has moved since, his change must lose.
async fn a_change_by_name_needs_the_epoch<St: AffinityStore + Inspect>(
    store: &St,
    namespace: &str,
) {
    let key = key(namespace, "changed");
    let (first, name) = (claim(store, &key, "a/first").await.pin, stored(store, &key));
    let moved = store.repin_stored(&name, first.epoch, selection("a/second"), &LONG).await;
    let moved = moved.expect("repin").expect("a pin");
    assert!(moved.won && moved.pin.epoch > first.epoch);
    assert_eq!(moved.pin.claimed_at, first.claimed_at);
    assert_eq!(model(get(store, &key).await.as_ref()), Some("a/second"));
    let late = store.repin_stored(&name, first.epoch, selection("a/third"), &LONG).await;
    let late = late.expect("repin").expect("a pin");
    assert!(!late.won && late.pin == moved.pin, "the epoch is gone");
    assert!(!store.release_stored(&name, Some(first.epoch)).await.expect("release"));
    assert!(store.release_stored(&name, Some(moved.pin.epoch)).await.expect("release"));
    assert_eq!(get(store, &key).await, None);
    assert_eq!(find(store, &key).await, None);
}

/// See `store::inspect::is_link`.
async fn a_link_is_no_pin<St: AffinityStore + Inspect>(store: &St, namespace: &str) {
    let response = AffinityKey::of_response(&format!("{namespace}-resp")).expect("an id");
    let begun = ModelName::new(&AffinityKey::begun().name()).expect("a name");
    let link = Arc::new(Selection::of(begun));
    store.claim(&response, link, &LONG).await.expect("claim");
    let held = AffinityKey::of_held(&format!("{namespace}-file")).expect("an id");
    let model = ModelName::new("a/one").expect("a name");
    let note = AffinityKey::holder_name(&model).expect("a name");
    store.claim(&held, Arc::new(Selection::of(note)), &LONG).await.expect("claim");
    for key in [&response, &held] {
        assert_eq!(find(store, key).await, None);
        assert_eq!(listed(store, 100).await.get(&stored(store, key)), None);
    }
}

/// A sliding pin that is only looked at ends at its idle time.
async fn to_look_is_not_to_use<St, W, F>(store: &St, namespace: &str, wait: &W)
where
    St: AffinityStore + Inspect,
    W: Fn(Duration) -> F,
    F: Future<Output = ()>,
{
    let key = key(namespace, "looked-at");
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(60));
    store.claim(&key, selection("a/one"), &expiry).await.expect("claim");
    wait(Duration::from_millis(1200)).await;
    assert!(find(store, &key).await.is_some());
    assert!(listed(store, 100).await.contains_key(&stored(store, &key)));
    wait(Duration::from_millis(1200)).await;
    assert_eq!(find(store, &key).await, None);
    assert!(!listed(store, 100).await.contains_key(&stored(store, &key)));
}
