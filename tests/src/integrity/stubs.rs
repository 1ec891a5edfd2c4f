//! The provider and the routing model.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::rng::Rng;

/// How many routes there are, each to a model of its own.
pub(super) const ROUTES: usize = 4;

/// A decision takes up to this many milliseconds, so that concurrent ones overlap.
const DECISION_MS: u64 = 5;

/// Both stand-ins; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Stubs {
    pub(super) provider: SocketAddr,
    pub(super) router: SocketAddr,
    pub(super) calls: Arc<Calls>,
    _tasks: JoinSet<()>,
}

/// Calls of the routing model.
#[derive(Debug, Default)]
pub(super) struct Calls {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Calls {
    pub(super) fn count(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many are being answered now.
    pub(super) fn under_way(&self) -> usize {
        self.count().saturating_sub(self.ended.load(Ordering::Relaxed))
    }
}

impl Stubs {
    pub(super) async fn start(seed: u64) -> Self {
        let mut tasks = JoinSet::new();
        let calls = Arc::new(Calls::default());
        let counted = calls.clone();
        let provider = serve(&mut tasks, |_| async { r#"{"choices":[]}"#.to_owned() }).await;
        let router = serve(&mut tasks, move |()| decide(counted.clone(), seed)).await;
        Self { provider, router, calls, _tasks: tasks }
    }
}

/// Another route each time.
async fn decide(calls: Arc<Calls>, seed: u64) -> String {
    let turn = calls.begun.fetch_add(1, Ordering::Relaxed);
    let pause = Rng::new(seed, turn as u64).within(0..DECISION_MS);
    sleep(Duration::from_millis(pause)).await;
    calls.ended.fetch_add(1, Ordering::Relaxed);
    let route = format!(r#"{{\"route\":\"r{}\"}}"#, turn % ROUTES);
    format!(r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{route}"}}}}]}}"#)
}

async fn serve<F>(
    tasks: &mut JoinSet<()>,
    answer: impl Fn(()) -> F + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = String> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    let body = Full::new(Bytes::from(answer(()).await));
                    let response =
                        Response::builder().header(header::CONTENT_TYPE, "application/json");
                    Ok::<_, Infallible>(response.body(body).expect("a response"))
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no error here.
            connections.spawn(async move { drop(connection.await) });
            while connections.try_join_next().is_some() {}
        }
    });
    address
}
