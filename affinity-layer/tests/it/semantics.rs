//! Section 4 of the contract, rule by rule.

use std::time::Duration;

use crate::common::*;
use affinity_layer::{AffinityLayer, AffinityStore, Expiry, MemoryStore};
use http::{Method, Request};
use tower::ServiceExt;

#[tokio::test]
async fn without_a_session_every_request_is_routed_and_nothing_stored() {
    let calls = Calls::default();
    let store = MemoryStore::default();
    let service = stack(AffinityLayer::new(store.clone(), calls.router()));
    for n in 1..=4 {
        let expected = said(&format!("vendor/m{n}"), false, "none");
        assert_eq!(send(&service, post(&[])).await, expected);
    }
    assert_eq!(calls.count(), 4);
    assert!(store.is_empty());
}

#[tokio::test]
async fn the_first_request_claims_and_later_ones_hit_under_each_header() {
    for name in ["x-model-affinity", "x-routing-session-id", "x-session-id"] {
        let calls = Calls::default();
        let service = stack(layer(calls.router()));
        let first = send(&service, post(&[(name, "s")])).await;
        assert_eq!(first, said("vendor/m1", false, "claimed"));
        for _ in 0..3 {
            let later = send(&service, post(&[(name, "s")])).await;
            assert_eq!(later, said("vendor/m1", true, "hit"));
        }
        assert_eq!(calls.count(), 1);
    }
}

