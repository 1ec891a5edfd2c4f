//! One request, as its client sees it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::history::{Answer, Ask, How, Told};

/// After this a request counts as broken.
const LIMIT: Duration = Duration::from_secs(10);

const BODY: &[u8] = br#"{"model":"auto","messages":[{"role":"user","content":"hello"}]}"#;

#[derive(Clone, Debug)]
pub(super) struct Client(Pooled<HttpConnector, Full<Bytes>>);

impl Client {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pooled::builder(TokioExecutor::new()).build(connector))
    }

    /// Asks, and gives up after `patience` if that is given.
    pub(super) async fn ask(
        &self,
        replica: SocketAddr,
        session: &str,
        ask: Ask,
        patience: Option<Duration>,
    ) -> Told {
        let limit = patience.unwrap_or(LIMIT);
        match timeout(limit, self.send(replica, session, ask)).await {
            Ok(told) => told.unwrap_or(Told::Broken),
            Err(_) if patience.is_some() => Told::GaveUp,
            Err(_) => Told::Broken,
        }
    }

    async fn send(&self, replica: SocketAddr, session: &str, ask: Ask) -> Option<Told> {
        let mut request = Request::post(format!("http://{replica}/v1/chat/completions"))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-model-affinity", session);
        match ask {
            Ask::Turn => {}
            Ask::Refresh => request = request.header("x-plano-affinity", "refresh"),
            Ask::Final => request = request.header("x-plano-affinity", "final"),
        }
        let request = request.body(Full::new(Bytes::from_static(BODY))).expect("a request");
        let (head, body) = self.0.request(request).await.ok()?.into_parts();
        body.collect().await.ok()?;
        if head.status != http::StatusCode::OK {
            return Some(Told::Refused(head.status.as_u16()));
        }
        Some(Told::Answer(answer(&head.headers)))
    }
}

fn answer(headers: &HeaderMap) -> Answer {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    Answer {
        model: Arc::from(value("x-plano-model")),
        epoch: value("x-plano-epoch").parse().ok(),
        how: How::parse(value("x-plano-affinity")),
        pinned: value("x-plano-pinned") == "true",
    }
}
