//! Near copies while Redis is away: what is known serves on, and what is decided is told later.

use std::time::Duration;

use affinity_layer::{AffinityStore, Pin, PinRead, TieredStore};
use affinity_tests::redis::RedisServer;
use tokio::time::timeout;

use crate::support::{
    LONG, all_follow, claim, get, key, model, model_in, options, redis, selection, soon, tiered,
};

/// How soon Redis must hold what was decided while it was away.
const TOLD: Duration = Duration::from_secs(5);

/// A command timeout as it is set in the gateway, doubled for a busy machine.
const TIMEOUT: Duration = Duration::from_millis(100);

async fn near(server: &RedisServer) -> TieredStore {
    tiered(&options(&server.url()).command_timeout(TIMEOUT)).await
}

/// The model that this replica decided alone, which is not told as a pin.
async fn decided(store: &TieredStore, session: &str) -> Option<String> {
    match Box::pin(store.get(&key(session), &LONG)).await {
        Ok(PinRead::Decided { selection, .. }) => Some(selection.model().to_string()),
        _ => None,
    }
}

fn sessions(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what}-{n}")).collect()
}

async fn model_told(server: &RedisServer, session: &str) -> String {
    let mut told = None;
    soon(TOLD, &format!("Redis is told of {session}"), async || {
        told = model_in(server, session).await;
        told.is_some()
    })
    .await;
    told.unwrap()
}

#[tokio::test]
async fn while_redis_is_frozen_known_pins_serve_and_new_ones_are_told_later() {
    let server = RedisServer::start().await;
    let store = near(&server).await;
    let known = sessions("known", 200);
    for session in &known {
        claim(&store, session, "a/known").await.unwrap();
    }
    server.freeze();
    let new = sessions("new", 50);
    for session in &new {
        assert!(claim(&store, session, "a/new").await.is_err(), "{session}");
    }
    for _ in 0..3 {
        for session in &known {
            assert_eq!(model(&store, session).await.as_deref(), Some("a/known"), "{session}");
        }
        for session in &new {
            assert_eq!(decided(&store, session).await.as_deref(), Some("a/new"), "{session}");
        }
    }
    server.thaw();
    for (session, expected) in
        known.iter().map(|name| (name, "a/known")).chain(new.iter().map(|name| (name, "a/new")))
    {
        assert_eq!(model_told(&server, session).await, expected, "{session}");
        assert_eq!(model(&store, session).await.as_deref(), Some(expected), "{session}");
    }
}

#[tokio::test]
async fn a_move_and_a_release_while_redis_is_away_are_told_too() {
    let server = RedisServer::start().await;
    let store = near(&server).await;
    let moved = claim(&store, "moved", "a/one").await.unwrap().pin;
    let released = claim(&store, "released", "a/one").await.unwrap().pin;
    server.freeze();
    let to = store.repin(&key("moved"), moved.epoch, selection("a/two"), &LONG).await;
    assert!(to.is_err(), "no move is told that Redis does not hold: {to:?}");
    assert_eq!(decided(&store, "moved").await.as_deref(), Some("a/two"));
    assert!(store.release(&key("released"), Some(released.epoch)).await.is_err());
    assert_eq!(model(&store, "released").await, None);
    server.thaw();
    soon(TOLD, "the move is told", async || {
        model_in(&server, "moved").await.as_deref() == Some("a/two")
    })
    .await;
    soon(TOLD, "the release is told", async || model_in(&server, "released").await.is_none()).await;
    assert_eq!(model(&store, "released").await, None);
}

