//! Listening, accepting and stopping.
//!
//! `serve` and the demo run a [`Gateway`]; it builds the `App` and owns the sockets.
//!
//! 1. [`bind`](Gateway::bind) takes all addresses and waits for the store before a client is served, so that
//!    what is wrong shows at the start, as an error, and not in the first request.
//! 2. [`serve`](Gateway::serve) accepts on the thread that calls it. Threads of their own serve, so a
//!    burst of connections does not slow the requests that are under way.
//! 3. A stop has two steps, each with a token. After `stop` nothing is accepted and no connection takes a
//!    further request; requests that run may end, within the time to drain. After `abandon` whatever is left
//!    is cut off. One step alone would either break every stream or wait for the slowest.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::{Config, Limits, Listener};
use crate::edge::browsers::Browsers;
use crate::edge::connection::{self, Server};
use crate::edge::door::Door;
use crate::edge::workers::Workers;
use crate::telemetry::log;

/// Requests to the admin listener at a time: as many as HTTP/2 allows on all its connections, so that those
/// without a token, which hold one each while they do not read their refusal, leave some.
const ADMIN_REQUESTS: usize = 200 * ADMIN_PLACES;

/// Connections to the admin listener at a time. They are separate from those of
/// clients, so that an overload on either side does not shut out the other.
const ADMIN_PLACES: usize = 64;

/// Connections that may wait to be accepted; the system may allow fewer (`net.core.somaxconn`). Those beyond
/// are dropped without a word, and try again a second later.
const BACKLOG: u32 = 4096;

/// A gateway whose sockets are open and that does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    limits: Limits,
    access_log: bool,
    listeners: Vec<(TcpListener, Listener)>,
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
            listeners.push((listen_on(address)?, listener.clone()));
            if listen.is_some() {
                break;
            }
        }
        let admin = match &config.admin {
            Some(admin) => Some(listen_on(admin.address)?),
            None => None,
        };
        app.sessions().start().await?;
        app.board().read().await;
        let workers = Arc::new(Workers::start()?);
        let access_log = config.access_log;
        Ok(Self { app, limits: config.limits, access_log, listeners, admin, workers })
    }

    /// The addresses that are listened on.
    ///
    /// # Errors
    ///
    /// When the system cannot report the address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|(socket, _)| socket.local_addr()).collect()
    }

    /// The address of the admin API, if there is one.
    ///
    /// # Errors
    ///
    /// When the system cannot report the address.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `stop` is cancelled, then lets running requests end, for at most `drain`.
    pub async fn serve(self, stop: CancellationToken, drain: Duration) {
        let Self { app, limits, access_log, listeners, admin, workers } = self;
        let abandon = CancellationToken::new();
        let requests = Arc::new(Semaphore::new(limits.max_requests));
        let door = Door::new(limits.max_connections, workers).await;
        let mut loops = JoinSet::new();
        let upkeep = stop.clone().run_until_cancelled_owned(app.metrics().clone().keep_up());
        loops.spawn(async move { upkeep.await.unwrap_or_default() });
        let told = stop.clone().run_until_cancelled_owned(log::tell_lost_lines());
        loops.spawn(async move { told.await.unwrap_or_default() });
        let followed = stop.clone().run_until_cancelled_owned(app.board().clone().follow());
        loops.spawn(async move { followed.await.unwrap_or_default() });
        if let Some(live) = app.live() {
            loops.spawn(live.clone().follow(stop.clone()));
        }
        let served = listeners.into_iter().map(|(socket, listener)| {
            // Without its address, which no system refuses to tell, it is checked as on loopback.
            let address = socket.local_addr().map_or(listener.address, |address| address.ip());
            let browsers = Browsers::new(&listener, address);
            (socket, app.front(&listener), browsers, false)
        });
        let steered = admin.zip(app.admin());
        let steered = steered.map(|(socket, front)| (socket, front, Browsers::of_keys(), true));
        for (socket, front, browsers, tells_peer) in served.chain(steered) {
            let (door, requests) = match tells_peer {
                true => (door.apart(ADMIN_PLACES), Arc::new(Semaphore::new(ADMIN_REQUESTS))),
                false => (door.clone(), requests.clone()),
            };
            let server = Arc::new(Server {
                front,
                browsers,
                tells_peer,
                limits,
                // What an operator changes has its own lines.
                access_log: access_log && !tells_peer,
                http: connection::http(&limits),
                requests,
                stop: stop.clone(),
                abandon: abandon.clone(),
            });
            loops.spawn(door.accept(socket, server));
        }
        loops.join_all().await;
        if tokio::time::timeout(drain, door.closed()).await.is_err() {
            tracing::warn!("requests were still running when the time to drain was over");
        }
        abandon.cancel();
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As the listeners of tokio and std do, so that a restart finds its port free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}
