//! The connections of one thread to one provider.
//!
//! hyper speaks HTTP over them and drives each in a task of the thread that opened it. What is ours is
//! to lend them: the one used last goes first, and comes back when its answer has been read to the end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::ext::NotReached;
use axum::BoxError;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::ServiceExt;

use super::address::Address;
use super::form::{absolute, forwarded, relative};
use crate::body::Outgoing;
use crate::config::ForwardProxy;
use crate::upstream::dial::{Connector, ProxyError, not_reached};

/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);

/// A connection that breaks within this time of a request was being closed when the request was sent.
/// Later, the provider was at work on the request and must not get it twice.
const RACE: Duration = Duration::from_secs(1);

/// Without a frame for this time, a connection of HTTP/2 that a request waits on is pinged.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How long the answer to a ping may take. A connection that has died silently would otherwise take every
/// session's requests until the system gives it up, after a quarter of an hour.
const PONG_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Pool {
    connector: Connector,
    /// Scheme and authority.
    base: Uri,
    /// What all threads know of it.
    address: Arc<Address>,
    /// The proxy that is sent the requests themselves; through a tunnel it does not see them.
    forwarder: Option<Arc<ForwardProxy>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one that was used last comes last.
    idle: VecDeque<(http1::SendRequest<Outgoing>, Instant)>,
    /// One connection of HTTP/2 takes all requests.
    shared: Option<http2::SendRequest<Outgoing>>,
    /// Whether a task closes unused ones.
    is_swept: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection.
    Connect(BoxError, NotReached),
    /// It broke, or what came over it is not HTTP.
    Exchange(hyper::Error),
    /// The same of a connection that was used before: the provider may have closed it at the moment at
    /// which the request was sent.
    Kept(hyper::Error),
}

impl Pool {
    pub(super) fn new(connector: Connector, base: Uri, address: Arc<Address>) -> Self {
        Self { connector, base, address, forwarder: None, kept: Mutex::default() }
    }

    /// The same by way of a proxy that is sent the requests.
    pub(super) fn forwarded_by(self, forwarder: Option<Arc<ForwardProxy>>) -> Self {
        Self { forwarder, ..self }
    }

