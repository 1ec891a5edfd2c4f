//! Listening, accepting and stopping.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::App;
use crate::config::{ClientKey, Config};

/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept: out of file descriptors, trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A gateway whose sockets are open and that does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    listeners: Vec<(TcpListener, Vec<ClientKey>)>,
}

impl Gateway {
    /// Opens the sockets of `config`; with `listen`, the first listener is moved there and the
    /// others are left out.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, named in the error, or the system's certificates are
    /// needed and cannot be read.
    pub async fn bind(config: &Config, listen: Option<SocketAddr>) -> io::Result<Self> {
        let app = App::new(config)?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listen.unwrap_or((listener.address, listener.port).into());
            let socket = TcpListener::bind(address).await.map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
            listeners.push((socket, listener.client_keys.clone()));
            if listen.is_some() {
                break;
            }
        }
        app.sessions().start().await;
        Ok(Self { app, listeners })
    }

    /// The addresses that are listened on.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(socket, _)| socket.local_addr()).collect()
    }

    /// Serves until `stop` is cancelled, then lets running requests end, for at most `drain`.
    pub async fn serve(self, stop: CancellationToken, drain: Duration) {
        let mut tasks = JoinSet::new();
        let upkeep = stop.clone().run_until_cancelled_owned(self.app.metrics().clone().keep_up());
        tasks.spawn(async move { upkeep.await.unwrap_or_default() });
        for (socket, keys) in self.listeners {
            let router = self.app.router(&keys);
            tasks.spawn(accept(socket, router, stop.clone(), drain));
        }
        tasks.join_all().await;
    }
}

async fn accept(socket: TcpListener, router: Router, stop: CancellationToken, drain: Duration) {
    let running = GracefulShutdown::new();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let service = router.map_request(|request: Request<Incoming>| request.map(Body::new));
    while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(service.clone());
        let connection = builder.serve_connection(prepared(stream), service).into_owned();
        let connection = running.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection ended");
            }
        });
    }
    drop(socket);
    if tokio::time::timeout(drain, running.shutdown()).await.is_err() {
        tracing::warn!("requests were still running when the time to drain was over");
    }
}

fn prepared(stream: TcpStream) -> TokioIo<TcpStream> {
    // Without it a stream of small writes waits for the client's delayed acknowledgements.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    TokioIo::new(stream)
}
