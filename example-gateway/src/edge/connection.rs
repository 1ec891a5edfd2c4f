//! One connection of a client, from its first byte to its last.
//!
//! The [door](super::door) starts one task for each connection. A trusted proxy may first name its client
//! ([`begun`](super::begun)), within the time for a head. Then hyper reads and writes HTTP; beside hyper a
//! watch wakes by its own timer, not with each byte, and looks at the [activity](super::activity):
//!
//! 1. A connection that idles, or whose gateway stops, takes no further request, and ends when its last
//!    answer is over.
//! 2. From the signal to stop on, each answer of HTTP/1 asks its client to close. A pool of a load balancer
//!    that closes by itself never sends a request into a connection that we close.
//! 3. A client that is too slow to send a head or to take an answer is cut off.
//! 4. Each request passes the [gate] and the check for [browsers](super::browsers), and takes
//!    one of the places for requests unless its path is for everyone. Without a place it is answered 503
//!    at once: a queue would only turn an overload into timeouts.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Look, Running};
use super::begun::Begun;
use super::browsers::Browsers;
use super::gate;
use super::guarded::{Guarded, Streams};
use super::linger::Lingering;
use super::noting::Noting;
use super::switch::Switch;
use crate::config::{Limits, Tls};
use crate::edge::front::{Access, Endpoint, Front};
use crate::error::ApiError;
use crate::extensions::{Introduction, Peer};
use crate::protocol::Protocol;
use crate::stack::condition::Condition;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::metrics;

/// Requests at a time on an HTTP/2 connection that is only to ask after our health.
const HEALTH_STREAMS: u32 = 4;

/// What was seen of a connection.
enum Seen {
    /// It is to take no further request.
    Closing,
    /// It is over, whatever runs.
    End,
}

/// Which requests are taken on a connection.
#[derive(Clone, Copy, Debug)]
enum Taken {
    All,
    /// Those that ask after our health.
    Health,
}

/// What all connections of a listener have in common.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) front: Front,
    pub(crate) browsers: Browsers,
    pub(crate) limits: Limits,
    pub(crate) http: Builder<Streams>,
    /// Whether each request has a line in the log.
    pub(crate) access_log: bool,
    /// With it, clients shake hands first.
    pub(crate) tls: Option<Tls>,
    /// Whether the gateway is to get no new clients.
    pub(crate) condition: Condition,
    /// Requests under way, those of all listeners.
    pub(crate) requests: Arc<Semaphore>,
    /// No further requests are taken.
    pub(crate) stop: CancellationToken,
    /// Whatever still runs is cut off.
    pub(crate) abandon: CancellationToken,
}

