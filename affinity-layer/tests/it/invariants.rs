//! Rows of `docs/invariants.md` with the numbers that stand there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, BoxError, Expiry, MemoryStore, RouteDecision,
    Selection,
};
use tokio::task::JoinSet;

use crate::common::*;

/// xorshift64*: the same choices on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// I1: 1,000 sessions with 64 first requests each; decisions take 5 to 50 ms, for one of 4 models.
#[tokio::test(start_paused = true)]
async fn a_thousand_sessions_with_64_first_requests_each_make_a_thousand_calls() {
    let calls = Calls::default();
    let (counted, random) = (calls.clone(), Arc::new(std::sync::Mutex::new(Random(1))));
    let router = calls.router_after(move || {
        counted.next();
        let mut random = random.lock().unwrap();
        let (pause, number) = (5 + random.below(46), random.below(4));
        async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok(RouteDecision::new([model(&format!("vendor/m{number}"))]))
        }
    });
    let service = stack(layer(router));
    for round in 0..10 {
        let mut requests = JoinSet::new();
        for n in 0..6400 {
            let (service, session) = (service.clone(), format!("s-{round}-{}", n % 100));
            requests.spawn(async move {
                let said = turn(&service, &session).await;
                (session, said.model)
            });
        }
        let told: HashSet<_> = requests.join_all().await.into_iter().collect();
        assert_eq!(told.len(), 100, "one model for each session");
    }
    assert_eq!(calls.count(), 1000);
}

/// I5: the router panics 1,000 times, each time with others waiting.
#[tokio::test]
async fn a_router_that_panics_a_thousand_times_wedges_nobody() {
    let calls = Calls::default();
    let inner = calls.clone();
    let router = calls.router_after(move || {
        let number = inner.next();
        async move {
            tokio::task::yield_now().await;
            // Every other call, so that each session's first decision panics and its next does not.
            assert!(number.is_multiple_of(2), "injected");
            Ok(RouteDecision::new([model("vendor/routed")]))
        }
    });
    let store = MemoryStore::default();
    let service = stack(AffinityLayer::new(store.clone(), router));
    for n in 0..1000 {
        let mut requests = JoinSet::new();
        for _ in 0..3 {
            let (service, session) = (service.clone(), format!("s-{n}"));
            requests.spawn(async move { turn(&service, &session).await });
        }
        let mut models = Vec::new();
        while let Some(ended) = requests.join_next().await {
            models.extend(ended.ok().map(|said| said.model));
        }
        assert_eq!(models, ["vendor/routed", "vendor/routed"], "the leader alone is lost");
    }
    assert_eq!((calls.count(), store.len()), (2000, 1000));
}

/// I6: three of ten calls of the router fail, over 10,000 requests.
#[tokio::test]
async fn of_ten_thousand_requests_no_failed_decision_is_stored() {
    let calls = Calls::default();
    let (counted, random) = (calls.clone(), Arc::new(std::sync::Mutex::new(Random(6))));
    let router = calls.router_after(move || {
        counted.next();
        let kind = random.lock().unwrap().below(10);
        async move {
            match kind {
                0 => Err(BoxError::from("503")),
                1 => Err(BoxError::from("timed out")),
                // Names only what is not served.
                2 => Ok(RouteDecision::new([model("garbage/model")])),
                _ => Ok(RouteDecision::new([model("vendor/routed")])),
            }
        }
    });
    let store = MemoryStore::default();
    let layer = AffinityLayer::new(store.clone(), router);
    let service = stack(layer.accept_models(|model| model.as_str().starts_with("vendor/")));
    let mut random = Random(7);
    let mut failed = 0;
    for _ in 0..10_000 {
        let session = format!("s-{}", random.below(7000));
        let key = AffinityKey::new(&session).unwrap();
        let (stood, before) = (store.peek(&key, &Expiry::default()).is_some(), calls.count());
        let said = turn(&service, &session).await;
        assert_eq!(
            calls.count() - before,
            usize::from(!stood),
            "asked again exactly without a pin"
        );
        let stands = store.peek(&key, &Expiry::default()).map(|pin| pin.selection);
        let stands = stands.as_ref().map(|selection| selection.model().as_str());
        match said.affinity.as_str() {
            "router-unavailable" => {
                failed += 1;
                assert_eq!((stands, &*said.model), (None, "vendor/asked"));
            }
            _ => assert_eq!((stands, &*said.model), (Some("vendor/routed"), "vendor/routed")),
        }
    }
    let share = failed * 100 / calls.count();
    assert!((25..35).contains(&share), "{share} % of the calls failed");
}

/// I6: while the router fails, 64 requests for each of 50 sessions come at once, again and again.
#[tokio::test(start_paused = true)]
async fn a_herd_while_the_router_fails_asks_it_once_for_each_session() {
    const ROUNDS: usize = 4;
    let calls = Calls::default();
    let counted = calls.clone();
    let router = calls.router_after(move || {
        counted.next();
        async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Err(BoxError::from("timed out"))
        }
    });
    let store = MemoryStore::default();
    let service = stack(AffinityLayer::new(store.clone(), router));
    for round in 1..=ROUNDS {
        let mut requests = JoinSet::new();
        for n in 0..50 * 64 {
            let (service, session) = (service.clone(), format!("s-{}", n % 50));
            requests.spawn(async move { turn(&service, &session).await });
        }
        for said in requests.join_all().await {
            assert_eq!((&*said.affinity, &*said.model), ("router-unavailable", "vendor/asked"));
        }
        assert_eq!((calls.count(), store.len()), (50 * round, 0));
    }
}

/// I28: a guard that is held over an await, or two locks at once, would end one thread for good.
#[tokio::test]
async fn a_million_operations_on_one_thread_come_to_an_end() {
    const TASKS: u64 = 8;
    let store = MemoryStore::new(64);
    let expiry = Expiry::default();
    let selection = Arc::new(Selection::of(model("vendor/model")));
    let keys: Arc<[AffinityKey]> =
        (0..200).map(|n| AffinityKey::new(&format!("s-{n}")).unwrap()).collect();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, selection, keys) = (store.clone(), selection.clone(), keys.clone());
        tasks.spawn(async move {
            let mut random = Random(task + 1);
            for n in 0..1_000_000 / TASKS / 4 {
                let key = &keys[usize::try_from(random.below(200)).unwrap()];
                let pin = store.claim(key, selection.clone(), &expiry).await.unwrap().pin;
                store.get(key, &expiry).await.unwrap();
                store.repin(key, pin.epoch, selection.clone(), &expiry).await.unwrap();
                if random.below(2) == 0 {
                    store.release(key, None).await.unwrap();
                }
                store.peek(key, &expiry);
                if n % 16 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    tasks.join_all().await;
    let held = keys.iter().filter(|key| store.peek(key, &expiry).is_some()).count();
    assert_eq!(held, store.len(), "the count is that of the pins that are there");
}
