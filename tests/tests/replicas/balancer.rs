//! Two replicas behind a real load balancer.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use affinity_tests::redis::RedisServer;
use affinity_tests::{ModelRouter, Setup, Upstream, get, run, until};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Replicas, turn};

/// An HAProxy that hands requests out in turn; killed when dropped.
struct Balancer {
    address: SocketAddr,
    /// Where it tells how its servers are.
    stats: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

/// The first block of this language in the document about Redis.
fn documented(language: &str) -> String {
    let text = fs::read_to_string("../docs/redis.md").unwrap();
    let (_, block) = text.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// What a program says of a configuration that it is to check.
async fn checked(program: &str, arguments: &[&str]) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
        .args(arguments)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {text}");
    text
}

#[tokio::test]
async fn the_documented_configurations_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let timeouts = "timeout connect 2s\n  timeout client 10s\n  timeout server 10s";
    let backend = documented("haproxy");
    let haproxy = file(
        "haproxy.cfg",
        format!(
            "defaults\n  mode http\n  {timeouts}\nfrontend all\n  bind 127.0.0.1:8080\n  \
             default_backend affinity\n{backend}"
        ),
    );
    checked("haproxy", &["-c", "-f", &haproxy]).await;
    let servers = documented("nginx");
    let pid = folder.path().join("nginx.pid");
    let nginx = file(
        "nginx.conf",
        format!("pid {};\nerror_log stderr;\nevents {{}}\nhttp {{\n{servers}}}\n", pid.display()),
    );
    checked("nginx", &["-t", "-c", &nginx]).await;
}

impl Balancer {
    async fn start(replicas: &Replicas) -> Self {
        let taken =
            [(); 2].map(|()| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [address, stats] = taken.each_ref().map(|taken| taken.local_addr().unwrap());
        drop(taken);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let config = format!(
            "defaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  \
             timeout server 10s\n  option httpchk GET /readyz\n  option redispatch\n  retries 3\n  \
             http-reuse always\n  timeout check 5s\n\
             listen stats\n  bind {stats}\n  stats enable\n  stats uri /\n\
             listen replicas\n  bind {address}\n  balance roundrobin\n  \
             default-server check inter 200ms fall 2\n  server a {}\n  server b {}\n",
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
        Self { address, stats, _process: process, _folder: folder }
    }

    /// Waits until it sends requests to both servers.
    async fn knows_both(&self) {
        until(async || {
            let stats = affinity_tests::Connection::open(self.stats).await.ask(&get("/;csv")).await;
            let is_up = |line: &&str| line.starts_with("replicas,") && line.contains(",UP,");
            // And the sum of the two.
            stats.text().lines().filter(is_up).filter(|line| !line.contains("BACKEND")).count() == 2
        })
        .await;
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

/// Clients that ask one request after the other, until they are told to end.
struct Load {
    stopped: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Some clients never pause, and some for so long that the balancer's connections rest.
    fn start(address: SocketAddr) -> Self {
        let (stopped, served) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let pauses = [0, 0, 1, 3, 10, 30, 100, 300, 500, 700];
        let clients = pauses.into_iter().enumerate().map(|(client, pause)| {
            let (stopped, served) = (stopped.clone(), served.clone());
            tokio::spawn(async move {
                let mut connection = affinity_tests::Connection::open(address).await;
                while !stopped.load(Ordering::Relaxed) {
                    let answer = connection.ask(&turn(&format!("client-{client}"))).await;
                    let before = served.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(answer.status, 200, "after {before}: {}", answer.text());
                    sleep(Duration::from_millis(pause)).await;
                }
            })
        });
        Self { clients: clients.collect(), stopped, served }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Every request was served.
    async fn end(self) {
        self.stopped.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

/// How many requests a rolling restart is watched for.
fn requests() -> usize {
    let wanted = std::env::var("AFFINITY_ROLLING").ok();
    wanted.map_or(4000, |wanted| wanted.parse().expect("a number"))
}

#[tokio::test]
async fn a_rolling_restart_behind_a_balancer_fails_no_request() {
    let redis = RedisServer::start().await;
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let cache = format!("{{type: redis, url: '{}', command_timeout_ms: 1000}}", redis.url());
    // Time for the balancer to believe it, on a busy machine too.
    let setup = Setup::routed(&upstream, &router)
        .routing(&format!("session_cache: {cache}"))
        .line("limits: {drain_delay_ms: 4000}");
    let (a, b) = (setup.start().await, setup.start().await);
    let mut replicas = Replicas { a, b, router, upstream };
    let balancer = Balancer::start(&replicas).await;
    balancer.knows_both().await;
    let load = Load::start(balancer.address);
    let (mut restarts, wanted) = (0, requests());
    while restarts < 4 || load.served() < wanted {
        let gateway = if restarts % 2 == 0 { &mut replicas.a } else { &mut replicas.b };
        gateway.signal("TERM").await;
        assert_eq!(gateway.ended().await.code(), Some(0));
        gateway.restart().await;
        // Until then the other one is the only one.
        balancer.knows_both().await;
        restarts += 1;
    }
    println!("{} requests over {restarts} restarts", load.served());
    load.end().await;
}
