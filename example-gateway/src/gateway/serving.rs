//! What serves behind the sockets, and how a reload replaces it.
//!
//! A reload is all or nothing: the new `App` is built beside the one that serves, and takes its place only
//! when nothing can fail any more. Requests that run keep the one with which they began.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::sockets::Socket;
use super::{Reloads, manager};
use crate::app::App;
use crate::config::{Config, Tls, needs_restart};
use crate::edge::browsers::Browsers;
use crate::edge::connection::{self, Server};
use crate::edge::door::Door;
use crate::edge::front::Front;
use crate::edge::places::resize;
use crate::edge::switch::Switch;
use crate::telemetry::log::RELOAD;

/// Requests to the admin listener at a time: as many as HTTP/2 allows on all its connections, so that those
/// without a token, which hold one each while they do not read their refusal, leave some.
const ADMIN_REQUESTS: usize = 200 * ADMIN_PLACES;

/// Connections to the admin listener at a time. They are separate from those of
/// clients, so that an overload on either side does not shut out the other.
const ADMIN_PLACES: usize = 64;

/// Time for the last connections that were accepted to begin a request.
const LAST_ACCEPTED: Duration = Duration::from_secs(1);

/// Between two looks whether requests run, at a stop.
const LOOK: Duration = Duration::from_millis(20);

/// For so many looks in a row none must run: short requests leave gaps, and the connections of those that
/// come in between are still to be asked to close.
const QUIET: u32 = 12;

/// What serves now.
#[derive(Debug)]
pub(super) struct Serving {
    app: Arc<App>,
    config: Arc<Config>,
    /// Of the listeners, in their order.
    addresses: Vec<IpAddr>,
    door: Door,
    admin_door: Door,
    requests: Arc<Semaphore>,
    admin_requests: Arc<Semaphore>,
    stop: CancellationToken,
    abandon: CancellationToken,
    /// Of the listeners, and then of the admin API.
    switches: Vec<Arc<Switch<Server>>>,
}

impl Serving {
    pub(super) fn new(
        app: App,
        config: Config,
        listeners: &[Socket],
        door: Door,
        (stop, abandon): (CancellationToken, CancellationToken),
    ) -> Self {
        let addresses = listeners.iter().zip(&config.listeners).map(|(socket, listener)| {
            // Without its address, which no system refuses to tell, it is checked as on loopback.
            socket.listener.local_addr().map_or(listener.address, |address| address.ip())
        });
        let addresses = addresses.collect();
        let admin_door = door.apart(ADMIN_PLACES);
        let requests = Arc::new(Semaphore::new(config.limits.max_requests));
        let admin_requests = Arc::new(Semaphore::new(ADMIN_REQUESTS));
        let (app, config, switches) = (Arc::new(app), Arc::new(config), Vec::new());
        let mut serving = Self {
            app,
            config,
            addresses,
            door,
            admin_door,
            requests,
            admin_requests,
            stop,
            abandon,
            switches,
        };
        serving.switches = serving.servers().map(|server| Arc::new(Switch::new(server))).collect();
        serving
    }

    /// Where connections of each socket come in, in the order of the listeners, and then the admin API.
    pub(super) fn doors(&self) -> impl Iterator<Item = (Door, Arc<Switch<Server>>)> {
        let listeners = self.addresses.iter().map(|_| self.door.clone());
        let doors = listeners.chain([self.admin_door.clone()]);
        doors.zip(self.switches.iter().cloned())
    }

    fn servers(&self) -> impl Iterator<Item = Server> {
        let served =
            self.config.listeners.iter().zip(&self.addresses).map(|(listener, address)| {
                self.server(
                    self.app.front(listener),
                    Browsers::new(listener, *address),
                    listener.tls.clone(),
                    false,
                )
            });
        let steered =
            self.app.admin().map(|front| self.server(front, Browsers::of_keys(), None, true));
        served.chain(steered)
    }

    fn server(&self, front: Front, browsers: Browsers, tls: Option<Tls>, is_admin: bool) -> Server {
        let requests = if is_admin { &self.admin_requests } else { &self.requests };
        let limits = self.config.limits;
        Server {
            front,
            browsers,
            limits,
            http: connection::http(&limits),
            // What an operator changes has its own lines.
            access_log: self.config.access_log && !is_admin,
            tls,
            condition: self.app.condition().clone(),
            requests: requests.clone(),
            stop: self.stop.clone(),
            abandon: self.abandon.clone(),
        }
    }

    /// Reads the configuration whenever `reloads` says so, for ever.
    pub(super) async fn follow(&mut self, reloads: Option<Reloads>) {
        let Some(reloads) = reloads else { return std::future::pending().await };
        loop {
            let read = reloads.next().await;
            manager::reloading();
            let reloaded = match read {
                Ok(config) => self.reload(config).await,
                Err(errors) => Err(errors),
            };
            let errors = reloaded.err().unwrap_or_default();
            for error in &errors {
                tracing::error!(target: RELOAD, %error, "the configuration is not reloaded");
            }
            if errors.is_empty() {
                tracing::info!(target: RELOAD, "the configuration is reloaded");
            }
            self.app.condition().reloaded(errors);
            manager::ready();
        }
    }

    /// Serves `config` from now on.
    ///
    /// # Errors
    ///
    /// Everything for which it cannot; then nothing has changed.
    async fn reload(&mut self, config: Config) -> Result<(), Vec<String>> {
        let changes = needs_restart(&self.config, &config);
        if !changes.is_empty() {
            return Err(changes);
        }
        let config = Arc::new(config);
        let (app, settings) = (self.app.clone(), config.clone());
        // It reads certificates, and this thread accepts connections.
        let renewed = spawn_blocking(move || app.renewed(&settings)).await;
        let renewed = renewed.map_err(|why| vec![why.to_string()])?;
        self.app = Arc::new(renewed.map_err(|why| vec![why.to_string()])?);
        let (before, after) = (self.config.limits, config.limits);
        self.door.resize(before.max_connections, after.max_connections);
        resize(&self.requests, before.max_requests, after.max_requests);
        self.config = config;
        for (switch, server) in self.switches.iter().zip(self.servers()) {
            switch.replace(server);
        }
        Ok(())
    }

    /// From now on it is not ready for new clients. Returns when it is to accept no more of them: after the
    /// delay of the configuration, and when nobody asks whether it is ready, once no request has run for a
    /// quarter of a second. Who asks may send a request at any time until they have believed the answer.
    /// With `are_closed` sockets, those that were just accepted have a moment to send their requests.
    pub(super) async fn drain(&self, are_closed: bool) {
        self.app.condition().drain();
        let limits = self.config.limits;
        if are_closed {
            tokio::time::sleep(LAST_ACCEPTED.min(limits.drain_delay)).await;
        } else if self.app.condition().is_watched() {
            return tokio::time::sleep(limits.drain_delay).await;
        }
        let idle = async {
            let mut quiet = 0;
            while quiet < QUIET {
                tokio::time::sleep(LOOK).await;
                let runs = self.requests.available_permits() < limits.max_requests;
                quiet = if runs { 0 } else { quiet + 1 };
            }
        };
        let _ = tokio::time::timeout(limits.drain_delay, idle).await;
    }

    pub(super) fn time_to_drain(&self) -> Duration {
        self.config.limits.drain_timeout
    }
}
