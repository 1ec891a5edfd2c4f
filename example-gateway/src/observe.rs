//! The outermost part of the stack: the span of a request, and its count.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use affinity_layer::{
    AFFINITY_HEADERS, AGENT_HEADERS, AGENT_TRAIL_HEADERS, MODEL_HEADER, Rejection,
};
use axum::extract::MatchedPath;
use http::{HeaderName, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::config::SpanAttributes;
use crate::telemetry::metrics::Answers;
use crate::telemetry::{context, metrics};

/// When a request came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) Instant);

/// Layer that applies [`Observe`].
#[derive(Clone, Debug)]
pub(crate) struct ObserveLayer(Arc<Settings>);

#[derive(Debug)]
struct Settings {
    attributes: SpanAttributes,
    answers: Answers,
}

impl ObserveLayer {
    /// Spans get `attributes`, and answers are counted by `paths`.
    pub(crate) fn new(attributes: SpanAttributes, paths: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(Settings { attributes, answers: Answers::new(paths) }))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, settings: self.0.clone() }
    }
}

/// Middleware that traces and counts requests; see the [module docs](self).
#[derive(Clone, Debug)]
pub(crate) struct Observe<S> {
    inner: S,
    settings: Arc<Settings>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Observe<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let path = request.extensions().get::<MatchedPath>().cloned();
        let span = span(&request, path.as_ref(), &self.settings.attributes);
        request.extensions_mut().insert(Arrived(Instant::now()));
        let inner = span.in_scope(|| self.inner.call(request));
        Observed { inner, span, path, settings: self.settings.clone() }
    }
}

pin_project! {
    /// Response future of [`Observe`].
    pub(crate) struct Observed<F> {
        #[pin]
        inner: F,
        span: Span,
        path: Option<MatchedPath>,
        settings: Arc<Settings>,
    }
}

impl<F, B, E> Future for Observed<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        let response = ready!(this.inner.poll(cx))?;
        if let Some(path) = this.path {
            this.settings.answers.count(path.as_str(), response.status());
        }
        if let Some(Rejection::Overloaded) = response.extensions().get() {
            metrics::shed("session_waiters");
        }
        if !this.span.is_disabled() {
            answered(this.span, &response);
        }
        Poll::Ready(Ok(response))
    }
}

/// A span that goes on as long as one of those below it, so until the provider's answer has ended.
fn span<B>(request: &Request<B>, path: Option<&MatchedPath>, attributes: &SpanAttributes) -> Span {
    let span = tracing::debug_span!(
        "request",
        otel.kind = "server",
        otel.name = Empty,
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.route = path.map(MatchedPath::as_str),
        http.response.status_code = Empty,
        url.path = request.uri().path(),
        gen_ai.request.model = Empty,
        gen_ai.response.model = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    context::continue_from(request.headers(), &span);
    let path = path.map_or("", MatchedPath::as_str);
    span.record("otel.name", format!("{} {path}", request.method()));
    for (name, value) in &attributes.fixed {
        span.set_attribute(name.clone(), value.clone());
    }
    // After the fixed ones, which a header replaces.
    for (name, value) in request.headers() {
        let prefixes = attributes.header_prefixes.iter();
        let rest = prefixes.filter_map(|prefix| name.as_str().strip_prefix(prefix.as_str())).next();
        if let (Some(rest), Ok(value)) = (rest.filter(|_| may_be_shown(name)), value.to_str()) {
            span.set_attribute(rest.replace('-', "."), value.to_owned());
        }
    }
    span
}

/// Whether a header holds neither a credential nor a session, as far as its name tells.
fn may_be_shown(name: &HeaderName) -> bool {
    const TELLING: [&str; 7] = ["auth", "cookie", "key", "password", "secret", "session", "token"];
    let session = AFFINITY_HEADERS.contains(name)
        || AGENT_HEADERS.contains(name)
        || AGENT_TRAIL_HEADERS.contains(name);
    let name = name.as_str();
    !session && !TELLING.iter().any(|word| name.contains(word))
}

fn answered<B>(span: &Span, response: &Response<B>) {
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status >= StatusCode::INTERNAL_SERVER_ERROR {
        span.record("otel.status_code", "ERROR");
    }
    if let Some(Ok(model)) = response.headers().get(MODEL_HEADER).map(|model| model.to_str()) {
        span.record("gen_ai.response.model", model);
    }
}
