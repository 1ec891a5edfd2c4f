//! Providers behind TLS, by HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use affinity_tests::models::ONE;
use affinity_tests::redis::tls::Authority;
use affinity_tests::{Answer, Gateway, Request, Setup, Upstream, post, until, within};
use http::{HeaderMap, HeaderName, HeaderValue, Response, Version, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::chat;

/// What the provider sends after each answer. The last is its own to say.
const TRAILERS: [&str; 8] = [
    "x-plano-model",
    "x-plano-pinned",
    "x-plano-affinity",
    "x-plano-anything",
    "x_plano_model",
    "content-length",
    "access-control-allow-origin",
    "x-checksum",
];

/// Version and host of each request.
type Seen = Arc<Mutex<Vec<(Version, String)>>>;

/// A provider that speaks what it offers, and keeps how it was spoken to.
pub(crate) struct Provider {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Seen,
    /// Ends the connections there are, and goes on listening.
    hang_up: Arc<Notify>,
    _served: JoinSet<()>,
}

impl Provider {
    pub(crate) async fn start(authority: &Authority, offers: &[&str]) -> Self {
        let acceptor = acceptor(authority, offers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, seen) = (Arc::<AtomicUsize>::default(), Arc::default());
        let (mut served, hang_up) = (JoinSet::new(), Arc::<Notify>::default());
        let record = (connections.clone(), Arc::clone(&seen));
        served.spawn(accept(listener, acceptor, record, hang_up.clone()));
        Self { address, connections, seen, hang_up, _served: served }
    }

    /// A gateway before it that trusts `authority`.
    async fn behind(&self, authority: &Authority, folder: &Path) -> Gateway {
        self.behind_with(authority, folder, "true").await
    }

    /// The same, in a process that `commands` of a shell have prepared.
    pub(crate) async fn behind_with(
        &self,
        authority: &Authority,
        folder: &Path,
        commands: &str,
    ) -> Gateway {
        let trusted = folder.join("authority.pem");
        std::fs::write(&trusted, authority.pem()).unwrap();
        let base = format!("https://localhost:{}", self.address.port());
        let trust = format!("export SSL_CERT_FILE='{}'; {commands}", trusted.display());
        Gateway::prepared(&Setup::new(&base).yaml(), &trust).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Version and host of each request so far.
    pub(crate) fn seen(&self) -> Vec<(Version, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Speaks TLS as a server that `authority` vouches for.
pub(crate) fn acceptor(authority: &Authority, offers: &[&str]) -> TlsAcceptor {
    let identity = authority.issue();
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = offers.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    (connections, seen): (Arc<AtomicUsize>, Seen),
    hang_up: Arc<Notify>,
) {
    let mut served = JoinSet::new();
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            () = hang_up.notified() => {
                served.shutdown().await;
                continue;
            }
        };
        let (acceptor, connections, seen) = (acceptor.clone(), connections.clone(), seen.clone());
        served.spawn(async move {
            // A gateway that does not trust us ends it here.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            connections.fetch_add(1, Ordering::Relaxed);
            let service = service_fn(move |request| answer(request, seen.clone()));
            let builder = Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: http::Request<Incoming>,
    seen: Seen,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap().to_owned());
    let host = request.uri().authority().map(ToString::to_string).or(named).unwrap();
    seen.lock().unwrap().push((request.version(), host));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let trailers = HeaderMap::from_iter(
        TRAILERS.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))),
    );
    Ok(Response::new(Full::new(body).with_trailers(async move { Some(Ok(trailers)) }).boxed()))
}

fn turn() -> Request {
    post("/v1/chat/completions", chat(ONE, "hello"))
}

#[tokio::test]
async fn many_requests_share_a_connection_of_http2_and_take_turns_on_one_of_http1() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    for (offers, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"], Version::HTTP_11)]
    {
        let provider = Provider::start(&authority, offers).await;
        let gateway = provider.behind(&authority, folder.path()).await;
        let mut client = gateway.connect().await;
        for _ in 0..5 {
            let answer = within(client.ask(&turn())).await;
            assert_eq!((answer.status, answer.json()["model"].as_str()), (200, Some("gpt-4o")));
        }
        let host = format!("localhost:{}", provider.address.port());
        assert_eq!(*provider.seen.lock().unwrap(), vec![(version, host); 5]);
        assert_eq!(provider.connections.load(Ordering::Relaxed), 1, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_of_http2_that_is_gone_is_made_anew() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let provider = Provider::start(&authority, &["h2"]).await;
    let gateway = provider.behind(&authority, folder.path()).await;
    let mut client = gateway.connect().await;
    for connections in 1..=5 {
        assert_eq!(within(client.ask(&turn())).await.status, 200);
        assert_eq!(provider.connections.load(Ordering::Relaxed), connections);
        let sockets = gateway.sockets();
        provider.hang_up.notify_one();
        // Until the gateway has seen it, a request would be lost with the connection.
        until(async || gateway.sockets() < sockets).await;
    }
}

#[tokio::test]
async fn a_provider_that_nobody_vouches_for_is_not_spoken_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(&stranger, &["h2", "http/1.1"]).await;
    let gateway = provider.behind(&authority, folder.path()).await;
    let refused = within(gateway.ask(&turn())).await;
    assert_eq!(refused.refusal(), (502, "upstream_unreachable".to_owned()));
    assert!(provider.seen.lock().unwrap().is_empty());
}

/// The body of the answer to a turn over HTTP/2, and the names of its trailers.
async fn asked_over_http2(gateway: &Gateway) -> (Bytes, Vec<String>) {
    let stream = within(TcpStream::connect(gateway.address())).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut client, connection) = handshake.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("{}/v1/chat/completions", gateway.url()))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::TE, "trailers")
        .body(Full::<Bytes>::from(chat(ONE, "hello")))
        .unwrap();
    let answer = within(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-plano-model"], ONE);
    let answer = within(answer.into_body().collect()).await.unwrap();
    let trailers = answer.trailers().cloned().unwrap_or_default();
    connection.abort();
    (answer.to_bytes(), trailers.keys().map(ToString::to_string).collect())
}

#[tokio::test]
async fn trailers_of_a_provider_say_nothing_in_our_name() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let provider = Provider::start(&authority, &["h2"]).await;
    let gateway = provider.behind(&authority, folder.path()).await;
    let (body, trailers) = asked_over_http2(&gateway).await;
    assert_eq!(trailers, ["x-checksum"]);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["model"], "gpt-4o");
    assert_eq!(provider.seen.lock().unwrap()[0].0, Version::HTTP_2);

    // A provider of HTTP/1 puts them behind its chunks, spelled as it likes.
    let chunked = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
        trailer: X-Plano-Model, x-checksum\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\n{}\r\n0\r\nX-Plano-Model: evil/model\r\nX-PLANO-PINNED: true\r\n\
        Content-Length: 9\r\nX_Plano_Model: evil/model\r\nX-Checksum: 1\r\n\r\n";
    let upstream = Upstream::start(move |_| Answer::Bytes(chunked.into())).await;
    let gateway = Setup::new(&upstream.url()).start().await;
    let (body, trailers) = asked_over_http2(&gateway).await;
    assert_eq!((&*body, trailers), (&b"{}"[..], vec!["x-checksum".to_owned()]));
    // To a client of HTTP/1, none go: which may come is not announced.
    let mut client = gateway.connect().await;
    client.write(&turn().header("te", "trailers")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (200, "{}".to_owned()));
    assert_eq!(answer.header("x-plano-model"), Some(ONE));
}
