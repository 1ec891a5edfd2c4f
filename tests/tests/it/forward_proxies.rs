//! Providers and routers behind a proxy that the environment names.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use affinity_tests::models::{ONE, TWO};
use affinity_tests::redis::tls::Authority;
use affinity_tests::{
    Answer, Asked, Connection, ForwardProxy, Gateway, ModelRouter, Refusing, Request, Setup,
    Upstream, get, post, run, until, within,
};
use http::Version;
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::chat;
use crate::tls::{Provider, acceptor};

/// The base of providers that only a proxy could find.
const FAR: &str = "http://far.invalid:8080";
const FAR_TLS: &str = "https://far.invalid";

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "writing poems"))
}

fn address(upstream: &Upstream) -> SocketAddr {
    upstream.url().trim_start_matches("http://").parse().unwrap()
}

#[tokio::test]
async fn a_provider_of_https_is_called_through_a_tunnel_by_http1_and_http2() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    for (offers, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)]
    {
        let provider = Provider::start(&authority, offers).await;
        let to = provider.address();
        let proxy = ForwardProxy::start(move |_| to).await;
        let variables = format!("export HTTPS_PROXY='http://me:p%40ss@{}'", proxy.address());
        let gateway = provider.behind_with(&authority, folder.path(), &variables).await;
        let mut client = gateway.connect().await;
        for _ in 0..5 {
            let answer = within(client.ask(&turn())).await;
            assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("gpt-4o")));
        }
        let host = format!("localhost:{}", to.port());
        assert_eq!(provider.seen(), vec![(version, host.clone()); 5]);
        let asked = proxy.asked();
        assert_eq!(asked.len(), 1, "one tunnel: {asked:?}");
        assert_eq!(asked[0].line, format!("CONNECT {host}"));
        assert_eq!(asked[0].authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("calls go through a proxy")).unwrap();
        assert!(line.contains(&format!("http://{} (HTTPS_PROXY)", proxy.address())), "{line}");
        assert!(!["p%40ss", "p@ss", "bWU6", "me:"].iter().any(|part| log.contains(part)), "{log}");
    }
}

#[tokio::test]
async fn a_provider_and_a_router_of_http_are_asked_by_the_proxy() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let (to, routed) = (address(&upstream), address(router.upstream()));
    let proxy =
        ForwardProxy::start(move |host| if host == "router.invalid" { routed } else { to }).await;
    let config = Setup::new(FAR).router("http://router.invalid/v1", 5_000).yaml();
    let variables = format!("export http_proxy='me:pass@{}'", proxy.address());
    let gateway = Gateway::prepared(&config, &variables).await;
    for (outcome, model) in [("claimed", ONE), ("hit", ONE)] {
        let answer = within(gateway.ask(&turn().session("s"))).await;
        assert_eq!(
            (answer.status, answer.affinity().1, answer.affinity().2),
            (200, outcome, model)
        );
    }
    let asked = proxy.asked();
    let lines: Vec<_> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let call = format!("POST {FAR}/v1/chat/completions");
    assert_eq!(lines, ["POST http://router.invalid/v1/chat/completions", &call, &call]);
    let shown = asked.iter().map(|asked| asked.authorization.as_deref());
    assert_eq!(shown.collect::<Vec<_>>(), [Some("Basic bWU6cGFzcw=="); 3]);
    let seen = upstream.last();
    assert_eq!(seen.line, "POST /v1/chat/completions HTTP/1.1");
    assert_eq!(seen.all("host"), ["far.invalid:8080"]);
}

#[tokio::test]
async fn a_proxy_may_be_reached_by_tls_itself() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let provider = Provider::start(&authority, &["h2"]).await;
    let to = Arc::new(Mutex::new(provider.address()));
    let found = to.clone();
    let proxy = ForwardProxy::start(move |_| *found.lock().unwrap()).await;
    // TLS before the proxy, which by HTTP/2 would not take a CONNECT of HTTP/1.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, plain) = (listener.local_addr().unwrap().port(), proxy.address());
    let acceptor = acceptor(&authority, &["h2", "http/1.1"]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut secured = acceptor.accept(stream).await.unwrap();
                let mut proxy = TcpStream::connect(plain).await.unwrap();
                let _ = copy_bidirectional(&mut secured, &mut proxy).await;
            });
        }
    });
    let variables = format!("export https_proxy='https://me:pass@localhost:{port}'");
    let gateway = provider.behind_with(&authority, folder.path(), &variables).await;
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(within(client.ask(&turn())).await.status, 200);
    }
    let host = format!("localhost:{}", provider.address().port());
    assert_eq!(provider.seen(), vec![(Version::HTTP_2, host.clone()); 3]);
    let asked = Asked {
        line: format!("CONNECT {host}"),
        authorization: Some("Basic bWU6cGFzcw==".to_owned()),
    };
    assert_eq!(proxy.asked(), [asked]);

    let upstream = Upstream::echo().await;
    *to.lock().unwrap() = address(&upstream);
    let trust = format!("export SSL_CERT_FILE='{}'", folder.path().join("authority.pem").display());
    let variables = format!("{trust} http_proxy='https://localhost:{port}'");
    let gateway = Gateway::prepared(&Setup::new(FAR).yaml(), &variables).await;
    assert_eq!(within(gateway.ask(&turn())).await.status, 200);
    assert_eq!(upstream.last().all("host"), ["far.invalid:8080"]);
}