/// hyper, with its limits.
pub(crate) fn http(limits: &Limits) -> Builder<Streams> {
    let mut builder = Builder::new(Streams);
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

/// Serves a connection until it ends, is too slow, or the gateway stops. Its limits are those that `switch`
/// holds now; each request is answered by what it holds then.
pub(super) async fn serve(
    switch: &Arc<Switch<Server>>,
    stream: TcpStream,
    introduction: Option<Introduction>,
) {
    let server = switch.current();
    let activity = Activity::begin();
    let mut stream = Begun::new(stream);
    let peer = timeout(server.limits.header_timeout, server.peer(&mut stream));
    let peer = match server.stop.run_until_cancelled(peer).await {
        Some(Ok(Ok(peer))) => peer,
        ended => {
            return tracing::debug!(?ended, "connection closed: its proxy sent no request");
        }
    };
    let requests = Requests { switch: switch.clone(), activity, peer, introduction };
    let Some(tls) = &server.tls else { return server.exchange(stream, requests).await };
    let shaken = timeout(server.limits.header_timeout, tls.acceptor().accept(stream));
    match server.stop.run_until_cancelled(shaken).await {
        Some(Ok(Ok(stream))) => server.exchange(stream, requests).await,
        ended => tracing::debug!(?ended, "connection closed: no TLS handshake"),
    }
}

/// What belongs to all requests of a connection.
struct Requests {
    switch: Arc<Switch<Server>>,
    activity: Arc<Activity>,
    peer: Option<Peer>,
    introduction: Option<Introduction>,
}

impl Server {
    /// Reads requests and writes answers.
    async fn exchange<S>(&self, stream: S, requests: Requests)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = requests.activity.clone();
        let stream = TokioIo::new(Noting { stream, activity: activity.clone() });
        let service = service_fn(move |mut request: Request<Incoming>| {
            let Requests { switch, activity, peer, introduction } = &requests;
            if let Some(peer) = peer {
                request.extensions_mut().insert(*peer);
            }
            if let Some(introduction) = introduction {
                request.extensions_mut().insert(introduction.clone());
            }
            switch.current().answer(activity.clone(), request, Taken::All)
        });
        let mut connection = pin!(self.http.serve_connection(stream, service).into_owned());
        // It is polled when it has something to report, and not whenever the connection makes progress.
        let mut watch = FuturesUnordered::from_iter([self.watch(&activity, false)]);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "connection ended");
                    }
                    return;
                }
                Some(seen) = watch.next() => match seen {
                    Seen::Closing => {
                        connection.as_mut().graceful_shutdown();
                        watch.push(self.watch(&activity, true));
                    }
                    Seen::End => return,
                },
            }
        }
    }

    /// The address of the client: the peer's, unless that is a trusted proxy which names another before the
    /// bytes of its client, which are next then.
    ///
    /// # Errors
    ///
    /// When a trusted proxy sends neither a header nor a request.
    pub(super) async fn peer(&self, stream: &mut Begun<TcpStream>) -> io::Result<Option<Peer>> {
        let peer = stream.get_ref().peer_addr().ok();
        let client = match peer {
            Some(peer) if self.front.trusts(peer.ip()) => stream.client().await?,
            _ => None,
        };
        Ok(client.or(peer).map(Peer))
    }

    /// Serves requests for our health on a connection for which there is no place, and refuses others, until
    /// the first is answered. The caller limits the time.
    pub(super) async fn serve_health<S>(self: Arc<Self>, stream: Begun<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut http = self.http.clone();
        http.http1().keep_alive(false);
        http.http2().max_concurrent_streams(HEALTH_STREAMS);
        let (activity, answered) = (Activity::begin(), Arc::new(Notify::new()));
        let told = answered.clone();
        let service = service_fn(move |request| {
            let (server, activity, told) = (self.clone(), activity.clone(), told.clone());
            async move {
                let answer = server.answer(activity, request, Taken::Health).await;
                told.notify_one();
                answer
            }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            () = answered.notified() => connection.as_mut().graceful_shutdown(),
        }
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended");
        }
    }

    /// Waits for a reason to close a connection, and with `closing` for one to end it.
    async fn watch(&self, activity: &Activity, closing: bool) -> Seen {
        let mut next = self.limits.header_timeout.min(self.limits.send_timeout);
        loop {
            tokio::select! {
                () = self.abandon.cancelled() => return Seen::End,
                () = self.stop.cancelled(), if !closing => return Seen::Closing,
                () = tokio::time::sleep(next) => match activity.look(&self.limits) {
                    Look::Again(soon) => next = soon,
                    Look::Idle if !closing => return Seen::Closing,
                    Look::Idle => return Seen::End,
                    Look::Slow(why) => {
                        tracing::debug!("connection closed: its client {why}");
                        return Seen::End;
                    }
                },
            }
        }
    }

    /// Lets a request in that its path may see, and says whose requests that path takes.
    fn admit(&self, parts: &mut Parts, taken: Taken) -> Result<Option<Access>, ApiError> {
        let entered = gate::enter(parts, &self.limits).and_then(|()| {
            let access = self.front.endpoint(parts.uri.path()).map(Endpoint::access);
            self.browsers.check(parts, access).map(|()| access)
        });
        let access = entered.inspect_err(|error| metrics::refused(error.code()))?;
        if matches!(taken, Taken::Health) && access != Some(Access::Anywhere) {
            metrics::shed("connections");
            return Err(ApiError::overloaded());
        }
        Ok(access)
    }

    /// A place for a request; one to a path that is not for [clients](Access::Clients) alone needs none.
    fn place(&self, access: Option<Access>) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if matches!(access, Some(Access::Everyone | Access::Anywhere)) {
            return Ok(None);
        }
        self.requests.clone().try_acquire_owned().map(Some).map_err(|_| {
            metrics::shed("requests");
            ApiError::overloaded()
        })
    }

    async fn answer(
        self: Arc<Self>,
        activity: Arc<Activity>,
        request: Request<Incoming>,
        taken: Taken,
    ) -> Result<Response<Guarded<(Running, Option<OwnedSemaphorePermit>)>>, Infallible> {
        let running = Running::begin(&activity);
        let (mut parts, body) = request.into_parts();
        let record = self.access_log.then(|| AccessRecord::begin(&mut parts));
        let body = Lingering::new(&parts, body, &activity);
        let (protocol, is_h2) = (Protocol::of(parts.uri.path()), parts.version == Version::HTTP_2);
        let admitted = self.admit(&mut parts, taken);
        let reader = self.browsers.reader(&parts.headers);
        let refused = |error: ApiError| {
            tracing::debug!(?error, "request refused");
            (error.response(protocol), None)
        };
        let (mut response, place) = match admitted {
            Err(error) => refused(error),
            Ok(access) => match self.browsers.preflight(&parts, reader.as_ref()) {
                Some(allowed) => (allowed, None),
                None => match self.place(access) {
                    Err(error) => refused(error),
                    Ok(place) => {
                        let request = Request::from_parts(parts, Body::new(body));
                        (self.front.answer(request).await, place)
                    }
                },
            },
        };
        self.browsers.share(reader, &mut response);
        if self.condition.is_draining() && !is_h2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(record) = record {
            response = record.follow(response);
        }
        let response = response.map(|body| Guarded::new(body, (running, place)));
        if let Some(untaken) = response.body().untaken() {
            activity.sends(untaken);
        }
        Ok(response)
    }
}