    /// Sends `request`, whose target is a path, and gives the answer once its head is there.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Lent>, Failure> {
        while let Some(connection) = self.take(request.body()) {
            let sent = Instant::now();
            match self.exchange(connection, request).await {
                Ok(response) => return self.of_provider(response),
                // The provider closed it while it was unused; nothing of the request was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        self.kept().shared = None;
                        request = relative(unsent);
                    }
                    None if error.error().is_parse() || sent.elapsed() >= RACE => {
                        return Err(Failure::Exchange(error.into_error()));
                    }
                    None => {
                        // Others that were kept as long are likely to be gone too.
                        let mut kept = self.kept();
                        kept.idle.clear();
                        kept.shared = None;
                        return Err(Failure::Kept(error.into_error()));
                    }
                },
            }
        }
        // Apart, because it is large, and as a rule not needed.
        let connection = Box::pin(self.connect()).await?;
        let answer = self.exchange(connection, request).await;
        self.of_provider(answer.map_err(|error| Failure::Exchange(error.into_error()))?)
    }

    /// `response`, unless it is the proxy's own.
    fn of_provider(&self, response: Response<Lent>) -> Result<Response<Lent>, Failure> {
        let status = response.status();
        match self.forwarder.as_ref().and_then(|proxy| ProxyError::of(proxy, status)) {
            Some(error) => Err(self.could_not_connect(error.into())),
            None => Ok(response),
        }
    }

    fn could_not_connect(&self, error: BoxError) -> Failure {
        let missing = not_reached(&error);
        self.address.could_not_connect(missing);
        Failure::Connect(error, missing)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is open. What can be sent once gets none that its server may be about to close.
    fn take(&self, body: &Outgoing) -> Option<Connection> {
        let mut kept = self.kept();
        if let Some(shared) = kept.shared.take_if(|shared| !shared.is_closed()) {
            kept.shared = Some(shared.clone());
            return Some(Connection::Http2(shared));
        }
        while !matches!(body, Outgoing::Passing(_))
            && let Some((connection, since)) = kept.idle.pop_back()
        {
            if connection.is_ready() && since.elapsed() < IDLE {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    pub(super) fn give_back(self: &Arc<Self>, connection: http1::SendRequest<Outgoing>) {
        // One that is not ready has ended, or is still sending a request that was answered early.
        if connection.is_ready() {
            let mut kept = self.kept();
            kept.idle.push_back((connection, Instant::now()));
            if !std::mem::replace(&mut kept.is_swept, true) {
                tokio::spawn(sweep(Arc::downgrade(self)));
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let mut stream = pin!(self.connector.clone().oneshot(self.base.clone()));
        let mut unreachable = pin!(self.address.unreachable());
        let stream = poll_fn(|cx| match stream.as_mut().poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.could_not_connect(error))),
            Poll::Ready(Ok(stream)) => Poll::Ready(Ok(stream)),
            // What one request has waited for in vain, the others need not wait for.
            Poll::Pending => unreachable.as_mut().poll(cx).map(|missing| {
                Err(Failure::Connect("another request could not connect".into(), missing))
            }),
        });
        let stream = stream.await?;
        if stream.connected().is_negotiated_h2() {
            let shared = multiplexed(stream).await.map_err(Failure::Exchange)?;
            self.kept().shared = Some(shared.clone());
            return Ok(Connection::Http2(shared));
        }
        // Refused, a folded field would count as a failure of the model, and move the session.
        let mut builder = http1::Builder::new();
        builder.allow_obsolete_multiline_headers_in_responses(true);
        let handshake = builder.handshake(stream).await;
        let (connection, driven) = handshake.map_err(Failure::Exchange)?;
        tokio::spawn(driven);
        Ok(Connection::Http1(connection))
    }

    async fn exchange(
        self: &Arc<Self>,
        connection: Connection,
        request: Request<Outgoing>,
    ) -> Result<Response<Lent>, TrySendError<Request<Outgoing>>> {
        let (response, lender) = match connection {
            Connection::Http1(mut connection) => {
                let request = match &self.forwarder {
                    Some(proxy) => forwarded(&self.base, proxy.authorization(), request),
                    None => request,
                };
                let response = connection.try_send_request(request).await?;
                (response, Some((connection, self.clone())))
            }
            Connection::Http2(mut connection) => {
                let request = absolute(&self.base, request);
                (connection.try_send_request(request).await?, None)
            }
        };
        Ok(response.map(|body| Lent::new(body, lender)))
    }
}

/// A connection of HTTP/2 over `stream`, which ends when it falls silent under a request. Unused, it is
/// not pinged: some providers count pings without a request as abuse.
async fn multiplexed<T>(stream: T) -> hyper::Result<http2::SendRequest<Outgoing>>
where
    T: Read + Write + Send + Unpin + 'static,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN)
        .keep_alive_while_idle(false);
    let (shared, driven) = builder.handshake(stream).await?;
    tokio::spawn(driven);
    Ok(shared)
}

/// Closes connections that were unused for [`IDLE`], until there are none.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE / 3).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.kept();
        kept.idle.retain(|(connection, since)| connection.is_ready() && since.elapsed() < IDLE);
        if kept.idle.is_empty() {
            kept.is_swept = false;
            return;
        }
    }
}

enum Connection {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::SendRequest<Outgoing>),
}

pin_project! {
    /// The body of an answer; with its last byte the connection is free again.
    #[derive(Debug)]
    pub(super) struct Lent {
        #[pin]
        body: Incoming,
        lender: Option<(http1::SendRequest<Outgoing>, Arc<Pool>)>,
    }
}

impl Lent {
    pub(super) fn new(
        body: Incoming,
        lender: Option<(http1::SendRequest<Outgoing>, Arc<Pool>)>,
    ) -> Self {
        let mut lent = Self { body, lender };
        if lent.body.is_end_stream() {
            give_back(&mut lent.lender);
        }
        lent
    }
}

