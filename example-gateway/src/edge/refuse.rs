//! Connections beyond the limit: told so and closed, unless they ask after our health.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::connection::Server;
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::telemetry::metrics;

/// How many are answered at a time; the others are closed without an answer.
const AT_A_TIME: usize = 512;

/// Time to answer one. Closed with its request unread, it might never see the answer.
const TIME: Duration = Duration::from_millis(500);

/// Time for the first bytes of a request that asks after our health: an orchestrator that hears nothing
/// ends the process, and all that it serves.
const FIRST_BYTES: Duration = Duration::from_millis(150);

/// Time to answer one that does.
const HEALTH_TIME: Duration = Duration::from_secs(2);

/// How a request that asks after our health begins.
const HEALTH: [&[u8]; 4] = [b"GET /healthz", b"GET /readyz", b"HEAD /healthz", b"HEAD /readyz"];

/// What of a request is read at most, in bytes.
const UNREAD: u64 = 64 * 1024;

/// Answers clients for which there is no place.
#[derive(Clone, Debug)]
pub(super) struct Refuse {
    places: Arc<Semaphore>,
    answer: Arc<[u8]>,
}

impl Refuse {
    pub(super) async fn new() -> Self {
        let response = ApiError::overloaded().response(Protocol::Chat);
        let answer = wire(response).await.into();
        Self { places: Arc::new(Semaphore::new(AT_A_TIME)), answer }
    }

    /// Answers in a task of its own: one that asks after our health as `server` does, any other without
    /// waiting for its request.
    pub(super) fn connection(&self, stream: TcpStream, server: &Arc<Server>) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return metrics::shed("connections");
        };
        let (answer, server) = (self.answer.clone(), server.clone());
        tokio::spawn(async move {
            if asks_after_health(&stream).await {
                let _ = tokio::time::timeout(HEALTH_TIME, server.serve_once(stream)).await;
            } else {
                metrics::shed("connections");
                // Whether the client received it makes no difference.
                let _ = tokio::time::timeout(TIME, refuse(stream, &answer)).await;
            }
            drop(place);
        });
    }
}

async fn asks_after_health(stream: &TcpStream) -> bool {
    let mut head = [0; 16];
    let first = tokio::time::timeout(FIRST_BYTES, stream.peek(&mut head)).await;
    let Ok(Ok(length)) = first else { return false };
    let head = head.get(..length).unwrap_or_default();
    HEALTH.iter().any(|begin| head.starts_with(begin))
}

async fn refuse(mut stream: TcpStream, answer: &[u8]) -> io::Result<u64> {
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