#[tokio::test]
async fn what_no_proxy_names_is_called_directly_and_so_is_redis() {
    let (upstream, refusing) = (Upstream::echo().await, Refusing::new());
    let redis = affinity_tests::redis::RedisServer::start().await;
    let store = format!("session_cache: {{type: redis, url: '{}'}}", redis.url());
    let config = Setup::new(&upstream.url()).routing(&store).yaml();
    let variables = format!("export all_proxy={} no_proxy=localhost,127.0.0.0/8", refusing.url());
    let gateway = Gateway::prepared(&config, &variables).await;
    let ready = async || gateway.ask(&get("/readyz")).await.json()["parts"]["store"] == "ready";
    until(ready).await;
    for outcome in ["claimed", "hit"] {
        let answer = within(gateway.ask(&turn().session("s"))).await;
        assert_eq!((answer.status, answer.affinity().1), (200, outcome));
    }
    assert!(!gateway.log().contains("calls go through a proxy"));
    // Without the exception the dead proxy would have been asked.
    let variables = format!("export all_proxy={}", refusing.url());
    let gateway = Gateway::prepared(&config, &variables).await;
    assert_eq!(within(gateway.ask(&turn())).await.status, 502);
    let told = "127.0.0.1 is called through";
    assert!(gateway.log().contains(told), "{}", gateway.log());
}

/// Two models behind the proxy, at `far`, and a third that is called directly.
fn beside(far: &str, near: &str) -> String {
    format!(
        "
listeners: [{{type: model, name: test, port: 12000}}]
model_providers:
  - {{model: openai/gpt-4o, access_key: k, base_url: '{far}'}}
  - {{model: openai/gpt-4o-mini, access_key: k, base_url: '{far}', default: true}}
  - {{model: anthropic/claude, access_key: k, base_url: '{near}'}}
routing_preferences:
  - {{name: one, description: writing poems, models: [openai/gpt-4o, openai/gpt-4o-mini, anthropic/claude]}}
admin: {{address: '127.0.0.1:0', token: hush}}
"
    )
}

