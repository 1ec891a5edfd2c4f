//! A load balancer without sticky sessions: each request goes to the next replica.
//!
//! It is the hardest neighbour that replicas can have: successive requests of a session never meet the same
//! process, so that a pin which is not shared shows at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::serve::ListenerExt;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::upstream::hop;

/// Says in a response which replica it came from, counted from 1.
pub(crate) const REPLICA: HeaderName = HeaderName::from_static("x-replica");

/// Time for a connection to a replica.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A balancer over a fixed list of replicas. Clones share its turn and its counts.
#[derive(Clone, Debug)]
pub(crate) struct Balancer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    replicas: Vec<Replica>,
    turn: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

#[derive(Debug)]
struct Replica {
    authority: Authority,
    answers: AtomicUsize,
}

impl Balancer {
    /// A balancer over `replicas`, in this order.
    pub(crate) fn new(replicas: impl IntoIterator<Item = Authority>) -> Self {
        let replica = |authority| Replica { authority, answers: AtomicUsize::new(0) };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self(Arc::new(Inner {
            replicas: replicas.into_iter().map(replica).collect(),
            turn: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build(connector),
        }))
    }

    /// Serves every path until `shutdown` completes, then lets running answers end.
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) {
        let listener = listener.tap_io(|stream| {
            // Without it the pieces of a stream wait for the other side's delayed acknowledgements.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
        });
        let server = axum::serve(listener, self.router()).with_graceful_shutdown(shutdown);
        if let Err(error) = server.await {
            tracing::warn!(%error, "the balancer ended");
        }
    }

    fn router(&self) -> Router {
        Router::new().fallback(balance).with_state(self.clone())
    }

    /// How many answers each replica has sent.
    pub(crate) fn answers(&self) -> Vec<usize> {
        self.0.replicas.iter().map(|replica| replica.answers.load(Ordering::Relaxed)).collect()
    }
}

async fn balance(State(Balancer(inner)): State<Balancer>, mut request: Request) -> Response<Body> {
    let protocol = Protocol::of(request.uri().path());
    let index = inner.turn.fetch_add(1, Ordering::Relaxed) % inner.replicas.len().max(1);
    let Some(replica) = inner.replicas.get(index) else {
        return unreachable(index).response(protocol);
    };
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = at(&replica.authority, path);
    hop::strip(request.headers_mut());
    request.headers_mut().remove(header::HOST);
    // Bodies are passed on as they arrive, in both directions.
    let mut response = match inner.client.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::warn!(replica = index + 1, %error, "replica failed");
            return unreachable(index).response(protocol);
        }
    };
    replica.answers.fetch_add(1, Ordering::Relaxed);
    hop::strip(response.headers_mut());
    response.headers_mut().insert(REPLICA, HeaderValue::from(index + 1));
    response
}

fn at(authority: &Authority, path: Option<PathAndQuery>) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
    // A scheme, an authority and a path always make a URL.
    Uri::from_parts(parts).unwrap_or_default()
}

fn unreachable(index: usize) -> ApiError {
    let text = format!("replica {} cannot be reached", index + 1);
    ApiError::new(StatusCode::BAD_GATEWAY, "replica_unreachable", text)
}

#[cfg(test)]
mod tests;
