//! Listening, accepting, reloading and stopping.
//!
//! `serve` and the demo run a [`Gateway`]; it builds the `App` and owns the sockets.
//!
//! 1. [`bind`](Gateway::bind) takes all addresses and waits for the store before a client is served, so that
//!    what is wrong shows at the start, as an error, and not in the first request.
//! 2. [`serve`](Gateway::serve) accepts on the thread that calls it. Threads of their own serve, so a
//!    burst of connections does not slow the requests that are under way.
//! 3. A reload puts another `App` behind the same sockets, store and counts.
//! 4. A stop begins with the signal: from then on the gateway is not ready, and while requests run it accepts
//!    connections for a moment longer, so that a load balancer sees that. Sockets that another process shares
//!    are closed at once.
//! 5. Then it has two steps, each with a token. After `stop` nothing is accepted and no connection takes a
//!    further request; requests that run may end, within the time to drain. After `abandon` whatever is left
//!    is cut off. One step alone would either break every stream or wait for the slowest.

mod manager;
mod serving;
mod sockets;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use self::serving::Serving;
pub use self::sockets::Inherited;
use self::sockets::Socket;
use crate::app::App;
use crate::config::Config;
use crate::edge::door::Door;
use crate::edge::workers::Workers;
use crate::ops::live::feed::Live;
use crate::telemetry::log;

/// A gateway whose sockets are open and that does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    app: App,
    config: Config,
    listeners: Vec<Socket>,
    admin: Option<Socket>,
    workers: Arc<Workers>,
}

/// When the configuration is to be read again, and how.
pub struct Reloads {
    requested: Arc<Notify>,
    read: Arc<dyn Fn() -> Result<Config, Vec<String>> + Send + Sync>,
}

impl Reloads {
    /// Reads by `read` whenever `requested` is notified; it returns everything that is wrong.
    pub fn new(
        requested: Arc<Notify>,
        read: impl Fn() -> Result<Config, Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { requested, read: Arc::new(read) }
    }

    /// The configuration, the next time that it is to be read.
    async fn next(&self) -> Result<Config, Vec<String>> {
        self.requested.notified().await;
        // Files may be slow, and this thread accepts connections.
        let read = self.read.clone();
        spawn_blocking(move || read()).await.unwrap_or_else(|why| Err(vec![why.to_string()]))
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Gateway {
    /// Opens the sockets of `config`, or takes those that were `inherited`.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, or no listener has that of an inherited socket, named in the error;
    /// when the system's certificates are needed and cannot be read, or the session store is required and
    /// does not answer.
    pub async fn bind(config: Config, mut inherited: Inherited) -> io::Result<Self> {
        let app = App::new(&config)?;
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = (listener.address, listener.port).into();
            listeners.push(inherited.listen(address, listener.reuse_port)?);
        }
        // Another process that takes over needs its address, too.
        let reuse_port = config.listeners.iter().any(|listener| listener.reuse_port);
        let admin = config.admin.as_ref().map(|admin| inherited.listen(admin.address, reuse_port));
        let admin = admin.transpose()?;
        inherited.end()?;
        app.sessions().start().await?;
        app.board().read().await;
        let workers = Arc::new(Workers::start()?);
        Ok(Self { app, config, listeners, admin, workers })
    }

    /// The addresses that are listened on.
    ///
    /// # Errors
    ///
    /// When the system cannot report the address.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.iter().map(|socket| socket.listener.local_addr()).collect()
    }

    /// The address of the admin API, if there is one.
    ///
    /// # Errors
    ///
    /// When the system cannot report the address.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(|socket| socket.listener.local_addr()).transpose()
    }

    /// The feed of the live page, if there is an admin API.
    pub(crate) fn live(&self) -> Option<&Live> {
        self.app.live()
    }

    /// Serves until `signal` is cancelled, then lets running requests end, within the time to drain of the
    /// configuration. Before that the configuration is read again whenever `reloads` says so.
    pub async fn serve(self, signal: CancellationToken, reloads: Option<Reloads>) {
        let Self { app, config, listeners, admin, workers } = self;
        let stop = CancellationToken::new();
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
        let door = Door::new(config.limits.max_connections, workers).await;
        let abandon = CancellationToken::new();
        let tokens = (stop.clone(), abandon.clone());
        let mut serving = Serving::new(app, config, &listeners, door.clone(), tokens);
        let are_shared = listeners.iter().all(|socket| socket.is_shared);
        let closed = CancellationToken::new();
        for (socket, (door, switch)) in listeners.into_iter().chain(admin).zip(serving.doors()) {
            loops.spawn(door.accept(socket.listener, switch, closed.clone()));
        }
        manager::ready();
        signal.run_until_cancelled(serving.follow(reloads)).await;
        manager::stopping();
        if are_shared {
            // From now on they are another's.
            closed.cancel();
        }
        serving.drain(are_shared).await;
        closed.cancel();
        stop.cancel();
        loops.join_all().await;
        if tokio::time::timeout(serving.time_to_drain(), door.closed()).await.is_err() {
            tracing::warn!("requests were still running when the time to drain was over");
        }
        abandon.cancel();
    }
}
