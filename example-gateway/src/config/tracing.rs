//! What is traced, and where the traces go.
//!
//! Nothing is exported unless the file names a collector or a share of traces, as in the older system.

use std::collections::BTreeMap;

use http::Uri;

use super::at::At;
use super::url;

/// The collector where none is named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";

/// The environment variable that may name it.
const ENDPOINT_VARIABLE: &str = "OTEL_TRACING_GRPC_ENDPOINT";

/// The tracing of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// How many of 100 traces are exported; 100 by default.
    pub random_sampling: f64,
    /// The OTLP collector, spoken to by gRPC; nothing is exported without one.
    pub endpoint: Option<Uri>,
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
        Self { random_sampling: 100.0, endpoint: None, span_attributes: SpanAttributes::default() }
    }
}

pub(super) fn read(root: &At<'_>) -> Tracing {
    let mut tracing = Tracing::default();
    let Some(at) = root.get("tracing") else { return tracing };
    at.not_served(&["exporters", "trace_arch_internal"]);
    let share = at.get("random_sampling");
    if let Some(percent) = share.as_ref().and_then(|rate| rate.number(0.0..=100.0)) {
        tracing.random_sampling = percent;
    }
    tracing.endpoint = match at.get("opentracing_grpc_endpoint") {
        Some(endpoint) => endpoint.parsed(collector),
        // The older system takes a share as a wish for traces, and looks for the collector here.
        None => share.and_then(|share| {
            let named = (share.context.env)(ENDPOINT_VARIABLE);
            match collector(named.as_deref().unwrap_or(DEFAULT_ENDPOINT)) {
                Ok(endpoint) => Some(endpoint),
                Err(why) => {
                    share.error(format!("{ENDPOINT_VARIABLE} {why}"));
                    None
                }
            }
        }),
    };
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

/// The address of a collector; gRPC knows no path.
fn collector(text: &str) -> Result<Uri, &'static str> {
    const PORT: u16 = 4317;
    let uri = url::http_base(text)?;
    if uri.path() != "/" {
        return Err("must not have a path");
    }
    if uri.port().is_some() {
        return Ok(uri);
    }
    let (scheme, host) = (uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default());
    format!("{scheme}://{host}:{PORT}").parse().map_err(|_| "must be an address")
}
