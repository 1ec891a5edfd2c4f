//! Each mode of the proxy, in front of a server that sends back what it gets.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use affinity_tests::redis::{Mode, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// How long the silence is that counts as one.
const SILENCE: Duration = Duration::from_millis(200);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    addr
}

/// A proxy and a connection through it that has carried bytes.
async fn proxied() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(exchange(&mut client, b"warm").await.unwrap(), b"warm");
    (proxy, client)
}

async fn exchange(client: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(bytes).await?;
    receive(client, bytes.len()).await
}

async fn receive(client: &mut TcpStream, len: usize) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; len];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

async fn is_silent(client: &mut TcpStream) -> bool {
    timeout(SILENCE, client.read_u8()).await.is_err()
}

#[tokio::test]
async fn a_stall_holds_bytes_back_and_gives_them_when_it_ends() {
    let (proxy, mut client) = proxied().await;
    proxy.set(Mode::Stall).await;
    client.write_all(b"held").await.unwrap();
    assert!(is_silent(&mut client).await);
    proxy.set(Mode::Pass).await;
    assert_eq!(receive(&mut client, 4).await.unwrap(), b"held");
}

#[tokio::test]
async fn a_black_hole_loses_bytes_and_the_connections_that_lost_some() {
    let (proxy, mut client) = proxied().await;
    let mut idle = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(exchange(&mut idle, b"idle").await.unwrap(), b"idle");
    proxy.set(Mode::BlackHole).await;
    let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
    for client in [&mut client, &mut late] {
        client.write_all(b"lost").await.unwrap();
        assert!(is_silent(client).await);
    }
    proxy.set(Mode::Pass).await;
    for client in [&mut client, &mut late] {
        assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(exchange(&mut idle, b"whole").await.unwrap(), b"whole");
}

#[tokio::test]
async fn refusal_meets_new_connections_only() {
    let (proxy, mut client) = proxied().await;
    proxy.set(Mode::Refuse).await;
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(exchange(&mut client, b"on").await.unwrap(), b"on");
    proxy.set(Mode::Pass).await;
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(exchange(&mut second, b"again").await.unwrap(), b"again");
}

#[tokio::test]
async fn a_delay_makes_answers_late() {
    let (proxy, mut client) = proxied().await;
    let delay = Duration::from_millis(150);
    proxy.set(Mode::Delay(delay)).await;
    let start = Instant::now();
    assert_eq!(exchange(&mut client, b"late").await.unwrap(), b"late");
    assert!(start.elapsed() >= delay);
}

#[tokio::test]
async fn a_trickle_gives_a_byte_a_second_and_the_rest_when_it_ends() {
    let (proxy, mut client) = proxied().await;
    proxy.set(Mode::Trickle).await;
    let start = Instant::now();
    assert_eq!(exchange(&mut client, b"ab").await.unwrap(), b"ab");
    assert!(start.elapsed() >= Duration::from_millis(900));

    client.write_all(b"a long answer").await.unwrap();
    receive(&mut client, 1).await.unwrap();
    assert!(is_silent(&mut client).await);
    proxy.set(Mode::Pass).await;
    assert_eq!(receive(&mut client, 12).await.unwrap(), b" long answer");
}

#[tokio::test]
async fn a_cut_resets_the_connections_that_stand() {
    let (proxy, mut client) = proxied().await;
    proxy.cut();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut second = TcpStream::connect(proxy.addr()).await.unwrap();
    assert_eq!(exchange(&mut second, b"new").await.unwrap(), b"new");
}

#[tokio::test]
async fn the_end_of_a_stream_is_carried_through() {
    let (_proxy, mut client) = proxied().await;
    client.write_all(b"bye").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn a_connection_to_a_dead_server_is_reset() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::start(free).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(
        matches!(client.read_u8().await, Err(error) if error.kind() == ErrorKind::ConnectionReset)
    );
}
