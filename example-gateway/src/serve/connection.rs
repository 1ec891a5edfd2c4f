//! One connection of a client, from its first byte to its last.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::activity::{Activity, Look, Running};
use super::gate;
use super::noting::Noting;
use crate::config::Limits;
use crate::error::ApiError;
use crate::guarded::Guarded;
use crate::protocol::Protocol;
use crate::telemetry::metrics;

/// Where a request comes from; in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What all connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) router: Router,
    /// Whether requests are told where they come from, as [`Peer`].
    pub(super) tells_peer: bool,
    pub(super) limits: Limits,
    pub(super) http: Builder<TokioExecutor>,
    /// Requests under way, those of all listeners.
    pub(super) requests: Arc<Semaphore>,
    /// No further requests are taken.
    pub(super) stop: CancellationToken,
    /// Whatever still runs is cut off.
    pub(super) abandon: CancellationToken,
}

/// hyper, with its limits.
pub(super) fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder.http1().max_buf_size(limits.header_bytes);
    if limits.header_count != Limits::default().header_count {
        // Any number but hyper's own costs an allocation for each request.
        builder.http1().max_headers(limits.header_count);
    }
    let header_list = u32::try_from(limits.h2_header_bytes).unwrap_or(u32::MAX);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(header_list);
    // A peer that is gone without a word is found out; one with a request under way may be silent.
    builder.http2().keep_alive_interval(limits.idle_timeout);
    builder
}

impl Server {
    /// Serves a connection until it ends, is too slow, or the gateway stops.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) {
        let activity = Activity::begin();
        let peer = if self.tells_peer { stream.peer_addr().ok().map(Peer) } else { None };
        let stream = TokioIo::new(Noting { stream, activity: activity.clone() });
        let requests = (self.clone(), activity.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (server, activity) = requests.clone();
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            server.answer(Running::begin(&activity), request)
        });
        let mut connection = pin!(self.http.serve_connection(stream, service).into_owned());
        let mut look = pin!(tokio::time::sleep(self.limits.header_timeout));
        let mut closing = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "connection ended");
                    }
                    return;
                }
                () = self.abandon.cancelled() => return,
                () = self.stop.cancelled(), if !closing => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = look.as_mut() => {
                    let next = match activity.look(&self.limits) {
                        Look::Again(next) => next,
                        Look::Idle if !closing => {
                            closing = true;
                            connection.as_mut().graceful_shutdown();
                            self.limits.header_timeout
                        }
                        Look::Idle => return,
                        Look::Slow(why) => {
                            tracing::debug!("connection closed: its client {why}");
                            return;
                        }
                    };
                    look.as_mut().reset(Instant::now() + next);
                }
            }
        }
    }

    /// A place for a request that may enter; what asks after our health needs none.
    fn admit(&self, parts: &mut Parts) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        gate::enter(parts, &self.limits).inspect_err(|error| metrics::refused(error.code()))?;
        if matches!(parts.uri.path(), "/healthz" | "/readyz" | "/metrics") {
            return Ok(None);
        }
        self.requests.clone().try_acquire_owned().map(Some).map_err(|_| {
            metrics::shed("requests");
            ApiError::overloaded()
        })
    }

    async fn answer(
        self: Arc<Self>,
        running: Running,
        request: Request<Incoming>,
    ) -> Result<Response<Guarded<Body, (Running, Option<OwnedSemaphorePermit>)>>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let protocol = Protocol::of(parts.uri.path());
        let (response, place) = match self.admit(&mut parts) {
            Ok(place) => {
                let request = Request::from_parts(parts, Body::new(body));
                let Ok(response) = self.router.clone().oneshot(request).await;
                (response, place)
            }
            Err(error) => {
                tracing::debug!(?error, "request refused");
                (error.response(protocol), None)
            }
        };
        Ok(response.map(|body| Guarded::new(body, (running, place))))
    }
}
