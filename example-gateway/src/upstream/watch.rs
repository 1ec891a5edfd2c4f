//! The record of one call of a provider: its span, its count, and its answer's first byte.
//!
//! The [proxy](super::proxy) begins one for each attempt, so that a request that fails over has a span for
//! each provider that was asked. The span ends with the answer's body and not with its head.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use affinity_layer::ext::PassingFailure;
use affinity_layer::store::NameSecret;
use affinity_layer::{ModelName, PinnedModel};
use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use crate::config::Provider;
use crate::error::ApiError;
use crate::extensions::Arrived;
use crate::telemetry::access::AccessNote;
use crate::telemetry::metrics::Upstream;

/// A call that is under way.
pub(crate) struct Call {
    span: Span,
    first_byte: FirstByte,
}

/// A first byte that is waited for.
struct FirstByte {
    counts: Arc<Upstream>,
    pinned: bool,
    since: Instant,
}

impl Call {
    pub(crate) fn begin<B>(
        model: &ModelName,
        provider: &Provider,
        counts: Arc<Upstream>,
        request: &Request<B>,
        client: &Extensions,
        conversations: &NameSecret,
    ) -> Self {
        let pinned = client.get().is_some_and(PinnedModel::is_pinned);
        let since = client.get().map_or_else(Instant::now, |Arrived(since)| *since);
        if let Some(note) = client.get::<AccessNote>() {
            note.provider(provider.prefix());
        }
        let first_byte = FirstByte { counts, pinned, since };
        let span = span(model, provider, request);
        if let Some(key) = client.get().and_then(PinnedModel::key)
            && !span.is_disabled()
        {
            span.record("gen_ai.conversation.id", conversations.hash(key));
        }
        Self { span, first_byte }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Records how it went, and continues with the body of the answer.
    pub(crate) fn answered<B>(
        self,
        answer: Result<Response<B>, ApiError>,
    ) -> Result<Response<Watched<B>>, ApiError> {
        match answer {
            Ok(response) => {
                let status = response.status();
                self.first_byte.counts.answered(status.as_str());
                self.span.record("http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    failed(&self.span, status.as_str());
                } else if response.extensions().get::<PassingFailure>().is_some() {
                    failed(&self.span, "upstream_error");
                }
                let (span, awaited) = (self.span, Some(self.first_byte));
                Ok(response.map(|inner| Watched { inner, span, awaited }))
            }
            Err(error) => {
                self.first_byte.counts.answered(error.code());
                failed(&self.span, error.code());
                Err(error)
            }
        }
    }
}

/// The span of a call; it ends with the body of the answer.
fn span<B>(model: &ModelName, provider: &Provider, request: &Request<B>) -> Span {
    let operation = operation(request.uri().path());
    let span = tracing::debug_span!(
        "upstream",
        otel.kind = "client",
        otel.name = Empty,
        otel.status_code = Empty,
        error.type = Empty,
        gen_ai.conversation.id = Empty,
        gen_ai.operation.name = operation,
        gen_ai.provider.name = provider.prefix(),
        gen_ai.request.model = provider.upstream_id(model),
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        server.address = provider.base_url.host(),
        server.port = provider.base_url.port_u16(),
        url.path = request.uri().path(),
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{operation} {}", provider.upstream_id(model)));
    }
    span
}

/// What is asked for, as the conventions for generative AI call it.
fn operation(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("embeddings") => "embeddings",
        Some("completions") if !path.ends_with("chat/completions") => "text_completion",
        _ => "chat",
    }
}

fn failed(span: &Span, why: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", why);
}

pin_project! {
    /// A body that is passed on as it is.
    pub(crate) struct Watched<B> {
        #[pin]
        inner: B,
        span: Span,
        awaited: Option<FirstByte>,
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {
                if let Some(FirstByte { counts, pinned, since }) = this.awaited.take() {
                    counts.first_byte(pinned, since.elapsed());
                }
            }
            Some(Err(_)) => failed(this.span, "upstream_error"),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