#[tokio::test]
async fn the_newest_header_wins_and_the_others_are_not_looked_at() {
    let service = stack(layer(Calls::default().router()));
    let all = [("x-session-id", "not, valid"), ("x-model-affinity", "s")];
    assert_eq!(send(&service, post(&all)).await, said("vendor/m1", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
}

#[tokio::test(start_paused = true)]
async fn concurrent_first_requests_make_one_call_and_see_one_model() {
    let calls = Calls::default();
    let router = calls.slow_router(Duration::from_millis(30));
    let service = stack(layer(router));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { turn(&service, "s").await })
        })
        .collect();
    let mut joined = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!(answer.model, "vendor/m1");
        match answer.affinity.as_str() {
            "claimed" => assert_eq!(answer.pinned, "false"),
            "joined" => {
                assert_eq!(answer.pinned, "true");
                joined += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!((calls.count(), joined), (1, 49));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hangs_up_wedges_and_fails_nobody() {
    let calls = Calls::default();
    let router = calls.slow_router(Duration::from_secs(1));
    let service = stack(layer(router));
    let spawn = || {
        let service = service.clone();
        tokio::spawn(async move { turn(&service, "s").await })
    };
    let leader = spawn();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let followers: Vec<_> = (0..20).map(|_| spawn()).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    leader.abort();
    let outcomes = futures_of(followers).await;
    assert!(outcomes.iter().all(|answer| answer.status == 200 && answer.model == "vendor/m1"));
    assert_eq!(outcomes.iter().filter(|answer| answer.affinity == "claimed").count(), 1);
    assert_eq!(calls.count(), 1, "the leader's own call never answered");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_not_given_a_pin_that_has_ended_meanwhile() {
    let service = stack(layer(Calls::default().router()));
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<&str, std::io::Error>>(1);
    let body = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let slow = post(&[("x-model-affinity", "s")]).map(|_| axum::body::Body::from_stream(body));
    let slow = tokio::spawn({
        let service = service.clone();
        async move { send(&service, slow).await }
    });
    tokio::task::yield_now().await;

    let last = post(&[("x-model-affinity", "s"), ("x-plano-affinity", "final")]);
    assert_eq!(send(&service, last).await, said("vendor/m1", false, "claimed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "claimed"));
    tokio::time::advance(Duration::from_secs(1)).await;
    sender.send(Ok("{}")).await.unwrap();
    drop(sender);
    assert_eq!(slow.await.unwrap(), said("vendor/m2", true, "hit"));
}

async fn futures_of(tasks: Vec<tokio::task::JoinHandle<Said>>) -> Vec<Said> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn a_fixed_pin_ends_after_its_ttl_though_used() {
    let calls = Calls::default();
    let service = stack(layer(calls.router()).ttl(Duration::from_secs(2)));
    assert_eq!(turn(&service, "s").await.affinity, "claimed");
    for _ in 0..3 {
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
    }
    tokio::time::advance(Duration::from_millis(199)).await;
    assert_eq!(turn(&service, "s").await.affinity, "hit");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "claimed"));
}

#[tokio::test(start_paused = true)]
async fn a_sliding_pin_lives_by_use_up_to_its_maximum_age() {
    let expiry = Expiry::sliding(Duration::from_secs(2), Duration::from_secs(5));
    let service = stack(layer(Calls::default().router()).expiry(expiry));
    assert_eq!(turn(&service, "s").await.affinity, "claimed");
    for _ in 0..4 {
        tokio::time::advance(Duration::from_millis(1200)).await;
        assert_eq!(turn(&service, "s").await.affinity, "hit");
    }
    tokio::time::advance(Duration::from_millis(200)).await;
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "claimed"));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(turn(&service, "s").await.affinity, "claimed", "idle for too long");
}

#[tokio::test]
async fn bypass_reads_and_changes_no_pin() {
    let service = stack(layer(Calls::default().router()));
    let bypass = || post(&[("x-model-affinity", "s"), ("x-plano-affinity", "bypass")]);
    assert_eq!(send(&service, bypass()).await, said("vendor/m1", false, "bypass"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", false, "claimed"));
    assert_eq!(send(&service, bypass()).await, said("vendor/m3", false, "bypass"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", true, "hit"));
}

#[tokio::test(start_paused = true)]
async fn concurrent_refreshes_and_new_turns_make_one_call_and_see_one_model() {
    let calls = Calls::default();
    let slow = calls.clone();
    let router = tower::service_fn(move |request: affinity_layer::RouteRequest| {
        let decided = slow.clone().router().oneshot(request);
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            decided.await
        }
    });
    let service = stack(layer(router));
    assert_eq!(turn(&service, "s").await.affinity, "claimed");
    let refresh = || post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    let new_turn = || {
        let mut request = post(&[("x-model-affinity", "s")]);
        request.extensions_mut().insert(affinity_layer::ext::NewTurn);
        request
    };
    for (round, again) in [&refresh as &dyn Fn() -> _, &new_turn].into_iter().enumerate() {
        let answers: Vec<_> = (0..32)
            .map(|_| {
                let (service, request) = (service.clone(), again());
                tokio::spawn(async move { send(&service, request).await })
            })
            .collect();
        let (mut refreshed, model) = (0, format!("vendor/m{}", round + 2));
        for answer in answers {
            let answer = answer.await.unwrap();
            refreshed += usize::from(answer == said(&model, false, "refreshed"));
            assert!(answer.affinity == "refreshed" || answer == said(&model, true, "joined"));
        }
        assert_eq!((refreshed, calls.count()), (1, round + 2));
    }
}

#[tokio::test]
async fn refresh_moves_the_pin_and_makes_one_where_none_was() {
    let service = stack(layer(Calls::default().router()));
    let refresh = || post(&[("x-model-affinity", "s"), ("x-plano-affinity", "refresh")]);
    assert_eq!(send(&service, refresh()).await, said("vendor/m1", false, "refreshed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m1", true, "hit"));
    assert_eq!(send(&service, refresh()).await, said("vendor/m2", false, "refreshed"));
    assert_eq!(turn(&service, "s").await, said("vendor/m2", true, "hit"));
}

#[tokio::test]
async fn final_uses_the_pin_and_releases_it() {
    let store = MemoryStore::default();
    let service = stack(AffinityLayer::new(store.clone(), Calls::default().router()));
    let last = || post(&[("x-model-affinity", "s"), ("x-plano-affinity", "final")]);
    turn(&service, "s").await;
    assert_eq!(send(&service, last()).await, said("vendor/m1", true, "hit"));
    assert!(store.is_empty());
    assert_eq!(send(&service, last()).await, said("vendor/m2", false, "claimed"));
    assert!(store.is_empty());
}

#[tokio::test]
async fn requests_that_cannot_use_a_model_pass_and_pin_nothing() {
    let store = MemoryStore::default();
    let calls = Calls::default();
    let service = stack(AffinityLayer::new(store.clone(), calls.router()));
    for method in [Method::GET, Method::OPTIONS, Method::HEAD, Method::DELETE] {
        let mut request = post(&[("x-model-affinity", "s"), ("x-plano-pinned", "true")]);
        *request.method_mut() = method;
        assert_eq!(send(&service, request).await, said("", false, "none"));
    }
    let upgrade = post(&[("x-model-affinity", "s"), ("upgrade", "websocket")]);
    assert_eq!(send(&service, upgrade).await, said("", false, "none"));
    assert_eq!((calls.count(), store.len()), (0, 0));
}

#[tokio::test]
async fn an_offer_of_h2c_is_a_request_like_any_other() {
    let service = stack(layer(Calls::default().router()));
    let offer = || {
        let headers = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")];
        post(&[&headers[..], &[("x-model-affinity", "s")]].concat())
    };
    assert_eq!(send(&service, offer()).await, said("vendor/m1", false, "claimed"));
    assert_eq!(send(&service, offer()).await, said("vendor/m1", true, "hit"));
}

#[tokio::test]
async fn unkeyed_requests_may_be_left_alone() {
    let calls = Calls::default();
    let service = stack(layer(calls.router()).route_unkeyed(false));
    assert_eq!(send(&service, post(&[])).await, said("", false, "none"));
    assert_eq!(calls.count(), 0);
    assert_eq!(turn(&service, "s").await.affinity, "claimed");
}

#[tokio::test]
async fn handlers_steer_their_pin() {
    let store = MemoryStore::default();
    let layer = AffinityLayer::new(store.clone(), Calls::default().router());
    let handler = |request: Request<axum::body::Body>| async move {
        let given = request.extensions().get::<affinity_layer::PinnedModel>().unwrap();
        let moved = given.repin(model("vendor/better")).await.unwrap().unwrap();
        assert!(given.repin(model("vendor/late")).await.unwrap().is_some_and(|now| {
            now.model().as_str() == "vendor/better" && now.epoch() == moved.epoch()
        }));
        assert!(!given.release().await.unwrap(), "it saw an older pin");
        let mut response = http::Response::new(axum::body::Body::empty());
        response.extensions_mut().insert(moved);
        Ok::<_, std::convert::Infallible>(response)
    };
    let service = tower::ServiceBuilder::new().layer(layer).service(tower::service_fn(handler));
    let response = service.oneshot(post(&[("x-model-affinity", "s")])).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-model"), "vendor/better");
    assert_eq!(header(response.headers(), "x-plano-affinity"), "repinned");
    let key = affinity_layer::AffinityKey::new("s").unwrap();
    let pin = store.get(&key, &Expiry::default()).await.unwrap().pin().unwrap();
    assert_eq!(pin.selection.model().as_str(), "vendor/better");
    assert_eq!(pin.selection.candidates().len(), 2, "the ranking stays");
}
