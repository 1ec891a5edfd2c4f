//! Traces to an OTLP collector.
//!
//! Spans are queued and sent by a thread of the SDK; a request does not wait for the collector. Beyond the
//! queue they are dropped, and at the end of the process the rest has two seconds.

use std::io;
use std::time::Duration;

use http::Uri;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use super::exporter::Watched;
use crate::config::Tracing;

/// The crates whose spans are exported; those of the client that exports are not among them.
const OURS: [&str; 3] = ["affinity_layer", "router_client", env!("CARGO_CRATE_NAME")];

/// Spans that may wait to be sent; further ones are dropped.
const QUEUE: usize = 8192;

/// Spans that are sent together.
const BATCH: usize = 512;

/// The longest that a span waits for others to be sent with it.
const DELAY: Duration = Duration::from_secs(1);

/// Time for the collector to take a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time at the end of the process for the spans that were not sent yet.
const FLUSH: Duration = Duration::from_secs(2);

/// Where traces go, if they go anywhere.
#[derive(Debug, Default)]
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Traces as configured. It must be called within a tokio runtime, and connects when there is
    /// something to send.
    ///
    /// # Errors
    ///
    /// When the system's certificates are needed and cannot be read.
    pub(crate) fn new(tracing: &Tracing) -> io::Result<Self> {
        let Some(endpoint) = tracing.endpoint.as_ref().filter(|_| tracing.random_sampling > 0.0)
        else {
            return Ok(Self::default());
        };
        let exporter = Watched::new(exporter(endpoint)?, endpoint);
        let limits = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY)
            .build();
        let share = Sampler::TraceIdRatioBased(tracing.random_sampling / 100.0);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(limits).build(),
            )
            // A trace that has begun elsewhere is recorded if it is recorded there.
            .with_sampler(Sampler::ParentBased(Box::new(share)))
            .with_resource(Resource::builder().with_service_name(env!("CARGO_PKG_NAME")).build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// What makes the spans of this process into traces.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.0.as_ref()?.tracer(env!("CARGO_PKG_NAME"));
        let targets = OURS.map(|target| (target, LevelFilter::DEBUG));
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(Targets::new().with_targets(targets)))
    }

    /// Sends what waits to be sent, for two seconds at most.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH));
        // Failures were reported when the batch failed; a process that ends waits no longer.
        let _ = tokio::time::timeout(FLUSH, flushed).await;
    }
}

fn exporter(endpoint: &Uri) -> io::Result<SpanExporter> {
    let builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.to_string())
        .with_timeout(EXPORT_TIMEOUT);
    let builder = match endpoint.scheme_str() {
        Some("https") => builder.with_tls_config(ClientTlsConfig::new().with_native_roots()),
        _ => builder,
    };
    builder.build().map_err(io::Error::other)
}
