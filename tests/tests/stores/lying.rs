//! A Redis whose replies no client should read: too deep, too large, without an end. The process
//! lives, the connection is replaced, and the cause has a name.

use std::net::SocketAddr;
use std::time::Duration;

use affinity_layer::store::Unready;
use affinity_layer::{RedisStore, TieredStore};
use affinity_tests::redis::{Liar, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{
    CALM, answers, claim, get, model, options, redis, soon, tiered, until_unready,
};

/// Replies that end the process, or fill its memory, in a client that decodes them as they come.
fn lies() -> Vec<(String, &'static [u8])> {
    let mut lies = Vec::new();
    for opening in ["*1\r\n", "~1\r\n", ">1\r\n", "%1\r\n+k\r\n", "|1\r\n+k\r\n", "*2\r\n:1\r\n"] {
        for levels in [5_000, 1_000_000] {
            lies.push((format!("{opening:?} {levels} times"), opening.repeat(levels)));
        }
    }
    for header in
        ["*2000000000\r\n", "$2000000000\r\n", "%2000000000\r\n", "*?\r\n", "$?\r\n", "*-1\r\n"]
    {
        lies.push((format!("{header:?}"), header.to_owned()));
    }
    lies.push(("a line without an end".to_owned(), "+".repeat(5 * 1024 * 1024)));
    lies.into_iter().map(|(what, lie)| (what, &*lie.into_bytes().leak())).collect()
}

#[tokio::test]
async fn a_reply_that_no_client_should_decode_costs_its_connection_and_nothing_else() {
    let server = RedisServer::start().await;
    let liar = Liar::start(server.addr()).await;
    let store = redis(&options(&format!("redis://{}", liar.addr()))).await;
    let pin = claim(&store, "s", "a/one").await.unwrap().pin;
    for (what, lie) in lies() {
        liar.say(Some(lie));
        let began = Instant::now();
        assert!(get(&store, "s").await.is_err(), "{what}");
        assert!(claim(&store, "other", "a/two").await.is_err(), "{what}");
        assert!(began.elapsed() < 2 * CALM, "{what}: {:?}", began.elapsed());
        liar.say(None);
        answers(&store).await;
        assert_eq!(get(&store, "s").await.unwrap(), Some(pin.clone()), "{what}");
    }
}

#[tokio::test]
async fn while_replies_are_refused_what_is_known_serves_and_the_cause_is_named() {
    let server = RedisServer::start().await;
    let liar = Liar::start(server.addr()).await;
    let store = tiered(&options(&format!("redis://{}", liar.addr()))).await;
    claim(&store, "s", "a/one").await.unwrap();
    for (what, lie) in lies().into_iter().step_by(4) {
        liar.say(Some(lie));
        until_unready(&store, Some(Unready::InvalidReply)).await;
        assert!(!store.is_ready(), "{what}");
        assert_eq!(model(&store, "s").await.as_deref(), Some("a/one"), "{what}");
        liar.say(None);
        until_unready(&store, None).await;
    }
}

/// Answers the first `greetings` commands of each connection as a server does, and then lies.
async fn lies_from_the_start(lie: &'static [u8], greetings: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut command = [0; 1024];
                for _ in 0..greetings {
                    let _ = client.read(&mut command).await;
                    let _ = client.write_all(b"%1\r\n$5\r\nproto\r\n:3\r\n").await;
                }
                let _ = client.read(&mut command).await;
                let _ = client.write_all(lie).await;
                let _ = client.read(&mut command).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_server_that_lies_while_it_is_greeted_is_not_used_and_the_cause_is_named() {
    for (what, lie) in lies().into_iter().step_by(3) {
        for greetings in [0, 1] {
            let addr = lies_from_the_start(lie, greetings).await;
            let options = options(&format!("redis://{addr}"));
            let alone = RedisStore::new(&options).unwrap();
            let store = TieredStore::new(RedisStore::new(&options).unwrap(), 100);
            until_unready(&store, Some(Unready::InvalidReply)).await;
            assert!(claim(&alone, "s", "a/one").await.is_err(), "{what}");
            assert!(claim(&store, "s", "a/one").await.is_err(), "{what}");
        }
    }
}

/// A byte at a time, as a server does that wants to be read again and again.
#[tokio::test]
async fn a_reply_that_trickles_is_late_and_keeps_nobody_busy() {
    let server = RedisServer::start().await;
    let liar = Liar::start(server.addr()).await;
    let store = redis(&options(&format!("redis://{}", liar.addr()))).await;
    liar.say(Some(b"*50000\r\n"));
    assert!(get(&store, "s").await.is_err());
    liar.say(None);
    soon(Duration::from_secs(5), "it answers", async || get(&store, "s").await.is_ok()).await;
}
