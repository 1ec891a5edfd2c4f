//! Connections to providers and routers: direct, or through a proxy that the environment names.
//!
//! ```text
//! https ─▶ TCP or TLS to the proxy ─▶ CONNECT host:port ─▶ TLS to the provider, by HTTP/1.1 or HTTP/2
//! http  ─▶ TCP or TLS to the proxy, which is sent each request with its whole address
//! ```
//!
//! All of it down to the tunnel takes at most [`CONNECT_TIMEOUT`]. What fails is either the proxy or the address
//! behind it, and which of the two decides what cools down:
//!
//! | failure | of |
//! |---|---|
//! | no connection to the proxy, 407, an answer that is not HTTP | the proxy |
//! | any other status, no answer in time | the address: most proxies wait that long for one that is away |

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::ext::NotReached;
use axum::BoxError;
use bytes::Bytes;
use futures_util::future::try_join;
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower::{Service, service_fn};

use crate::config::{ForwardProxies, ForwardProxy};

/// Time for a connection to an upstream, the way through a proxy included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest head of an answer to CONNECT, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Opens connections by http and https.
pub(crate) type Connector = HttpsConnector<Dialer>;

/// Opens what is below TLS.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    direct: HttpConnector,
    /// TLS to the proxy itself is for proxies of `https://`.
    to_proxy: HttpsConnector<HttpConnector>,
    proxies: ForwardProxies,
}

/// A connection that is open.
#[derive(Debug)]
pub(crate) struct Dialed {
    stream: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// At its other end is a proxy that takes requests.
    is_forwarded: bool,
}

/// There is no connection through a proxy.
#[derive(Debug)]
pub(crate) struct ProxyError {
    proxy: Arc<ForwardProxy>,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Unreachable(BoxError),
    NotHttp(hyper::Error),
    /// It sent bytes of its own into the tunnel.
    Chatter,
    Refused(StatusCode),
    Silent,
}

/// A connector to `bases`, for which the system's certificates are read if TLS is needed.
///
/// # Errors
///
/// When they cannot be read.
pub(crate) fn connector<'a>(
    mut bases: impl Iterator<Item = &'a Uri>,
    proxies: &ForwardProxies,
) -> io::Result<Connector> {
    let is_https = |uri: &Uri| uri.scheme() == Some(&Scheme::HTTPS);
    let use_tls = bases
        .any(|base| is_https(base) || proxies.of(base).is_some_and(|proxy| is_https(proxy.uri())));
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    // Reading the system's certificates takes time, so it is skipped if they are not needed.
    let config = match use_tls {
        true => config.with_native_roots()?,
        false => config.with_root_certificates(RootCertStore::empty()),
    };
    let config = config.with_no_client_auth();
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    direct.set_nodelay(true);
    direct.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let over_tls = || HttpsConnectorBuilder::new().with_tls_config(config.clone()).https_or_http();
    // CONNECT is asked for by HTTP/1.1.
    let to_proxy = over_tls().enable_http1().wrap_connector(direct.clone());
    let dialer = Dialer { direct, to_proxy, proxies: proxies.clone() };
    Ok(over_tls().enable_all_versions().wrap_connector(dialer))
}

