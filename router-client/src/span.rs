//! The span of a decision. Its fields have the names of OpenTelemetry's semantic conventions where
//! there are some.

use affinity_layer::RouteDecision;
use http::{StatusCode, Uri};
use tracing::field::{Empty, debug};
use tracing::{Instrument, Span};

use crate::RouterError;

/// One span of the same fields for either kind, which must be known when a span begins.
macro_rules! span {
    ($kind:literal) => {
        tracing::debug_span!(
            "router",
            otel.kind = $kind,
            otel.status_code = Empty,
            error.type = Empty,
            gen_ai.request.model = Empty,
            http.request.method = Empty,
            http.response.status_code = Empty,
            server.address = Empty,
            server.port = Empty,
            url.path = Empty,
            affinity.route = Empty,
            affinity.model = Empty,
        )
    };
}

/// Awaits a decision within its span.
pub(crate) async fn decided(
    decision: impl Future<Output = Result<RouteDecision, RouterError>>,
    in_process: bool,
) -> Result<RouteDecision, RouterError> {
    let span = if in_process { span!("internal") } else { span!("client") };
    let result = decision.instrument(span.clone()).await;
    match &result {
        _ if span.is_disabled() => {}
        Ok(decision) => {
            if let Some(route) = &decision.route {
                span.record("affinity.route", route.as_str());
            }
            if let Some(model) = decision.models.first() {
                span.record("affinity.model", model.as_str());
            }
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", debug(error.kind()));
        }
    }
    result
}

/// Notes on the current span which server is asked.
pub(crate) fn asked(base: &Uri, path: &str) {
    let span = Span::current();
    span.record("http.request.method", "POST");
    span.record("url.path", path);
    span.record("server.address", base.host());
    span.record("server.port", base.port_u16());
}

/// Notes on the current span that there is an answer.
pub(crate) fn answered(status: StatusCode) {
    Span::current().record("http.response.status_code", status.as_u16());
}
