//! Changes of how names are made, while sessions go on.

use affinity_layer::{AffinityStore, RedisOptions, RedisStore, store::NameSecret};
use affinity_tests::redis::RedisServer;

use crate::support::{LONG, claim, get, key, model, options, redis, selection, soon, tiered};

fn secret(text: &str) -> NameSecret {
    NameSecret::new(text)
}

/// What a replica is started with, step by step: before the change, and the two of its middle.
fn steps(server: &RedisServer) -> [(&'static str, [RedisOptions; 3]); 2] {
    let plain = options(&server.url());
    let hashed = |text| plain.clone().hash_names(secret(text));
    let from_plain = [
        plain.clone(),
        plain.clone().previous_secret(secret("new")),
        hashed("new").previous_plain(),
    ];
    let from_old = [
        hashed("old"),
        hashed("old").previous_secret(secret("new")),
        hashed("new").previous_secret(secret("old")),
    ];
    [("plain to hashed", from_plain), ("old to new", from_old)]
}

/// Claims on one side, then finds, races, moves and releases on the other.
async fn agree(one: &RedisStore, other: &RedisStore, session: &str) {
    let pin = claim(one, session, "a/one").await.unwrap().pin;
    assert_eq!(get(other, session).await.unwrap().as_ref(), Some(&pin), "{session}: found");
    let late = claim(other, session, "a/two").await.unwrap();
    assert!(!late.won && late.pin == pin, "{session}: a later claim loses");
    let moved = other.repin(&key(session), pin.epoch, selection("a/three"), &LONG).await;
    let moved = moved.unwrap().unwrap();
    assert!(moved.won, "{session}: moved");
    for store in [one, other] {
        assert_eq!(get(store, session).await.unwrap().as_ref(), Some(&moved.pin), "{session}");
    }
    let late = one.repin(&key(session), pin.epoch, selection("a/four"), &LONG).await;
    assert!(!late.unwrap().unwrap().won, "{session}: its epoch is gone");
    assert!(!other.release(&key(session), Some(pin.epoch)).await.unwrap());
    assert!(other.release(&key(session), Some(moved.pin.epoch)).await.unwrap());
    for store in [one, other] {
        assert_eq!(get(store, session).await.unwrap(), None, "{session}: released");
    }
}

#[tokio::test]
async fn both_sides_of_each_step_see_the_same_pins() {
    let server = RedisServer::start().await;
    for (what, [before, first, second]) in steps(&server) {
        let (before, first, second) =
            (redis(&before).await, redis(&first).await, redis(&second).await);
        for (n, (one, other)) in
            [(&before, &first), (&first, &before), (&first, &second), (&second, &first)]
                .into_iter()
                .enumerate()
        {
            agree(one, other, &format!("{n}-{}", what.replace(' ', "-"))).await;
        }
        // Sessions of before the change live on after its second step.
        let old = format!("old-{}", what.replace(' ', "-"));
        let pin = claim(&before, &old, "a/one").await.unwrap().pin;
        assert_eq!(get(&second, &old).await.unwrap(), Some(pin));
    }
}

#[tokio::test]
async fn first_requests_that_race_over_both_names_get_one_pin() {
    let server = RedisServer::start().await;
    for (what, [_, first, second]) in steps(&server) {
        let (first, second) = (redis(&first).await, redis(&second).await);
        for n in 0..100 {
            let session = format!("{n}-{}", what.replace(' ', "-"));
            let (one, other) =
                tokio::join!(claim(&first, &session, "a/one"), claim(&second, &session, "a/two"));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!(one.pin, other.pin, "{session}");
            assert!(one.won ^ other.won, "{session}: one has made it");
        }
    }
}

#[tokio::test]
async fn a_value_without_a_model_under_the_previous_name_keeps_nobody_from_a_pin() {
    let server = RedisServer::start().await;
    let [(_, [_, _, second]), _] = steps(&server);
    let second = redis(&second).await;
    for (n, value) in ["no pin", "{}", r#"{"model_name":""}"#, "[]"].into_iter().enumerate() {
        let session = format!("s-{n}");
        server.run(&["SET", &crate::support::name(&session), value]).await;
        assert!(claim(&second, &session, "a/one").await.unwrap().won, "{value}");
        assert_eq!(model(&second, &session).await.as_deref(), Some("a/one"), "{value}");
    }
}

#[tokio::test]
async fn without_the_previous_names_the_pins_are_not_found() {
    let server = RedisServer::start().await;
    let plain = redis(&options(&server.url())).await;
    let hashed = redis(&options(&server.url()).hash_names(secret("new"))).await;
    claim(&plain, "s", "a/one").await.unwrap();
    assert_eq!(get(&hashed, "s").await.unwrap(), None);
    assert!(claim(&hashed, "s", "a/two").await.unwrap().won);
}

#[tokio::test]
async fn a_near_copy_does_not_go_stale_under_its_other_name() {
    let server = RedisServer::start().await;
    let [(_, [_, first, second]), _] = steps(&server);
    let (first, second) = (tiered(&first).await, tiered(&second).await);
    for n in 0..20 {
        let session = format!("s-{n}");
        let pin = claim(&first, &session, "a/one").await.unwrap().pin;
        for _ in 0..2 {
            assert_eq!(model(&second, &session).await.as_deref(), Some("a/one"));
        }
        first.repin(&key(&session), pin.epoch, selection("a/two"), &LONG).await.unwrap();
        soon(std::time::Duration::from_millis(1500), "the move is seen", async || {
            model(&second, &session).await.as_deref() == Some("a/two")
        })
        .await;
    }
}
