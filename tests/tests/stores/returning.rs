//! Near copies before a Redis that comes late, or comes back again and again.

use std::time::Duration;

use affinity_layer::{AffinityStore, RedisStore, TieredStore};
use affinity_tests::redis::{Mode, Proxy, RedisServer};

use crate::support::{all_follow, claim, get, key, model, model_in, options, redis, soon, tiered};

#[tokio::test]
async fn a_store_made_before_its_redis_serves_and_tells_when_it_comes() {
    let server = RedisServer::start().await;
    server.kill();
    let options = options(&server.url());
    let store = TieredStore::new(RedisStore::new(&options).unwrap(), 1000);
    assert!(!store.is_ready());
    assert!(!store.wait_ready(Duration::from_millis(50)).await);
    assert!(claim(&store, "s", "a/one").await.is_err());
    for _ in 0..20 {
        assert_eq!(model(&store, "s").await.as_deref(), Some("a/one"));
    }
    server.restart().await;
    assert!(store.wait_ready(Duration::from_secs(2)).await);
    soon(Duration::from_secs(2), "Redis is told", async || {
        model_in(&server, "s").await.as_deref() == Some("a/one")
    })
    .await;
    let other = tiered(&options).await;
    assert_eq!(model(&other, "s").await.as_deref(), Some("a/one"));
}

#[tokio::test]
async fn a_replica_that_was_cut_off_does_not_hold_on_to_what_changed() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let direct = redis(&options(&server.url())).await;
    let behind = options(&format!("redis://{}", proxy.addr()));
    let store = tiered(&behind.command_timeout(Duration::from_millis(100))).await;
    for (n, mode) in [Mode::Stall, Mode::BlackHole, Mode::Refuse].into_iter().enumerate() {
        let (stays, moves, goes) =
            (format!("stays-{n}"), format!("moves-{n}"), format!("goes-{n}"));
        for session in [&stays, &moves, &goes] {
            claim(&store, session, "a/one").await.unwrap();
            soon(Duration::from_secs(2), "kept", async || model(&store, session).await.is_some())
                .await;
        }
        proxy.set(mode).await;
        if mode == Mode::Refuse {
            proxy.cut();
        }
        for session in [&moves, &goes] {
            server.run(&["DEL", &format!("plano:affinity:{session}")]).await;
        }
        claim(&direct, &moves, "a/two").await.unwrap();
        // As far as it knows, until it can hear of it.
        for session in [&stays, &moves, &goes] {
            assert_eq!(model(&store, session).await.as_deref(), Some("a/one"), "{mode:?}");
        }
        proxy.set(Mode::Pass).await;
        for (session, expected) in [(&stays, Some("a/one")), (&moves, Some("a/two")), (&goes, None)]
        {
            soon(Duration::from_secs(5), &format!("{mode:?}: {session}"), async || {
                model(&store, session).await.as_deref() == expected
            })
            .await;
        }
        let follows = async || all_follow(&server, &[&store]).await;
        soon(Duration::from_secs(5), "followed again", follows).await;
    }
}

#[tokio::test]
async fn a_redis_that_comes_and_goes_leaves_one_model() {
    let server = RedisServer::start().await;
    let options = options(&server.url()).command_timeout(Duration::from_millis(100));
    let (a, b) = (tiered(&options).await, tiered(&options).await);
    for round in 0..5 {
        let session = format!("s-{round}");
        claim(&a, &session, "a/one").await.unwrap();
        server.restart().await;
        for store in [&a, &b] {
            // Whoever is asked first makes the claim that stands.
            let _ = claim(store, &session, "a/two").await;
        }
        let mut agreed = None;
        soon(Duration::from_secs(5), "both and Redis agree", async || {
            let told = model_in(&server, &session).await;
            let both = (model(&a, &session).await, model(&b, &session).await);
            agreed = told.clone();
            told.is_some() && both == (told.clone(), told)
        })
        .await;
        let follow = async || all_follow(&server, &[&a, &b]).await;
        soon(Duration::from_secs(5), "both follow", follow).await;
        for store in [&a, &b] {
            assert_eq!(model(store, &session).await, agreed, "it stays so");
            assert!(get(store, &session).await.unwrap().is_some());
        }
    }
}

/// What one replica decided alone is claimed when others may have made, told of and ended a later pin.
#[tokio::test]
async fn a_claim_that_is_told_late_is_later_than_every_pin_before_it() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let direct = redis(&options(&server.url())).await;
    let behind = options(&format!("redis://{}", proxy.addr()));
    let store = tiered(&behind.command_timeout(Duration::from_millis(100))).await;
    proxy.set(Mode::Refuse).await;
    proxy.cut();
    assert!(claim(&store, "s", "a/one").await.is_err());
    assert_eq!(model(&store, "s").await.as_deref(), Some("a/one"), "decided alone");
    let ended = claim(&direct, "s", "a/two").await.unwrap().pin;
    assert!(direct.release(&key("s"), Some(ended.epoch)).await.unwrap());
    proxy.set(Mode::Pass).await;
    soon(Duration::from_secs(5), "it is told", async || {
        model_in(&server, "s").await.as_deref() == Some("a/one")
    })
    .await;
    let told = get(&direct, "s").await.unwrap().unwrap();
    assert!(told.epoch > ended.epoch, "{} after {}", told.epoch, ended.epoch);
    assert_eq!(get(&store, "s").await.unwrap(), Some(told), "and known where it was decided");
}

/// A copy serves when Redis answers too late for a request. It must not do so for as long as Redis is slow:
/// the answer that came too late for one turn is known to the next.
#[tokio::test]
async fn a_redis_that_is_slow_is_believed_by_the_next_turn() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.addr()).await;
    let direct = redis(&options(&server.url())).await;
    let behind = options(&format!("redis://{}", proxy.addr()));
    // Where a copy is known, a turn waits for a third of it.
    let store = tiered(&behind.command_timeout(Duration::from_millis(300))).await;
    claim(&store, "s", "a/one").await.unwrap();
    soon(Duration::from_secs(2), "kept", async || model(&store, "s").await.is_some()).await;
    proxy.set(Mode::Delay(Duration::from_millis(120))).await;
    proxy.cut();
    // Nobody tells the store, which has no connection now.
    server.run(&["DEL", "plano:affinity:s"]).await;
    claim(&direct, "s", "a/two").await.unwrap();
    soon(Duration::from_secs(10), "followed again", async || store.is_ready()).await;
    soon(Duration::from_secs(2), "the move is known", async || {
        model(&store, "s").await.as_deref() == Some("a/two")
    })
    .await;
}
