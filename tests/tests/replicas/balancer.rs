//! Two replicas behind a real load balancer.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use affinity_tests::redis::RedisServer;
use affinity_tests::{get, run, until};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::{Replicas, turn};

/// An HAProxy that hands requests out in turn; killed when dropped.
struct Balancer {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Balancer {
    async fn start(replicas: &Replicas) -> Self {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let config = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  \
             timeout server 10s\n  option httpchk GET /readyz\n  option redispatch\n  retries 3\n\
             listen replicas\n  bind {address}\n  balance roundrobin\n  \
             default-server check inter 100ms fall 2\n  server a {}\n  server b {}\n",
            replicas.a.address(),
            replicas.b.address()
        );
        fs::write(&file, config).unwrap();
        // In the foreground, so that it ends with its handle.
        let path = std::env::var("PATH").unwrap_or_default();
        let process = Command::new("haproxy")
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = match process {
            Ok(process) => process,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("haproxy is not installed; get it by `apt-get install haproxy`")
            }
            Err(error) => panic!("haproxy does not start: {error}"),
        };
        until(async || TcpStream::connect(address).await.is_ok()).await;
        Self { address, _process: process, _folder: folder }
    }
}

#[tokio::test]
async fn verify_passes_through_a_round_robin() {
    let redis = RedisServer::start().await;
    let replicas = Replicas::start(&redis, ", command_timeout_ms: 1000").await;
    let balancer = Balancer::start(&replicas).await;
    let mut connection = affinity_tests::Connection::open(balancer.address).await;
    assert_eq!(connection.ask(&get("/healthz")).await.status, 200);

    let url = format!("http://{}", balancer.address);
    let output = run(&["verify", "--url", &url, "--sessions", "6", "--rounds", "6"], &[]).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.out.matches("\nPASS demo-session-00").count(), 6, "{}", output.out);
    assert_eq!(output.out.matches("[PINNED]").count(), 30, "{}", output.out);
    let session =
        output.out.lines().find_map(|line| line.strip_prefix("PASS ")?.split_once(" -> "));
    let (session, _) = session.unwrap();
    // Both replicas know the sessions by now, so both have served some of the turns.
    let calls = replicas.router.calls();
    redis.freeze();
    for gateway in [&replicas.a, &replicas.b] {
        let answer = gateway.ask(&turn(session)).await;
        assert_eq!(answer.affinity().1, "hit", "{}", answer.text());
    }
    assert_eq!(replicas.router.calls(), calls);
}

#[tokio::test]
async fn a_replica_that_stops_behind_a_balancer_fails_no_request() {
    let redis = RedisServer::start().await;
    let mut replicas = Replicas::start(&redis, ", command_timeout_ms: 1000").await;
    let balancer = Balancer::start(&replicas).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (stopped, address) = (stopped.clone(), balancer.address);
            tokio::spawn(async move {
                let mut connection = affinity_tests::Connection::open(address).await;
                let mut served = 0;
                while !stopped.load(Ordering::Relaxed) {
                    let answer = connection.ask(&turn(&format!("client-{client}"))).await;
                    assert_eq!(answer.status, 200, "after {served}: {}", answer.text());
                    served += 1;
                    // Gaps, in which connections of the balancer are idle.
                    sleep(Duration::from_millis(client * 3)).await;
                }
                served
            })
        })
        .collect();
    sleep(Duration::from_millis(500)).await;
    replicas.a.signal("TERM").await;
    assert_eq!(replicas.a.ended().await.code(), Some(0));
    sleep(Duration::from_millis(500)).await;
    stopped.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 10);
    }
}
