//! The floor: a proxy on hyper and hyper-util that reads and forwards bodies and does nothing else.
//! What it costs is what any such proxy must cost.

use std::io;
use std::net::SocketAddr;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// Serves `listener` for ever, out of `upstream`.
///
/// # Errors
///
/// When no connection can be accepted.
pub async fn serve(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let authority: Authority =
        upstream.to_string().parse().expect("a socket address is an authority");
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, authority) = (client.clone(), authority.clone());
        let service = service_fn(move |request| forward(&client, &authority, request));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

fn forward(
    client: &Client<HttpConnector, Incoming>,
    upstream: &Authority,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Incoming>, Error>> + use<> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream.clone());
    *request.uri_mut() = Uri::from_parts(uri).expect("a path, a scheme and an authority");
    client.request(request)
}
