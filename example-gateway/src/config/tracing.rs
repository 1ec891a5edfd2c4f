//! What is traced, and where the traces go.

use std::collections::BTreeMap;

use http::Uri;

use super::at::At;
use super::url;

/// The tracing of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// How many of 100 traces are exported; 100 by default.
    pub random_sampling: f64,
    /// The OTLP collector; nothing is exported without one.
    pub opentracing_grpc_endpoint: Option<Uri>,
    /// What is added to every span.
    pub span_attributes: SpanAttributes,
}

/// Attributes of spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanAttributes {
    /// Request headers whose names begin so become attributes; lower case.
    pub header_prefixes: Vec<String>,
    /// Attributes that are the same for every span.
    pub fixed: BTreeMap<String, String>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            random_sampling: 100.0,
            opentracing_grpc_endpoint: None,
            span_attributes: SpanAttributes::default(),
        }
    }
}

pub(super) fn read(root: &At<'_>) -> Tracing {
    let mut tracing = Tracing::default();
    let Some(at) = root.get("tracing") else { return tracing };
    if let Some(percent) = at.get("random_sampling").and_then(|rate| rate.number(0.0..=100.0)) {
        tracing.random_sampling = percent;
    }
    if let Some(endpoint) = at.get("opentracing_grpc_endpoint") {
        tracing.opentracing_grpc_endpoint = endpoint.parsed(url::http_base);
        endpoint.warn("is not built yet: no traces are sent");
    }
    if let Some(attributes) = at.get("span_attributes") {
        let prefixes = attributes.get("header_prefixes").into_iter().flat_map(|list| list.items());
        let fixed = attributes.get("static").into_iter().flat_map(|map| map.entries());
        tracing.span_attributes = SpanAttributes {
            header_prefixes: prefixes
                .filter_map(|item| item.text())
                .map(|text| text.to_lowercase())
                .collect(),
            fixed: fixed
                .filter_map(|item| Some((item.key().to_owned(), item.text_or_empty()?)))
                .collect(),
        };
    }
    tracing
}
