//! Listeners that speak TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use affinity_tests::models::ONE;
use affinity_tests::redis::tls::Authority;
use affinity_tests::{Gateway, Setup, Upstream, run, until, within};
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::chat;

/// A folder with a certificate and its key, and who has issued them.
struct Pair {
    authority: Authority,
    folder: TempDir,
}

impl Pair {
    fn new() -> Self {
        let pair = Self { authority: Authority::new(), folder: tempfile::tempdir().unwrap() };
        pair.renew();
        pair
    }

    fn renew(&self) {
        let identity = self.authority.issue();
        std::fs::write(self.path("cert.pem"), identity.certificate).unwrap();
        std::fs::write(self.path("key.pem"), identity.key).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The line of a listener.
    fn line(&self) -> String {
        line(&self.path("cert.pem"), &self.path("key.pem"))
    }

    async fn connect(&self, address: SocketAddr, offers: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap())
            .unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![offers.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
    }
}

fn line(cert: &Path, key: &Path) -> String {
    format!("tls: {{cert: '{}', key: '{}'}}", cert.display(), key.display())
}

type Asked = Request<Full<Bytes>>;

fn turn() -> Asked {
    let request =
        Request::post("https://localhost/v1/chat/completions").header("host", "localhost");
    let request = request.header("content-type", "application/json");
    request.body(Full::from(chat(ONE, "hello").to_string())).unwrap()
}

fn health() -> Asked {
    let request = Request::get("https://localhost/healthz").header("host", "localhost");
    request.body(Full::default()).unwrap()
}

async fn ask(stream: TlsStream<TcpStream>, mut request: Asked) -> Response<Incoming> {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(stream);
    if is_http2 {
        let (mut sender, driven) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(driven);
        return within(sender.send_request(request)).await.unwrap();
    }
    // As clients of HTTP/1 write it.
    let path = request.uri().path().parse().unwrap();
    *request.uri_mut() = path;
    let (mut sender, driven) = http1::handshake(stream).await.unwrap();
    tokio::spawn(driven);
    within(sender.send_request(request)).await.unwrap()
}

#[tokio::test]
async fn clients_are_served_over_tls_by_http1_and_http2() {
    let (upstream, pair) = (Upstream::echo().await, Pair::new());
    let gateway = Setup::new(&upstream.url()).listener(&pair.line()).start().await;
    for (offers, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
        let stream = pair.connect(gateway.address(), offers).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(offers.as_bytes()));
        let answer = ask(stream, turn()).await;
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["x-plano-model"], ONE);
    }
}

#[tokio::test]
async fn a_reload_reads_the_pair_again_and_leaves_open_connections_alone() {
    let (upstream, pair) = (Upstream::echo().await, Pair::new());
    let yaml = Setup::new(&upstream.url()).listener(&pair.line()).yaml();
    let gateway = Gateway::start(&yaml).await;
    let shown = async || {
        let stream = pair.connect(gateway.address(), "http/1.1").await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let (before, kept) = (shown().await, pair.connect(gateway.address(), "http/1.1").await);
    pair.renew();
    assert_eq!(shown().await, before, "nobody asked for a reload");
    gateway.reload(&yaml).await;
    let after = shown().await;
    assert_ne!(after, before);
    assert_eq!(ask(kept, turn()).await.status(), 200);
    std::fs::write(pair.path("key.pem"), "nonsense").unwrap();
    gateway.reload(&yaml).await;
    assert!(gateway.log().contains("listeners[0].tls.key"), "{}", gateway.log());
    assert_eq!(shown().await, after);
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_is_an_error_of_check_and_of_serve() {
    let (pair, other) = (Pair::new(), Pair::new());
    let (cert, key) = (pair.path("cert.pem"), pair.path("key.pem"));
    let empty = pair.path("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (line, named) in [
        (
            line(&cert, &other.path("key.pem")),
            "listeners[0].tls: the key is not that of the certificate",
        ),
        (line(&key, &cert), "listeners[0].tls: cert names the key, and key the certificate"),
        (line(&key, &key), "listeners[0].tls.cert: holds no certificate"),
        (line(&cert, &empty), "listeners[0].tls.key: holds no private key"),
        (line(&pair.path("none"), &key), "listeners[0].tls.cert: cannot be read"),
        ("tls: {cert: x}".to_owned(), "listeners[0].tls: key is missing"),
    ] {
        let file = pair.path("config.yaml");
        let yaml = Setup::new("http://127.0.0.1:9").listener(&line).yaml();
        std::fs::write(&file, yaml).unwrap();
        let file = file.to_str().unwrap();
        let checked = run(&["check", file], &[]).await;
        assert!(checked.code == Some(1) && checked.err.contains(named), "{named}: {checked:?}");
        let served = run(&["serve", "--config", file], &[]).await;
        assert!(served.code == Some(2) && served.err.contains(named), "{named}: {served:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_holds_a_place_and_is_cut_off() {
    let (upstream, pair) = (Upstream::echo().await, Pair::new());
    let limits = "limits: {max_connections: 1, header_timeout_ms: 1000}";
    let setup = Setup::new(&upstream.url()).listener(&pair.line()).line(limits);
    let gateway = setup.start().await;
    let mut silent = TcpStream::connect(gateway.address()).await.unwrap();
    // Its place is taken, and a health check is answered all the same.
    let refused = ask(pair.connect(gateway.address(), "http/1.1").await, turn()).await;
    assert_eq!(refused.status(), 503);
    for offers in ["http/1.1", "h2"] {
        let answer = ask(pair.connect(gateway.address(), offers).await, health()).await;
        assert_eq!(answer.status(), 200, "{offers}");
    }
    assert_eq!(within(silent.read(&mut [0; 1])).await.unwrap(), 0);
    until(async || {
        let stream = pair.connect(gateway.address(), "http/1.1").await;
        ask(stream, turn()).await.status() == 200
    })
    .await;
    // What is plain text is no handshake.
    let mut plain = TcpStream::connect(gateway.address()).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = within(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