#[tokio::test]
async fn what_a_caller_gives_up_is_not_forgotten() {
    let server = RedisServer::start().await;
    let store = near(&server).await;
    let held = claim(&store, "held", "a/one").await.unwrap().pin;
    let released = claim(&store, "released", "a/one").await.unwrap().pin;
    server.freeze();
    let given_up = Duration::from_millis(5);
    let moving = key("held");
    let moving = store.repin(&moving, held.epoch, selection("a/two"), &LONG);
    assert!(timeout(given_up, moving).await.is_err());
    assert_eq!(model(&store, "held").await.as_deref(), Some("a/one"), "it serves on");
    let ending = key("released");
    assert!(timeout(given_up, store.release(&ending, Some(released.epoch))).await.is_err());
    assert_eq!(model(&store, "released").await, None);
    // Decided alone, and asked for again before Redis has heard of it.
    assert!(claim(&store, "alone", "a/two").await.is_err());
    for _ in 0..3 {
        let _ = timeout(given_up, store.get(&key("alone"), &LONG)).await;
    }
    server.kill();
    server.restart().await;
    soon(TOLD, "what was decided alone is told", async || {
        model_in(&server, "alone").await.as_deref() == Some("a/two")
    })
    .await;
    assert_eq!(model(&store, "released").await, None);
    let follows = async || all_follow(&server, &[&store]).await;
    soon(Duration::from_secs(3), "it is followed again", follows).await;
    assert_eq!(model(&store, "held").await.as_deref(), Some("a/one"), "claimed again");
    assert_eq!(model_in(&server, "held").await.as_deref(), Some("a/one"));
}

#[tokio::test]
async fn a_session_that_had_just_moved_is_claimed_again_as_it_was() {
    let server = RedisServer::start().await;
    let store = near(&server).await;
    let pin = claim(&store, "moved", "a/one").await.unwrap().pin;
    let moved = store.repin(&key("moved"), pin.epoch, selection("a/two"), &LONG).await;
    let moved = moved.unwrap().unwrap().pin;
    server.kill();
    server.restart().await;
    let follows = async || all_follow(&server, &[&store]).await;
    soon(Duration::from_secs(3), "it is followed again", follows).await;
    assert_eq!(get(&store, "moved").await.unwrap(), Some(moved));
    assert_eq!(model_in(&server, "moved").await.as_deref(), Some("a/two"));
}

#[tokio::test]
async fn two_who_decided_differently_agree_on_the_winner_of_redis() {
    let server = RedisServer::start().await;
    let (a, b) = (near(&server).await, near(&server).await);
    server.freeze();
    let split = sessions("split", 50);
    for session in &split {
        assert!(claim(&a, session, "a/one").await.is_err());
        assert!(claim(&b, session, "a/two").await.is_err());
        let used = (decided(&a, session).await, decided(&b, session).await);
        assert_eq!(used, (Some("a/one".to_owned()), Some("a/two".to_owned())), "{session}");
    }
    server.thaw();
    for session in &split {
        let winner = model_told(&server, session).await;
        for store in [&a, &b] {
            soon(TOLD, &format!("{session} has {winner}"), async || {
                model(store, session).await.as_deref() == Some(&*winner)
            })
            .await;
        }
        assert_eq!(model_in(&server, session).await, Some(winner), "it stands");
    }
}

#[tokio::test]
async fn sessions_that_redis_lost_are_claimed_again_as_they_were() {
    let server = RedisServer::start().await;
    let store = near(&server).await;
    let known = sessions("known", 60);
    let mut pins: Vec<Pin> = Vec::new();
    for session in &known {
        pins.push(claim(&store, session, "a/known").await.unwrap().pin);
    }
    server.kill();
    for session in &known {
        assert_eq!(model(&store, session).await.as_deref(), Some("a/known"), "{session}");
    }
    server.restart().await;
    assert_eq!(server.run(&["DBSIZE"]).await.integer(), Some(0), "all is lost");
    let follows = async || all_follow(&server, &[&store]).await;
    soon(Duration::from_secs(3), "it is followed again", follows).await;
    let stranger = redis(&options(&server.url())).await;
    for (session, pin) in known.iter().zip(&pins) {
        assert_eq!(get(&stranger, session).await.unwrap(), None, "nobody claims unasked");
        let found = get(&store, session).await.unwrap().unwrap();
        assert_eq!((&found.selection, found.epoch), (&pin.selection, pin.epoch), "{session}");
        let told = get(&stranger, session).await.unwrap().unwrap();
        assert_eq!((&told.selection, told.epoch), (&pin.selection, pin.epoch), "{session}");
    }
    // What another replica decided meanwhile stands.
    server.restart().await;
    let stranger = redis(&options(&server.url())).await;
    claim(&stranger, &known[0], "a/other").await.unwrap();
    soon(Duration::from_secs(3), "the other's claim is adopted", async || {
        model(&store, &known[0]).await.as_deref() == Some("a/other")
    })
    .await;
}