fn give_back(lender: &mut Option<(http1::SendRequest<Outgoing>, Arc<Pool>)>) {
    if let Some((connection, pool)) = lender.take() {
        pool.give_back(connection);
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut this = self.project();
        let polled = this.body.as_mut().poll_frame(cx);
        let is_over = match &polled {
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            Poll::Ready(None) => true,
            _ => false,
        };
        if is_over {
            give_back(this.lender);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional, duplex};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::ForwardProxies;
    use crate::upstream::dial::{CONNECT_TIMEOUT, connector};

    fn pool(base: &str) -> Arc<Pool> {
        let base = base.parse().unwrap();
        let connector = connector([&base].into_iter(), &ForwardProxies::default()).unwrap();
        Arc::new(Pool::new(connector, base, Arc::new(Address::new())))
    }

    /// A pool with a connection of HTTP/2 to a provider that answers each request after `delay`. Once
    /// told to, the provider takes what it is sent and says nothing.
    async fn over_http2(delay: Duration) -> (Arc<Pool>, oneshot::Sender<()>) {
        let (ours, mut near) = duplex(64 * 1024);
        let (mut far, theirs) = duplex(64 * 1024);
        let (silence, silenced) = oneshot::channel();
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                Ok(()) = silenced => while near.read(&mut [0; 1024]).await.unwrap() > 0 {},
            }
        });
        let answer = service_fn(move |_: Request<Incoming>| async move {
            tokio::time::sleep(delay).await;
            Ok::<_, Infallible>(Response::new(Outgoing::default()))
        });
        let builder = server::Builder::new(TokioExecutor::new());
        tokio::spawn(builder.serve_connection(TokioIo::new(theirs), answer));
        let pool = pool("http://provider.example");
        pool.kept().shared = Some(multiplexed(TokioIo::new(ours)).await.unwrap());
        (pool, silence)
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_connection_that_falls_silent_costs_its_request_and_is_left() {
        for unused in [Duration::ZERO, Duration::from_secs(3600)] {
            let (pool, silence) = over_http2(Duration::ZERO).await;
            pool.send(Request::new(Outgoing::default())).await.unwrap();
            tokio::time::sleep(unused).await;
            assert!(pool.take(&Outgoing::default()).is_some(), "unused, it is kept");
            silence.send(()).unwrap();
            let sent = Instant::now();
            let limit = PING_AFTER + PONG_WITHIN + Duration::from_secs(1);
            let answer = tokio::time::timeout(limit, pool.send(Request::new(Outgoing::default())));
            assert!(matches!(answer.await, Ok(Err(Failure::Exchange(_)))), "after {unused:?}");
            assert!(sent.elapsed() >= PONG_WITHIN);
            assert!(
                pool.take(&Outgoing::default()).is_none(),
                "the next request gets a new connection"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_provider_that_answers_pings_is_waited_for() {
        let (pool, _silence) = over_http2(Duration::from_secs(3600)).await;
        let answer = pool.send(Request::new(Outgoing::default())).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(pool.take(&Outgoing::default()).is_some());
    }

    /// An address at which connections are neither made nor refused: its queue is full.
    async fn black_hole() -> (String, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let (address, mut waiting) = (listener.local_addr().unwrap(), Vec::new());
        while let Ok(made) =
            tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await
        {
            waiting.push(made.unwrap());
        }
        (format!("http://{address}"), waiting, listener)
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_in_vain_for_a_connection_wait_once_in_all() {
        let (base, _waiting, _listener) = black_hole().await;
        let pools = [pool(&base), pool(&base)];
        // Two threads have pools of their own for one address.
        let address = Arc::new(Address::new());
        let pools = pools.map(|pool| {
            Arc::new(Pool::new(pool.connector.clone(), pool.base.clone(), address.clone()))
        });
        let began = Instant::now();
        let sent = (0..8).map(|n| {
            let pool = pools[n % 2].clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(500) * u32::try_from(n).unwrap()).await;
                pool.send(Request::new(Outgoing::default())).await
            })
        });
        for sent in sent.collect::<Vec<_>>() {
            assert!(matches!(sent.await.unwrap(), Err(Failure::Connect(_, NotReached::Address))));
        }
        assert_eq!(began.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
    }

    #[tokio::test]
    async fn a_connection_that_nobody_uses_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            stream.read(&mut [0; 1]).await.unwrap()
        });
        let pool = pool(&base);
        pool.send(Request::new(Outgoing::default())).await.unwrap();
        assert_eq!(pool.kept().idle.len(), 1);
        tokio::time::pause();
        tokio::time::sleep(IDLE * 2).await;
        assert!(pool.kept().idle.is_empty() && !pool.kept().is_swept);
        assert_eq!(served.await.unwrap(), 0, "the provider sees its end");
    }
}