/// A client for the router at `base`.
pub(crate) fn client(
    connector: &Connector,
    proxies: &ForwardProxies,
    base: &Uri,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ use<> {
    let forwarder = proxies.forwarder(base).cloned();
    // Without a timer idle connections are never closed.
    let mut builder = Client::builder(TokioExecutor::new());
    let client = builder.pool_timer(TokioTimer::new()).build(connector.clone());
    service_fn(move |mut request: Request<Full<Bytes>>| {
        let (client, forwarder) = (client.clone(), forwarder.clone());
        async move {
            if let Some(key) = forwarder.as_ref().and_then(|proxy| proxy.authorization()) {
                request.headers_mut().insert(header::PROXY_AUTHORIZATION, key.clone());
            }
            let response = client.request(request).await?;
            match forwarder.and_then(|proxy| ProxyError::of(&proxy, response.status())) {
                Some(error) => Err(error.into()),
                None => Ok(response),
            }
        }
    })
}

/// What a failed call of a [`Connector`] did not reach.
pub(crate) fn not_reached(error: &BoxError) -> NotReached {
    match error.downcast_ref() {
        Some(ProxyError { fault, .. }) => match fault {
            Fault::Unreachable(_) | Fault::NotHttp(_) | Fault::Chatter => NotReached::Proxy,
            Fault::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => NotReached::Proxy,
            Fault::Refused(_) | Fault::Silent => NotReached::Address,
        },
        None => NotReached::Address,
    }
}

impl ProxyError {
    /// Whether an answer to a request that went through `proxy` is the proxy's own: one by its status alone.
    pub(crate) fn of(proxy: &Arc<ForwardProxy>, status: StatusCode) -> Option<Self> {
        let is_own = status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        is_own.then(|| Self { proxy: proxy.clone(), fault: Fault::Refused(status) })
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proxy, fault } = self;
        match fault {
            Fault::Unreachable(_) => write!(f, "no connection to the proxy {proxy}"),
            Fault::NotHttp(_) => write!(f, "the proxy {proxy} did not answer by HTTP"),
            Fault::Chatter => write!(f, "the proxy {proxy} sent bytes into the tunnel"),
            Fault::Refused(status) => write!(f, "the proxy {proxy} answered {status}"),
            Fault::Silent => write!(f, "the proxy {proxy} did not connect in time"),
        }
    }
}

impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Unreachable(error) => Some(&**error),
            Fault::NotHttp(error) => Some(error),
            Fault::Chatter | Fault::Refused(_) | Fault::Silent => None,
        }
    }
}

impl Service<Uri> for Dialer {
    type Response = Dialed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Dialed, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Both connectors are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.of(&to).cloned() else {
            let connecting = self.direct.call(to);
            return Box::pin(async move {
                let stream = MaybeHttpsStream::Http(connecting.await?);
                Ok(Dialed { stream, is_forwarded: false })
            });
        };
        let connecting = self.to_proxy.call(proxy.uri().clone());
        Box::pin(async move {
            let through = through(&proxy, connecting, &to).await;
            through.map_err(|fault| ProxyError { proxy, fault }.into())
        })
    }
}

/// A way through `proxy` to `to`.
async fn through(
    proxy: &ForwardProxy,
    connecting: impl Future<Output = Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>>,
    to: &Uri,
) -> Result<Dialed, Fault> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let connected = timeout_at(deadline, connecting).await;
    let stream = connected.unwrap_or_else(|late| Err(late.into())).map_err(Fault::Unreachable)?;
    if to.scheme() != Some(&Scheme::HTTPS) {
        return Ok(Dialed { stream, is_forwarded: true });
    }
    let tunnel = timeout_at(deadline, tunnel(proxy, stream, to)).await;
    let stream = tunnel.unwrap_or(Err(Fault::Silent))?;
    Ok(Dialed { stream, is_forwarded: false })
}

/// Has the proxy at the other end of `stream` connect to `to`.
async fn tunnel<T>(proxy: &ForwardProxy, stream: T, to: &Uri) -> Result<T, Fault>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let authority = format!("{}:{}", to.host().unwrap_or_default(), to.port_u16().unwrap_or(443));
    let mut request = Request::connect(&*authority).header(header::HOST, &*authority);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    // The host of an address that was read makes a request, always.
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Fault::Unreachable(error.into()))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD);
    let (mut sender, connection) = builder.handshake(stream).await.map_err(Fault::NotHttp)?;
    let opened = async {
        let status = sender.send_request(request).await.map_err(Fault::NotHttp)?.status();
        // hyper hands over no stream after a 204, which no proxy sends.
        let is_open = status.is_success() && status != StatusCode::NO_CONTENT;
        if is_open { Ok(()) } else { Err(Fault::Refused(status)) }
    };
    // It ends with the head that opens the tunnel, and the stream is ours again.
    let connection = async { connection.without_shutdown().await.map_err(Fault::NotHttp) };
    let ((), parts) = try_join(opened, connection).await?;
    // In TLS the client speaks first.
    if parts.read_buf.is_empty() { Ok(parts.io) } else { Err(Fault::Chatter) }
}

