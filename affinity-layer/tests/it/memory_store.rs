//! The memory store: the suite for all stores, then what is its own: bounds and eviction.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::store::conformance;
use affinity_layer::{
    AffinityKey, AffinityStore, Expiry, MemoryStore, ModelName, Scope, Selection, SharedStore,
};

const LONG: Expiry = Expiry::fixed(Duration::from_secs(600));

fn key(name: impl std::fmt::Display) -> AffinityKey {
    AffinityKey::new(&name.to_string()).unwrap()
}

fn selection() -> Arc<Selection> {
    Arc::new(Selection::of(ModelName::new("vendor/model").unwrap()))
}

async fn claim(store: &MemoryStore, name: impl std::fmt::Display) -> bool {
    store.claim(&key(name), selection(), &LONG).await.unwrap().won
}

fn holds(store: &MemoryStore, name: impl std::fmt::Display) -> bool {
    store.peek(&key(name), &LONG).is_some()
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_conforms() {
    conformance::run(&MemoryStore::default(), "memory", conformance::wait).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_store_can_be_inspected() {
    conformance::inspect(&MemoryStore::default(), "memory", conformance::wait).await;
    let many_rings = MemoryStore::new(100_000);
    conformance::inspect(&many_rings, "memory", conformance::wait).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_store_conforms() {
    let store = SharedStore::new(MemoryStore::default());
    conformance::run(&store, "shared", conformance::wait).await;
}

#[tokio::test]
async fn exactly_the_capacity_fits() {
    for capacity in [1, 2, 100, 10_000] {
        let store = MemoryStore::new(capacity);
        for n in 0..capacity {
            assert!(claim(&store, n).await);
        }
        assert!((0..capacity).all(|n| holds(&store, n)), "{capacity}");
        assert_eq!(store.len(), capacity);
        claim(&store, "one-more").await;
        assert_eq!(store.len(), capacity);
    }
}

#[tokio::test]
async fn the_one_that_was_not_used_makes_room() {
    let store = MemoryStore::new(3);
    for name in ["a", "b", "c"] {
        claim(&store, name).await;
    }
    assert!(holds(&store, "a"), "which uses it");
    claim(&store, "d").await;
    assert!(store.peek(&key("b"), &LONG).is_none());
    assert!(["a", "c", "d"].iter().all(|name| holds(&store, name)));
}

#[tokio::test]
async fn a_flood_of_new_sessions_is_let_in_and_bounded() {
    let store = MemoryStore::new(1000);
    for n in 0..20_000 {
        assert!(claim(&store, n).await);
        assert!(!claim(&store, n).await, "a new session is not refused");
        assert!(store.len() <= 1000);
        // Sessions in use stay, whatever the flood.
        for quiet in 0..50 {
            assert!(n < quiet || holds(&store, quiet), "{quiet} at {n}");
        }
    }
}

/// Session `n` of a tenant; the tenant "" is none.
fn of(tenant: &str, n: usize) -> AffinityKey {
    key(n).with_scope(Scope::new(tenant).ok())
}

#[tokio::test]
async fn a_tenant_that_claims_much_takes_nothing_from_one_that_holds_little() {
    for flooder in ["loud", ""] {
        let store = MemoryStore::new(10_000);
        let tenants: Vec<String> = (0..20).map(|n| format!("quiet-{n}")).collect();
        for (tenant, n) in tenants.iter().flat_map(|tenant| (0..100).map(move |n| (tenant, n))) {
            store.claim(&of(tenant, n), selection(), &LONG).await.unwrap();
        }
        for n in 0..100_000 {
            let claim = store.claim(&of(flooder, n), selection(), &LONG).await.unwrap();
            assert!(claim.won, "a new session is not refused");
        }
        // None of them was used since. By chance one in 65,536 tenants counts as the flooder.
        let holds = |tenant: &String, n| store.peek(&of(tenant, n), &LONG).is_some();
        let whole = tenants.iter().filter(|tenant| (0..100).all(|n| holds(tenant, n))).count();
        assert!(whole >= 19, "{whole}");
        assert_eq!(store.len(), 10_000);
        let loud = (0..100_000).filter(|n| store.peek(&of(flooder, *n), &LONG).is_some());
        assert!((8000..=8100).contains(&loud.count()), "what nobody needs is the flooder's");
    }
}

#[tokio::test]
async fn two_tenants_that_claim_much_share_the_store() {
    let store = MemoryStore::new(1000);
    for n in 0..10_000 {
        store.claim(&of("first", n), selection(), &LONG).await.unwrap();
    }
    for n in 0..10_000 {
        store.claim(&of("second", n), selection(), &LONG).await.unwrap();
    }
    let held =
        |tenant| (0..10_000).filter(|n| store.peek(&of(tenant, *n), &LONG).is_some()).count();
    assert_eq!((held("first"), held("second")), (500, 500));
    // What is released is free for whoever comes.
    for n in 0..10_000 {
        store.release(&of("first", n), None).await.unwrap();
    }
    for n in 0..1000 {
        store.claim(&of("second", 10_000 + n), selection(), &LONG).await.unwrap();
    }
    assert_eq!(store.len(), 1000);
}

#[tokio::test]
async fn releases_and_claims_of_one_key_do_not_grow_the_store() {
    let store = MemoryStore::new(4);
    claim(&store, "steady").await;
    for _ in 0..1000 {
        claim(&store, "s").await;
        assert!(store.release(&key("s"), None).await.unwrap());
    }
    assert_eq!(store.len(), 1);
    assert!(holds(&store, "steady"));
}

#[tokio::test(start_paused = true)]
async fn claims_drop_what_has_expired() {
    let store = MemoryStore::new(10_000);
    let short = Expiry::fixed(Duration::from_secs(1));
    for n in 0..1000 {
        store.claim(&key(n), selection(), &short).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(store.len(), 1000);
    for n in 0..1000 {
        claim(&store, format!("new-{n}")).await;
    }
    assert_eq!(store.len(), 1000, "the old ones are gone, a few at each claim");
}

#[tokio::test]
async fn the_longest_ttl_does_not_overflow() {
    let store = MemoryStore::default();
    for expiry in [Expiry::fixed(Duration::MAX), Expiry::sliding(Duration::MAX, Duration::MAX)] {
        let key = key(format!("{expiry:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
        store.claim(&key, selection(), &expiry).await.unwrap();
        assert!(store.peek(&key, &expiry).is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_churn_keeps_the_bound_and_the_promises() {
    let store = MemoryStore::new(64);
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..20_000_usize {
                    let name = (n * 31 + task * 7) % 200;
                    let claim = store.claim(&key(name), selection(), &LONG).await.unwrap();
                    assert!(store.len() <= 64);
                    if n % 3 == 0 {
                        store.release(&key(name), Some(claim.pin.epoch)).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let held = (0..200).filter(|n| holds(&store, n)).count();
    assert_eq!(held, store.len(), "the count is that of the pins that are there");
}
