//! The span of a request, and its count.
//!
//! [`front`](crate::edge::front) begins a span for each request to a path for clients, also for those that
//! are refused for their key. The span lasts as long as the answer does. Of the headers it shows those that
//! the configuration asks for, and none that may hold a secret or name a session. Requests are counted by the
//! path as it is configured, so that no client makes a new series.

use affinity_layer::{Rejection, headers::MODEL_HEADER};
use http::{HeaderName, Request, Response, StatusCode};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::config::SpanAttributes;
use crate::extensions::Arrived;
use crate::telemetry::metrics::Answers;
use crate::telemetry::{context, metrics};

/// Traces and counts requests of the API.
#[derive(Debug)]
pub(crate) struct Observer {
    attributes: SpanAttributes,
    /// Headers that no span shows.
    hidden: Vec<HeaderName>,
    answers: Answers,
}

impl Observer {
    /// Spans get `attributes`, without the headers `hidden`, and answers are counted by `paths`.
    pub(crate) fn new(
        attributes: SpanAttributes,
        hidden: Vec<HeaderName>,
        paths: impl IntoIterator<Item = String>,
    ) -> Self {
        Self { attributes, hidden, answers: Answers::new(paths) }
    }

    /// Begins with a request for `path`.
    pub(crate) fn begin<'a, B>(&'a self, path: &'a str, request: &mut Request<B>) -> Observed<'a> {
        let span = self.span(request, path);
        request.extensions_mut().insert(Arrived(Instant::now()));
        Observed { observer: self, path, span }
    }

    /// A span that lasts as long as any below it, so until the provider's answer has ended.
    fn span<B>(&self, request: &Request<B>, path: &str) -> Span {
        let span = tracing::debug_span!(
            "request",
            otel.kind = "server",
            otel.name = Empty,
            otel.status_code = Empty,
            http.request.method = request.method().as_str(),
            http.route = path,
            http.response.status_code = Empty,
            url.path = request.uri().path(),
            gen_ai.request.model = Empty,
            gen_ai.response.model = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        context::continue_from(request.headers(), &span);
        span.record("otel.name", format!("{} {path}", request.method()));
        for (name, value) in &self.attributes.fixed {
            span.set_attribute(name.clone(), value.clone());
        }
        // After the fixed ones, which a header replaces.
        for (name, value) in request.headers() {
            let prefixes = self.attributes.header_prefixes.iter();
            let rest =
                prefixes.filter_map(|prefix| name.as_str().strip_prefix(prefix.as_str())).next();
            if let (Some(rest), Ok(value)) = (rest.filter(|_| self.may_show(name)), value.to_str())
            {
                span.set_attribute(rest.replace('-', "."), value.to_owned());
            }
        }
        span
    }

    /// Whether a header holds neither a credential nor a session, judging by its name.
    fn may_show(&self, name: &HeaderName) -> bool {
        const TELLING: [&str; 7] =
            ["auth", "cookie", "key", "password", "secret", "session", "token"];
        let has = |word: &&str| name.as_str().contains(*word);
        !self.hidden.contains(name) && !TELLING.iter().any(has)
    }
}

/// A request that is under way.
pub(crate) struct Observed<'a> {
    observer: &'a Observer,
    path: &'a str,
    span: Span,
}

impl Observed<'_> {
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Tells what came of it.
    pub(crate) fn answered<B>(self, response: &Response<B>) {
        self.observer.answers.count(self.path, response.status());
        if let Some(Rejection::Overloaded) = response.extensions().get() {
            metrics::shed("session_waiters");
        }
        if !self.span.is_disabled() {
            answered(&self.span, response);
        }
    }
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