async fn cooling(gateway: &Gateway) -> Vec<(String, String)> {
    let mut admin = Connection::open(gateway.admin().await).await;
    let list = get("/admin/v1/cooldowns").header("authorization", "Bearer hush");
    let list = admin.ask(&list).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cooling = list["cooldowns"].as_array().unwrap().iter();
    cooling.map(|one| (text(&one["kind"]), text(&one["target"]))).collect()
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_and_cools_and_not_what_is_behind_it() {
    let near = Upstream::echo().await;
    let refusing = Refusing::new();
    let told = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    let locked = Upstream::fixed(told("407 Proxy Authentication Required")).await;
    let strange = Upstream::fixed("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
    let forbids = Upstream::fixed(told("403 Forbidden")).await;
    let fails = Upstream::fixed(told("502 Bad Gateway")).await;
    for (far, proxy, said, cools) in [
        (FAR, refusing.url(), "no connection to the proxy", "proxy"),
        (FAR, locked.url(), "answered 407", "proxy"),
        (FAR_TLS, refusing.url(), "no connection to the proxy", "proxy"),
        (FAR_TLS, locked.url(), "answered 407", "proxy"),
        (FAR_TLS, strange.url(), "did not answer by HTTP", "proxy"),
        (FAR_TLS, forbids.url(), "answered 403", "address"),
        (FAR_TLS, fails.url(), "answered 502", "address"),
    ] {
        let of_proxy = proxy.trim_start_matches("http://");
        let variables = format!("export ALL_PROXY='me:hush-hush@{of_proxy}' NO_PROXY=127.0.0.1");
        let gateway = Gateway::prepared(&beside(far, &near.url()), &variables).await;
        let first = within(gateway.ask(&turn().session("a"))).await;
        assert_eq!(first.affinity(), ("false", "repinned", "anthropic/claude"), "{said}");
        let name = if cools == "proxy" { proxy.clone() } else { FAR_TLS.to_owned() };
        assert_eq!(cooling(&gateway).await, [(cools.to_owned(), name)], "{said}");
        let second = within(gateway.ask(&turn().session("b"))).await;
        assert_eq!(second.affinity(), ("false", "claimed", "anthropic/claude"), "{said}");
        let log = gateway.log();
        let lines = log.lines().filter(|line| line.contains("upstream cannot be reached"));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 1, "the other model behind it is not tried: {log}");
        for part in ["WARN", said, &format!("{proxy} (ALL_PROXY)"), "\"host\":\"far.invalid\""] {
            assert!(lines[0].contains(part), "{part} in {}", lines[0]);
        }
        assert!(!log.contains("hush-hush") && !log.contains("bWU6"), "{log}");
    }
    assert_eq!(near.count(), 14);
}

#[tokio::test]
async fn a_router_behind_a_dead_proxy_is_told_from_a_dead_router() {
    let (upstream, refusing) = (Upstream::echo().await, Refusing::new());
    let config = Setup::new(&upstream.url()).router("http://router.invalid/v1", 2_000).yaml();
    let variables = format!("export http_proxy={} no_proxy=127.0.0.1", refusing.url());
    let gateway = Gateway::prepared(&config, &variables).await;
    let answer = within(gateway.ask(&turn().session("s"))).await;
    assert_eq!(answer.affinity().1, "router-unavailable");
    let said = format!("no connection to the proxy {} (http_proxy)", refusing.url());
    assert!(gateway.log().contains(&said), "{}", gateway.log());
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_ends_the_start_and_fails_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, Setup::new("https://api.example.com").yaml()).unwrap();
    let file = file.to_str().unwrap();
    for (variable, value, why) in [
        ("https_proxy", "socks5://me:hush@127.0.0.1:1080", "SOCKS is not supported"),
        ("HTTPS_PROXY", "http://me:hush@127.0.0.1:99999", "must have a port"),
        ("ALL_PROXY", "ftp://127.0.0.1", "must be the address of a proxy"),
        ("ALL_PROXY", "http://127.0.0.1:12000", "leads back to a listener"),
    ] {
        let served = run(&["serve", "--config", file], &[(variable, value)]).await;
        let checked = run(&["check", file], &[(variable, value)]).await;
        assert_eq!((served.code, checked.code), (Some(2), Some(1)), "{variable}={value}");
        for said in [&served.err, &checked.err] {
            let line = said.lines().find(|line| line.contains(why)).expect(said);
            assert!(line.contains(variable) || why.starts_with("leads"), "{line}");
            assert!(!said.contains("hush"), "{said}");
        }
    }
    // It is on the way to nothing.
    let unused = ("HTTP_PROXY", "socks5://127.0.0.1:1080");
    let checked = run(&["check", file], &[unused]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let used = ("HTTPS_PROXY", "http://me:hush@proxy.example:3128");
    let checked = run(&["check", file], &[used]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let line = checked.out.lines().find(|line| line.starts_with("proxy ")).expect(&checked.out);
    for part in ["http://proxy.example:3128 (HTTPS_PROXY)", ONE, TWO] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!checked.out.contains("hush"));
}

#[tokio::test]
async fn the_simulated_provider_is_never_called_through_a_proxy() {
    let refusing = Refusing::new();
    let url = refusing.url();
    let variables = [("http_proxy", &*url), ("ALL_PROXY", "socks5://127.0.0.1:1")];
    let demo = run(&["demo", "--turns", "3"], &variables).await;
    assert_eq!(demo.code, Some(0), "{}", demo.err);
}

#[tokio::test]
async fn tinyproxy_passes_calls_on() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let provider = Provider::start(&authority, &["h2"]).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = folder.path().join("tinyproxy.conf");
    let config = format!(
        "Port {port}\nListen 127.0.0.1\nBasicAuth me pass\nConnectPort {}\nTimeout 60\n",
        provider.address().port()
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("tinyproxy");
    command.args(["-d", "-c"]).arg(&file).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _proxy = command.spawn().expect("tinyproxy; get it by `apt-get install tinyproxy`");
    until(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;

    let named = |user| format!("export https_proxy=http://{user}@127.0.0.1:{port}");
    let gateway = provider.behind_with(&authority, folder.path(), &named("me:pass")).await;
    assert_eq!(within(gateway.ask(&turn())).await.status, 200);
    assert_eq!(provider.seen()[0].0, Version::HTTP_2);
    // With another password it is the proxy that refuses us.
    let gateway = provider.behind_with(&authority, folder.path(), &named("me:other")).await;
    assert_eq!(within(gateway.ask(&turn())).await.status, 502);
    let log = gateway.log();
    assert!(log.contains("answered 401") || log.contains("answered 407"), "{log}");

    // By http it takes the request itself.
    let upstream = Upstream::start(|_| {
        Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".into())
    })
    .await;
    let variables = format!("export http_proxy=http://me:pass@127.0.0.1:{port}");
    let gateway = Gateway::prepared(&Setup::new(&upstream.url()).yaml(), &variables).await;
    for _ in 0..2 {
        assert_eq!(within(gateway.ask(&turn())).await.status, 200);
    }
    assert!(!upstream.last().has("proxy-authorization"));
}
