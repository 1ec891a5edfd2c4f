//! Turns at the beginning of a session whose decision does not bind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, BoxError, MemoryStore,
    ext::{MidTurn, Probe},
};
use axum::body::Body;
use http::Request;

use crate::common::*;

fn warming(turns: u8) -> (Calls, Stack) {
    let calls = Calls::default();
    let service = stack(layer(calls.router()).warm_up(turns));
    (calls, service)
}

fn marked<T: Clone + Send + Sync + 'static>(mark: T) -> Request<Body> {
    let mut request = post(&[("x-model-affinity", "s")]);
    request.extensions_mut().insert(mark);
    request
}

#[tokio::test]
async fn the_first_turn_after_the_warm_up_decides() {
    let (calls, service) = warming(2);
    assert_eq!(turn(&service, "s").await, said("vendor/m1", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "refreshed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m3", false, "refreshed"));
    for _ in 0..3 {
        assert_eq!(turn(&service, "s").await, said("vendor/m3", true, "hit"));
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn requests_within_a_turn_neither_move_nor_count() {
    let (calls, service) = warming(1);
    let step = || marked(MidTurn);
    assert_eq!(send(&service, step()).await, said("vendor/m1", false, "claimed"));
    for _ in 0..3 {
        assert_eq!(send(&service, step()).await, said("vendor/m1", true, "hit"));
        assert_eq!(send(&service, marked(Probe)).await, said("vendor/m1", true, "hit"));
    }
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "refreshed"));
    assert_eq!(send(&service, step()).await, said("vendor/m2", true, "hit"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", true, "hit"));
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn the_controls_do_as_they_say() {
    let (_, service) = warming(1);
    let with = |control| post(&[("x-model-affinity", "s"), ("x-plano-affinity", control)]);
    assert_eq!(turn(&service, "s").await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, with("bypass")).await, said("vendor/m2", false, "bypass"));
    assert_eq!(send(&service, with("final")).await, said("vendor/m1", true, "hit"));
    assert_eq!(turn(&service, "s").await, said("vendor/m3", false, "claimed"));
    assert_eq!(send(&service, with("refresh")).await, said("vendor/m4", false, "refreshed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m4", true, "hit"), "that was a turn");
}

#[tokio::test]
async fn a_router_that_fails_leaves_the_session_where_it_is() {
    let (calls, failing) = (Calls::default(), Arc::new(AtomicBool::new(false)));
    let (decides, fails) = (calls.clone(), failing.clone());
    let router = calls.router_after(move || {
        let decision = if fails.load(Ordering::SeqCst) {
            Err(BoxError::from("down"))
        } else {
            Ok(decides.decide())
        };
        async move { decision }
    });
    let service = stack(layer(router).warm_up(1));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", false, "claimed"));
    failing.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(turn(&service, "s").await, said("vendor/m1", false, "router-unavailable"));
    }
    failing.store(false, Ordering::SeqCst);
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "refreshed"), "still warm");
    assert_eq!(turn(&service, "s").await, said("vendor/m2", true, "hit"));
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_turn_that_come_together_move_the_session_once() {
    let calls = Calls::default();
    let service = stack(layer(calls.slow_router(Duration::from_millis(30))).warm_up(1));
    turn(&service, "s").await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { turn(&service, "s").await })
        })
        .collect();
    let mut moved = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        moved += usize::from(answer == said("vendor/m2", false, "refreshed"));
        assert_eq!(answer.model, "vendor/m2");
    }
    assert_eq!((moved, calls.count()), (1, 2));
}

/// Two layers over one store, as two replicas: both decide, one of them moves the session.
#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_moves_the_session() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let replica = || {
        let router = calls.slow_router(Duration::from_millis(30));
        stack(AffinityLayer::new(store.clone(), router).warm_up(1))
    };
    let (one, two) = (replica(), replica());
    turn(&one, "s").await;
    let (first, second) = tokio::join!(turn(&one, "s"), turn(&two, "s"));
    assert_eq!(calls.count(), 3);
    assert_eq!(first.model, second.model);
    let mut affinity = [first.affinity.as_str(), second.affinity.as_str()];
    affinity.sort_unstable();
    assert_eq!(affinity, ["joined", "refreshed"]);
    assert_eq!(turn(&two, "s").await, said(&first.model, true, "hit"));
}
