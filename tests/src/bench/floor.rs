//! Two proxies on hyper and hyper-util that show what cannot be done for less.
//!
//! The *floor* reads and forwards bodies and does nothing else. *Whole* does in addition what a gateway
//! must do with a body to keep its promises: it holds it until it is whole, since its end may show that
//! it is no JSON, has it checked, and puts another model in. It pins nothing, counts nothing, has no
//! limits and nothing to fall back on.

use std::io;
use std::net::SocketAddr;

use affinity_layer::body::{JsonBody, Slices};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves `listener` for ever, out of `upstream`: the floor.
///
/// # Errors
///
/// When no connection can be accepted.
pub async fn serve(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let to = Upstream::<Incoming>::new(upstream);
    accept(listener, move |request| to.forward(request)).await
}

/// The same for *whole*.
///
/// # Errors
///
/// When no connection can be accepted.
pub async fn serve_whole(listener: TcpListener, upstream: SocketAddr) -> io::Result<()> {
    let to = Upstream::<Slices>::new(upstream);
    let whole = move |request: Request<Incoming>| {
        let to = to.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let body = JsonBody::parse(body.collect().await?.to_bytes());
            let body = body.map_err(|error| format!("no body for a model: {error:?}"))?;
            parts.headers.remove(header::CONTENT_LENGTH);
            to.forward(Request::from_parts(parts, body.for_model("gpt-4o"))).await
        }
    };
    accept(listener, whole).await
}

async fn accept<S, F>(listener: TcpListener, service: S) -> io::Result<()>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Incoming>, BoxError>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(service.clone()));
        tokio::spawn(connection);
    }
}

/// Where requests go.
struct Upstream<B> {
    client: Client<HttpConnector, B>,
    authority: Authority,
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), authority: self.authority.clone() }
    }
}

impl<B> Upstream<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let authority = address.to_string().parse().expect("a socket address is an authority");
        Self { client: Client::builder(TokioExecutor::new()).build(connector), authority }
    }

    fn forward(
        &self,
        mut request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, BoxError>> + use<B> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(uri).expect("a path, a scheme and an authority");
        let response = self.client.request(request);
        async move { Ok(response.await?) }
    }
}
