//! A proxy between the gateway and its providers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Body = BoxBody<Bytes, hyper::Error>;

/// What a proxy was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Method and target, as in `CONNECT host:443`.
    pub line: String,
    /// The credentials that it was shown.
    pub authorization: Option<String>,
}

/// Where the proxy finds a host.
type Names = dyn Fn(&str) -> SocketAddr + Send + Sync;

/// A proxy on a free port of the loopback, by CONNECT and for whole addresses; it ends when this is dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _served: JoinSet<()>,
}

impl ForwardProxy {
    /// Connects to where `names` says that a host is.
    pub async fn start(names: impl Fn(&str) -> SocketAddr + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (record, names) = (asked.clone(), Arc::<Names>::from(Box::new(names) as Box<Names>));
        let mut served = JoinSet::new();
        served.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (record, names) = (record.clone(), names.clone());
                let service = service_fn(move |request| {
                    let line = format!("{} {}", request.method(), request.uri());
                    let shown = request.headers().get(header::PROXY_AUTHORIZATION);
                    let authorization = shown.map(|value| value.to_str().expect("text").to_owned());
                    record.lock().expect("no panic").push(Asked { line, authorization });
                    serve(request, names.clone())
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Self { address, asked, _served: served }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(
    mut request: Request<Incoming>,
    names: Arc<Names>,
) -> Result<Response<Body>, Infallible> {
    let to = names(request.uri().host().expect("a host"));
    let Ok(mut server) = TcpStream::connect(to).await else {
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        return Ok(response);
    };
    if request.method() == Method::CONNECT {
        tokio::spawn(async move {
            if let Ok(tunnel) = hyper::upgrade::on(request).await {
                let _ = copy_bidirectional(&mut TokioIo::new(tunnel), &mut server).await;
            }
        });
        return Ok(Response::new(empty()));
    }
    request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    let (mut sender, connection) =
        client::handshake(TokioIo::new(server)).await.expect("a connection");
    tokio::spawn(connection);
    Ok(sender.send_request(request).await.expect("an answer").map(BodyExt::boxed))
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}
