//! A Redis that is too old to keep pins.

use std::net::SocketAddr;

use affinity_tests::redis::RedisServer;
use affinity_tests::{ModelRouter, Setup, Upstream, get, run, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::turn;

const VERSION: &[u8] = b"redis_version:";

/// Hands on what the server says, as that of version 6.
async fn aged(mut server: impl AsyncReadExt + Unpin, mut client: impl AsyncWriteExt + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = server.read(&mut buffer).await {
        let place = buffer[..len].windows(VERSION.len()).position(|bytes| bytes == VERSION);
        if let Some(place) = place {
            buffer[place + VERSION.len()] = b'6';
        }
        if client.write_all(&buffer[..len]).await.is_err() {
            return;
        }
    }
}

/// The server as one of version 6 would tell of itself.
async fn of_version_6(redis: &RedisServer) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, server) = (listener.local_addr().unwrap(), redis.addr());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from_client, to_client) = client.into_split();
                let server = TcpStream::connect(server).await.unwrap();
                let (from_server, mut to_server) = server.into_split();
                tokio::join!(copy(&mut from_client, &mut to_server), aged(from_server, to_client))
            });
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn what_is_too_old_is_named_and_counts_as_away() {
    let redis = RedisServer::start().await;
    let (address, _tasks) = of_version_6(&redis).await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let setup = |required: &str| {
        let cache = format!("session_cache: {{type: redis, url: 'redis://{address}'{required}}}");
        Setup::routed(&upstream, &router).routing(&cache)
    };
    let gateway = setup("").start().await;
    until(async || gateway.log().contains("is too old, 7.0 or later is needed")).await;
    let ready = gateway.ask(&get("/readyz")).await;
    let said = ready.json()["parts"]["store"].as_str().unwrap().to_owned();
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"degraded".into()));
    assert!(said.starts_with("not ready: redis 6.") && said.contains("7.0 or later"), "{said}");
    assert_eq!(gateway.ask(&turn("s")).await.status, 200, "it serves");
    let lines = gateway.log().matches("is too old, 7.0 or later is needed").count();
    assert_eq!(lines, 1, "{}", gateway.log());

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, setup(", require_store: true").yaml()).unwrap();
    let file = file.to_str().unwrap();
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--config", file], &[]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.err.contains("is too old, 7.0 or later is needed"), "{}", output.err);
}
