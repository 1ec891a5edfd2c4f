//! Connections beyond the limit: answered at once, and closed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::protocol::Protocol;

/// How many are answered at a time; the others are closed without an answer.
const AT_A_TIME: usize = 64;

/// Time to answer one. Closed with its request unread, it might never see the answer.
const TIME: Duration = Duration::from_millis(500);

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

    /// Answers without waiting for the request, in a task of its own.
    pub(super) fn connection(&self, mut stream: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        let answer = self.answer.clone();
        let told = async move {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            tokio::io::copy(&mut stream.take(UNREAD), &mut tokio::io::sink()).await
        };
        tokio::spawn(async move {
            // Whether it was heard makes no difference.
            let _ = tokio::time::timeout(TIME, told).await;
            drop(place);
        });
    }
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
