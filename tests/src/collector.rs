//! An OTLP collector that keeps what it is sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;

use crate::until;

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Its kind, such as `Server`.
    pub kind: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id, in hexadecimal digits.
    pub id: String,
    /// The id of its parent; empty for the first of a trace.
    pub parent: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it reports an error.
    pub failed: bool,
    /// The service that it is from.
    pub service: String,
    /// Beginning and end, in nanoseconds since 1970.
    pub time: (u64, u64),
}

impl Span {
    /// An attribute; empty if it is not there.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

type Spans = Arc<Mutex<Vec<Span>>>;

/// A server for OTLP over gRPC on a free port of the loopback; it ends when this is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    _task: JoinSet<()>,
}

impl Collector {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let spans = Spans::default();
        let service = TraceServiceServer::new(Keeping(spans.clone()));
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut task = JoinSet::new();
        task.spawn(async move { serving.await.expect("it serves") });
        Self { address, spans, _task: task }
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far, in the order in which they began.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.spans.lock().expect("no panic").clone();
        spans.sort_by_key(|span| span.time.0);
        spans
    }

    /// The spans whose names begin so.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Span> {
        let spans = self.spans().into_iter();
        spans.filter(|span| span.name.starts_with(name)).collect()
    }

    /// Waits until there are `count` spans whose names begin so.
    pub async fn wait(&self, name: &str, count: usize) -> Vec<Span> {
        until(async || self.named(name).len() >= count).await;
        self.named(name)
    }
}

struct Keeping(Spans);

#[tonic::async_trait]
impl TraceService for Keeping {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut kept = self.0.lock().expect("no panic");
        for resource in request.into_inner().resource_spans {
            let about = resource.resource.map(|about| texts(about.attributes)).unwrap_or_default();
            let service = about.get("service.name").cloned().unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                kept.push(Span {
                    kind: format!("{:?}", SpanKind::try_from(span.kind).expect("a kind")),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    attributes: texts(span.attributes),
                    failed: span.status.is_some_and(|status| status.code == 2),
                    service: service.clone(),
                    time: (span.start_time_unix_nano, span.end_time_unix_nano),
                    name: span.name,
                });
            }
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: AnyValue| match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = attributes.into_iter().filter_map(|pair| Some((pair.key, text(pair.value?))));
    pairs.collect()
}
