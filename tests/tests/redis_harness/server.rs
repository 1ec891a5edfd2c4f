//! One server: its life, its settings, its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use affinity_tests::redis::{CommandError, RedisServer, Reply};

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_and_empty() {
    let server = RedisServer::start().await;
    let (port, pid) = (server.port(), server.pid());
    server.run(&["SET", "k", "v"]).await;
    assert_eq!(server.run(&["GET", "k"]).await.text(), Some("v"));

    server.kill();
    assert!(matches!(server.cmd(&["PING"]).await, Err(CommandError::Io(_))));
    assert!(tokio::net::TcpStream::connect(server.addr()).await.is_err());

    server.restart().await;
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(server.run(&["GET", "k"]).await, Reply::Nil);
}

#[tokio::test]
async fn an_append_only_file_keeps_what_was_written_before_a_kill() {
    let server = RedisServer::builder().appendonly(true).start().await;
    server.run(&["SET", "k", "v"]).await;
    server.restart().await;
    assert_eq!(server.run(&["GET", "k"]).await.text(), Some("v"));
}

#[tokio::test]
async fn a_frozen_server_does_not_answer_until_it_is_thawed() {
    let server = RedisServer::start().await;
    server.freeze();
    assert!(server.is_running() && !server.is_serving());
    assert!(matches!(server.cmd(&["PING"]).await, Err(CommandError::TimedOut(_))));
    server.thaw();
    assert_eq!(server.run(&["PING"]).await.text(), Some("PONG"));
}

#[tokio::test]
async fn a_server_ends_on_sigterm() {
    let server = RedisServer::start().await;
    server.terminate().await;
    assert!(!server.is_running());
    assert!(server.log().contains("Received SIGTERM"), "{}", server.log());
}

#[tokio::test]
async fn neither_a_process_nor_a_directory_is_left_after_a_panic() {
    let server = RedisServer::start().await;
    let dir = server.dir().to_owned();
    let process = format!("/proc/{}", server.pid().unwrap());
    // A frozen one would outlive anything gentler than SIGKILL.
    server.freeze();
    assert!(Path::new(&process).exists() && dir.exists());
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        let _owned = server;
        panic!("as a failing test does");
    }));
    assert!(outcome.is_err());
    assert!(!Path::new(&process).exists() && !dir.exists());
}

#[tokio::test]
async fn settings_reach_the_server() {
    let server = RedisServer::builder()
        .password("p \"q\" \\r")
        .maxmemory("3mb")
        .setting("maxmemory-policy", "allkeys-lru")
        .start()
        .await;
    let port = server.port();
    assert_eq!(server.url(), format!("redis://:p%20%22q%22%20%5Cr@127.0.0.1:{port}"));
    let setting = async |name: &str| {
        let reply = server.run(&["CONFIG", "GET", name]).await;
        reply.items()[1].text().map(str::to_owned)
    };
    assert_eq!(setting("requirepass").await.as_deref(), Some("p \"q\" \\r"));
    assert_eq!(setting("maxmemory").await.as_deref(), Some("3145728"));
    assert_eq!(setting("maxmemory-policy").await.as_deref(), Some("allkeys-lru"));
    assert_eq!(setting("save").await.as_deref(), Some(""));
}

#[tokio::test]
#[should_panic(expected = "Bad directive")]
async fn a_setting_that_redis_does_not_know_is_told_in_its_own_words() {
    RedisServer::builder().setting("no-such-setting", "1").start().await;
}

#[tokio::test]
async fn replies_of_every_kind_are_read() {
    let server = RedisServer::start().await;
    let bytes: &[u8] = b"\r\n\x00\xff";
    server.run(&[b"SET".as_slice(), b"k", bytes]).await;
    assert_eq!(server.run(&["GET", "k"]).await.bytes(), Some(bytes));
    assert_eq!(server.run(&["STRLEN", "k"]).await.integer(), Some(4));
    assert_eq!(server.run(&["SET", "k", "v"]).await, Reply::Status("OK".into()));
    let list = server.run(&["EVAL", "return {1, {'a', false}, {err = 'ERR no'}}", "0"]).await;
    assert_eq!(
        list.items(),
        [
            Reply::Integer(1),
            Reply::Array(vec![Reply::Bulk(b"a".into()), Reply::Nil]),
            Reply::Error("ERR no".into()),
        ]
    );
    assert!(matches!(
        server.cmd(&["LPUSH", "k", "v"]).await,
        Err(CommandError::Refused(text)) if text.starts_with("WRONGTYPE")
    ));
    server.flushall().await;
    assert_eq!(server.run(&["DBSIZE"]).await.integer(), Some(0));
}

#[tokio::test]
async fn the_connections_of_clients_can_be_closed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = RedisServer::start().await;
    let mut client = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    client.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 7];
    client.read_exact(&mut pong).await.unwrap();
    assert_eq!(server.client_kill_normal().await, 1);
    assert_eq!(client.read(&mut pong).await.unwrap_or(0), 0);
}
