//! One log line when the collector cannot be reached, and one when it is back.
//!
//! The exporter fails with each batch, about once a second while a collector is away; a line for each would
//! hide everything else in the log.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Uri;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter whose failures are reported once.
pub(super) struct Watched<E> {
    inner: E,
    endpoint: Uri,
    fails: AtomicBool,
}

impl<E> Watched<E> {
    pub(super) fn new(inner: E, endpoint: &Uri) -> Self {
        Self { inner, endpoint: endpoint.clone(), fails: AtomicBool::new(false) }
    }
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        let failed = self.fails.swap(result.is_err(), Ordering::Relaxed);
        let endpoint = &self.endpoint;
        match &result {
            Err(error) if !failed => {
                tracing::warn!(%endpoint, %error, "traces cannot be sent and are dropped");
            }
            Ok(()) if failed => tracing::info!(%endpoint, "traces are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
