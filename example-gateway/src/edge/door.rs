//! Accepts connections and passes them to the threads that serve them.
//!
//! One [`Door`] serves all listeners for clients, so that its limit holds for them together; the admin
//! listener has one with places of its own, which an overload does not take. A connection without a place is
//! [refused](super::refuse), with an answer where possible, and not left to time out in the backlog. When the
//! system has no file descriptors left, accepting pauses and goes on; a listener never ends by an error.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::unconstrained;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Server};
use super::places::resize;
use super::refuse::Refuse;
use super::strangers::Strangers;
use super::switch::Switch;
use super::workers::Workers;

/// Pause after a failed accept: out of file descriptors, trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for a connection that has to give way to be gone.
const GIVES_WAY: Duration = Duration::from_secs(1);

/// Where connections come in, on whichever listener.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    connections: Arc<Semaphore>,
    refuse: Refuse,
    tasks: TaskTracker,
    workers: Arc<Workers>,
    /// Where those who show no token give way to others.
    strangers: Option<Strangers>,
}

impl Door {
    /// A door with as many `places` for connections, which `workers` serve.
    pub(crate) async fn new(places: usize, workers: Arc<Workers>) -> Self {
        let connections = Arc::new(Semaphore::new(places));
        let (refuse, tasks) = (Refuse::new().await, TaskTracker::new());
        Self { connections, refuse, tasks, workers, strangers: None }
    }

    /// Waits until no connection is left. No listener may accept any more.
    pub(crate) async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The same with as many places of its own, where those who show no token give way to others.
    pub(crate) fn apart(&self, places: usize) -> Self {
        let connections = Arc::new(Semaphore::new(places));
        Self { connections, strangers: Some(Strangers::default()), ..self.clone() }
    }

    /// Gives it `to` places instead of `from`.
    pub(crate) fn resize(&self, from: usize, to: usize) {
        resize(&self.connections, from, to);
    }

    /// Accepts until `stop` is cancelled; each connection is served by what `switch` holds then.
    pub(crate) async fn accept(
        self,
        socket: TcpListener,
        switch: Arc<Switch<Server>>,
        stop: CancellationToken,
    ) {
        let mut exhausted = false;
        while let Some(accepted) = stop.run_until_cancelled(socket.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    if std::mem::take(&mut exhausted) {
                        tracing::info!("connections are accepted again");
                    }
                    self.enter(stream, &switch);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    // Reported once: this may last as long as others hold their connections.
                    if !std::mem::replace(&mut exhausted, true) {
                        tracing::warn!(%error, "connections cannot be accepted for now");
                    }
                    stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        // Clients that wait to be accepted would be reset with the socket.
        while let Some(Ok((stream, _))) = unconstrained(socket.accept()).now_or_never() {
            self.enter(stream, &switch);
        }
    }

    fn enter(&self, stream: TcpStream, switch: &Arc<Switch<Server>>) {
        let mut place = Box::pin(self.connections.clone().acquire_owned());
        // Polled here, so that places go to those who wait in the order in which they came.
        // The budget of this task, which accepts, is nothing to go by.
        if let Some(Ok(place)) = unconstrained(place.as_mut()).now_or_never() {
            return self.serve(stream, switch, place);
        }
        if !self.strangers.as_ref().is_some_and(Strangers::send_one_away) {
            return self.refuse.connection(stream, &switch.current());
        }
        let (door, switch) = (self.clone(), switch.clone());
        self.tasks.spawn(async move {
            match tokio::time::timeout(GIVES_WAY, place).await {
                Ok(Ok(place)) => door.serve(stream, &switch, place),
                _ => door.refuse.connection(stream, &switch.current()),
            }
        });
    }

    fn serve(&self, stream: TcpStream, switch: &Arc<Switch<Server>>, place: OwnedSemaphorePermit) {
        // Without it a stream of small writes waits for the client's delayed acknowledgements.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let Some(worker) = self.workers.least_busy() else { return };
        let (switch, runtime) = (switch.clone(), worker.runtime.clone());
        let stranger = self.strangers.as_ref().map(Strangers::arrived);
        let served = async move {
            // A socket belongs to the runtime in which it was made.
            match stream.into_std().and_then(TcpStream::from_std) {
                Ok(stream) => match stranger {
                    None => connection::serve(&switch, stream, None).await,
                    Some(stranger) => {
                        let introduction = stranger.introduction.clone();
                        let served = connection::serve(&switch, stream, Some(introduction));
                        stranger.end.run_until_cancelled(served).await.unwrap_or_default();
                    }
                },
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
