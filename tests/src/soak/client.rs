//! One request, as one of several kinds of client makes it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::stubs::NONCE;

/// What the end of a request was.
#[derive(Debug)]
pub(super) enum End {
    /// Status 200 with the whole body.
    Whole(Pinned),
    Refused,
    Broken,
}

/// Epoch and model of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    pub(super) epoch: Option<u64>,
    pub(super) model: String,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    pool: Pooled<HttpConnector, Full<Bytes>>,
    gateway: SocketAddr,
}

impl Client {
    pub(super) fn new(gateway: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { pool: Pooled::builder(TokioExecutor::new()).build(connector), gateway }
    }

    /// Asks, and reads the answer with a pause before each piece.
    pub(super) async fn ask(&self, session: &str, nonce: u64, pause: Duration) -> End {
        let body = r#"{"model":"auto","messages":[{"role":"user","content":"hello"}]}"#;
        let request = Request::post(format!("http://{}/v1/chat/completions", self.gateway))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-model-affinity", session)
            .header(NONCE, nonce);
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let Ok(response) = self.pool.request(request).await else { return End::Broken };
        let status = response.status();
        let value = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let model = value("x-plano-model").unwrap_or_default().to_owned();
        let pinned =
            Pinned { epoch: value("x-plano-epoch").and_then(|epoch| epoch.parse().ok()), model };
        let mut body = response.into_body();
        while let Some(piece) = body.frame().await {
            if piece.is_err() {
                return End::Broken;
            }
            sleep(pause).await;
        }
        if status == StatusCode::OK { End::Whole(pinned) } else { End::Refused }
    }

    /// Begins a request and falls silent.
    pub(super) async fn fall_silent(&self) {
        if let Ok(mut stream) = TcpStream::connect(self.gateway).await {
            let _ = stream
                .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-")
                .await;
            sleep(Duration::from_secs(1)).await;
        }
    }
}
