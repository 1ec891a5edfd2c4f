//! W3C Trace Context: traces that begin at a client continue here and beyond.
//!
//! The layer and the router know spans and no headers. So the context is taken from the client's headers
//! where a request comes in, and written to those of each call to a router or a provider.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Makes the caller's span in `headers` the parent of `span`, which must not have been entered yet.
pub(crate) fn continue_from(headers: &HeaderMap, span: &Span) {
    let parent = caller(headers);
    if parent.span().span_context().is_valid() {
        // It fails where nothing is exported; then there is nothing to be a parent of.
        let _ = span.set_parent(parent);
    }
}

/// Puts the current span into `headers` of a call. Without one, what the client sent stays unchanged.
pub(crate) fn pass_on(headers: &mut HeaderMap) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Writer(headers));
    }
}

/// The id of the trace that a request belongs to: the caller's, else our own, if there is one.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<String> {
    [caller(headers), Span::current().context()].iter().find_map(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    })
}

fn caller(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(headers))
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Writer<'a>(&'a mut HeaderMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            if value.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_of_a_caller_is_read_if_it_is_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut headers = HeaderMap::new();
        for (value, goes_on) in [
            (format!("00-{id}-00f067aa0ba902b7-01"), true),
            (format!("00-{id}-00f067aa0ba902b7-00"), true),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            (format!("00-{id}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-00f067aa0ba902b7-01", "Z".repeat(32)), false),
            ("nonsense".to_owned(), false),
        ] {
            headers.insert("traceparent", value.parse().unwrap());
            assert_eq!(trace_id(&headers).as_deref(), goes_on.then_some(id), "{value}");
        }
    }
}
