//! Listening, accepting and stopping.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Server};
use super::refuse::Refuse;
use super::workers::Workers;
use crate::config::{ClientKey, Config, Limits};
use crate::stack::app::App;
use crate::telemetry::metrics;

/// Pause after a failed accept: out of file descriptors, trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections to the admin listener, and requests there, at a time. They are apart from those of
/// clients: an overload must not keep out who could mend it, nor the other way round.
const ADMIN_PLACES: usize = 64;

/// A gateway whose sockets are open and that does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    limits: Limits,
    listeners: Vec<(TcpListener, Vec<ClientKey>)>,
    admin: Option<TcpListener>,
    workers: Arc<Workers>,
}

impl Gateway {
    /// Opens the sockets of `config`; with `listen`, the first listener is moved there and the
    /// others are left out.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, named in the error, or the system's certificates are
    /// needed and cannot be read, or the session store is required and does not answer.
    pub async fn bind(config: &Config, listen: Option<SocketAddr>) -> io::Result<Self> {
        let app = App::new(config)?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listen.unwrap_or((listener.address, listener.port).into());
            listeners.push((listen_on(address).await?, listener.client_keys.clone()));
            if listen.is_some() {
                break;
            }
        }
        let admin = match &config.admin {
            Some(admin) => Some(listen_on(admin.address).await?),
            None => None,
        };
        app.sessions().start().await?;
        app.board().read().await;
        let workers = Arc::new(Workers::start()?);
        Ok(Self { app, limits: config.limits, listeners, admin, workers })
    }

    /// The addresses that are listened on.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(socket, _)| socket.local_addr()).collect()
    }

    /// Where the admin API listens, if it does.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop` is cancelled, then lets running requests end, for at most `drain`.
    pub async fn serve(self, stop: CancellationToken, drain: Duration) {
        let Self { app, limits, listeners, admin, workers } = self;
        let abandon = CancellationToken::new();
        let requests = Arc::new(Semaphore::new(limits.max_requests));
        let door = Door {
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            refuse: Refuse::new().await,
            tasks: TaskTracker::new(),
            workers,
        };
        let mut loops = JoinSet::new();
        let upkeep = stop.clone().run_until_cancelled_owned(app.metrics().clone().keep_up());
        loops.spawn(async move { upkeep.await.unwrap_or_default() });
        let followed = stop.clone().run_until_cancelled_owned(app.board().clone().follow());
        loops.spawn(async move { followed.await.unwrap_or_default() });
        if let Some(live) = app.live() {
            loops.spawn(live.clone().follow(stop.clone()));
        }
        let served = listeners.into_iter().map(|(socket, keys)| (socket, app.front(&keys), false));
        let steered = admin.zip(app.admin()).map(|(socket, front)| (socket, front, true));
        for (socket, front, tells_peer) in served.chain(steered) {
            let (door, requests) = match tells_peer {
                true => (door.apart(ADMIN_PLACES), Arc::new(Semaphore::new(ADMIN_PLACES))),
                false => (door.clone(), requests.clone()),
            };
            let server = Arc::new(Server {
                front,
                tells_peer,
                limits,
                http: connection::http(&limits),
                requests,
                stop: stop.clone(),
                abandon: abandon.clone(),
            });
            loops.spawn(door.accept(socket, server));
        }
        loops.join_all().await;
        door.tasks.close();
        if tokio::time::timeout(drain, door.tasks.wait()).await.is_err() {
            tracing::warn!("requests were still running when the time to drain was over");
        }
        abandon.cancel();
    }
}

async fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Where connections come in, on whichever listener.
#[derive(Clone, Debug)]
struct Door {
    connections: Arc<Semaphore>,
    refuse: Refuse,
    tasks: TaskTracker,
    workers: Arc<Workers>,
}

impl Door {
    /// The same with as many places of its own.
    fn apart(&self, places: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(places)), ..self.clone() }
    }

    async fn accept(self, socket: TcpListener, server: Arc<Server>) {
        let stop = server.stop.clone();
        let mut exhausted = false;
        while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    if std::mem::take(&mut exhausted) {
                        tracing::info!("connections are accepted again");
                    }
                    self.enter(stream, &server);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    // Told once: this may go on for as long as others hold their connections.
                    if !std::mem::replace(&mut exhausted, true) {
                        tracing::warn!(%error, "connections cannot be accepted for now");
                    }
                    stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
    }

    fn enter(&self, stream: TcpStream, server: &Arc<Server>) {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            metrics::shed("connections");
            return self.refuse.connection(stream);
        };
        // Without it a stream of small writes waits for the client's delayed acknowledgements.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(worker) = self.workers.least_busy() else { return };
        let (server, runtime) = (server.clone(), worker.runtime.clone());
        let served = async move {
            // A socket belongs to the runtime in which it was made.
            match stream.into_std().and_then(TcpStream::from_std) {
                Ok(stream) => server.serve(stream).await,
                Err(error) => tracing::debug!(%error, "connection lost on its way to its thread"),
            }
            drop((place, worker));
        };
        self.tasks.spawn_on(served, &runtime);
    }
}

/// Whether an accept failed for the connection alone, and the next may be tried at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
