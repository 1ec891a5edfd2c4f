//! Connections beyond the limit: told so and closed, unless they ask after our health.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt;
use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::begun::Begun;
use super::connection::Server;
use super::strangers::Strangers;
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::telemetry::metrics;

/// How many are answered at a time.
const AT_A_TIME: usize = 512;

/// Time to answer one. Closed with its request unread, it might never see the answer.
const TIME: Duration = Duration::from_millis(500);

/// Time for the first bytes of a request that asks after our health: an orchestrator that hears nothing
/// ends the process, and all that it serves.
const FIRST_BYTES: Duration = Duration::from_millis(150);

/// Time to answer one that does.
const HEALTH_TIME: Duration = Duration::from_secs(2);

/// How a connection begins that may ask after our health. Over HTTP/2, the path comes later and not in plain
/// text.
const HEALTH: [&[u8]; 5] =
    [b"GET /healthz", b"GET /readyz", b"HEAD /healthz", b"HEAD /readyz", b"PRI * HTTP/2.0"];

/// So many bytes tell.
const ENOUGH: usize = 14;

/// What of a request is read at most, in bytes.
const UNREAD: u64 = 64 * 1024;

/// Answers clients for which there is no place.
#[derive(Clone, Debug)]
pub(super) struct Refuse {
    places: Arc<Semaphore>,
    /// Those that have one, none of which is known.
    strangers: Strangers,
    answer: Arc<[u8]>,
}

impl Refuse {
    pub(super) async fn new() -> Self {
        let response = ApiError::overloaded().response(Protocol::Chat);
        let answer = wire(response).await.into();
        let places = Arc::new(Semaphore::new(AT_A_TIME));
        Self { places, strangers: Strangers::default(), answer }
    }

    /// Answers in a task of its own: one that may ask after our health as `server` does, any other without
    /// waiting for its request. When all are busy, the one that came first goes: those who come to keep
    /// others out must not keep out health checks, which take no time.
    pub(super) fn connection(&self, stream: TcpStream, server: &Arc<Server>) {
        let (refuse, server) = (self.clone(), server.clone());
        let mut place = Box::pin(self.places.clone().acquire_owned());
        let has_place = unconstrained(place.as_mut()).now_or_never();
        if has_place.is_none() && !self.strangers.send_one_away() {
            return metrics::shed("connections");
        }
        tokio::spawn(async move {
            let place = match has_place {
                Some(place) => place.ok(),
                None => timeout(TIME, place).await.ok().and_then(Result::ok),
            };
            let stranger = refuse.strangers.arrived();
            let answered = refuse.answer(stream, server);
            let answered = async {
                if place.is_some() {
                    answered.await
                }
            };
            if stranger.end.run_until_cancelled(answered).await.is_none() {
                metrics::shed("connections");
            }
        });
    }

    async fn answer(&self, stream: TcpStream, server: Arc<Server>) {
        let mut stream = Begun::new(stream);
        if !matches!(timeout(FIRST_BYTES, server.peer(&mut stream)).await, Ok(Ok(_))) {
            return metrics::shed("connections");
        }
        let Some(tls) = &server.tls else { return self.answer_first(stream, server).await };
        // In plain text, it would be no answer.
        match timeout(TIME, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => self.answer_first(Begun::new(stream), server.clone()).await,
            _ => metrics::shed("connections"),
        }
    }

    async fn answer_first<S>(&self, mut stream: Begun<S>, server: Arc<Server>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let first = timeout(FIRST_BYTES, stream.first(ENOUGH)).await;
        if matches!(first, Ok(Ok(first)) if may_ask_after_health(first)) {
            let _ = timeout(HEALTH_TIME, server.serve_health(stream)).await;
        } else {
            metrics::shed("connections");
            // Whether the client received it makes no difference.
            let _ = timeout(TIME, refuse(stream, &self.answer)).await;
        }
    }
}

fn may_ask_after_health(first: &[u8]) -> bool {
    HEALTH.iter().any(|begin| first.starts_with(begin))
}

async fn refuse<S>(mut stream: Begun<S>, answer: &[u8]) -> io::Result<u64>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await
}

/// A response as HTTP/1.1 has it; the connection ends with it.
async fn wire(response: Response<Body>) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut wire = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        wire.extend_from_slice(name.as_str().as_bytes());
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
    let end = format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    wire.extend_from_slice(end.as_bytes());
    wire.extend_from_slice(&body);
    wire
}