impl Connection for Dialed {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.is_forwarded)
    }
}

impl Read for Dialed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Dialed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A dialer whose proxy answers CONNECT with `answer`, and then says nothing or hangs up.
    async fn behind(answer: Vec<u8>, hangs_up: bool) -> Dialer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            // It may be left before it has said everything.
            let _ = stream.write_all(&answer).await;
            if !hangs_up {
                std::future::pending::<()>().await;
            }
        });
        dialer(&proxy)
    }

    fn dialer(proxy: &str) -> Dialer {
        let proxies = ForwardProxies::of_variables(&[("https_proxy", proxy)]);
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let to_proxy = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
        let to_proxy = to_proxy.enable_http1().wrap_connector(direct.clone());
        Dialer { direct, to_proxy, proxies }
    }

    async fn dial(mut dialer: Dialer) -> Result<Dialed, (NotReached, String)> {
        let dialed = dialer.call(Uri::from_static("https://far.invalid")).await;
        dialed.map_err(|error| (not_reached(&error), error.to_string()))
    }

    #[tokio::test]
    async fn what_a_proxy_answers_says_who_has_failed() {
        use NotReached::{Address, Proxy};
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(MAX_HEAD)].concat();
        let long = [b"HTTP/1.1 200 ".to_vec(), b"x".repeat(1 << 20)].concat();
        for (answer, missing, said) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], Proxy, "answered 407"),
            (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\nsorry", Address, "answered 403"),
            (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", Address, "answered 502"),
            (b"HTTP/1.1 301 Moved\r\nlocation: http://evil\r\n\r\n", Address, "answered 301"),
            (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n", Address, "answered 101"),
            (b"HTTP/1.1 204 No Content\r\n\r\n", Address, "answered 204"),
            (b"SSH-2.0-OpenSSH\r\n\r\n", Proxy, "did not answer by HTTP"),
            (b"\x05\xff", Proxy, "did not answer by HTTP"),
            (b"", Proxy, "did not answer by HTTP"),
            (b"HTTP/1.1 200 OK\r\nx: y", Proxy, "did not answer by HTTP"),
            (&endless, Proxy, "did not answer by HTTP"),
            (&long, Proxy, "did not answer by HTTP"),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", Proxy, "sent bytes into the tunnel"),
        ] {
            let failed = dial(behind(answer.to_vec(), true).await).await.unwrap_err();
            let shown = String::from_utf8_lossy(answer.get(..40).unwrap_or(answer)).into_owned();
            assert_eq!(failed.0, missing, "{shown}: {}", failed.1);
            assert!(failed.1.contains(said), "{shown}: {}", failed.1);
        }
        for answer in [
            &b"HTTP/1.1 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.0 200 OK\r\nproxy-agent: tinyproxy\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let dialed = dial(behind(answer.to_vec(), false).await).await;
            let shown = String::from_utf8_lossy(answer);
            let dialed = dialed.unwrap_or_else(|failed| panic!("{shown}: {}", failed.1));
            assert!(!dialed.is_forwarded, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_proxy_that_is_not_there_has_failed_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = listener.local_addr().unwrap().to_string();
        drop(listener);
        let (missing, said) = dial(dialer(&proxy)).await.unwrap_err();
        assert_eq!(missing, NotReached::Proxy);
        assert_eq!(said, format!("no connection to the proxy http://{proxy} (https_proxy)"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_connection_covers_the_tunnel() {
        let began = Instant::now();
        let (missing, said) = dial(behind(Vec::new(), false).await).await.unwrap_err();
        assert_eq!((missing, began.elapsed().as_secs()), (NotReached::Address, 5));
        assert!(said.contains("did not connect in time"), "{said}");
    }
}
