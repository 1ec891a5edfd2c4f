//! The reverse proxy: one request to the provider of its model, the answer streamed back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use affinity_layer::ModelName;
use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;
use tracing::Instrument;

use crate::body::{Envelope, Slices};
use crate::config::{Limits, Provider};
use crate::error::ApiError;
use crate::hop;
use crate::protocol::Protocol;
use crate::stall::Stall;
use crate::telemetry::context;
use crate::telemetry::metrics::Upstream;
use crate::upstream::Upstreams;
use crate::watch::Call;

/// Time for a connection to an upstream.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests to the providers. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<Shared>);

/// The layers above clone their services several times for each request, which costs little so.
#[derive(Debug)]
struct Shared {
    upstreams: Arc<Upstreams>,
    client: Client<HttpsConnector<HttpConnector>, Slices>,
    withheld: Vec<HeaderName>,
    limits: Limits,
    /// By the models of the configuration: a wildcard counts for those that clients name.
    counts: HashMap<ModelName, Arc<Upstream>>,
}

impl Proxy {
    /// A proxy to `upstreams`; of a request's headers, those in `withheld` are not sent on.
    ///
    /// # Errors
    ///
    /// When a provider is reached by https and the system's certificates cannot be read.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        withheld: Vec<HeaderName>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector(upstreams.use_tls())?);
        let models = upstreams.configured();
        let counts = models.map(|model| (model.clone(), Arc::new(Upstream::new(model.as_str()))));
        let counts = counts.collect();
        Ok(Self(Arc::new(Shared { upstreams, client, withheld, limits, counts })))
    }
}

impl Shared {
    async fn send(&self, mut parts: Parts) -> Result<Response<Body>, ApiError> {
        let protocol = Protocol::of(parts.uri.path());
        let headers = mem::take(&mut parts.headers);
        let (model, provider) = self.upstreams.target(&parts.extensions, protocol)?;
        let Some(envelope) = parts.extensions.get::<Envelope>() else {
            return Err(ApiError::internal());
        };
        let mut request = Request::new(envelope.for_model(provider.upstream_id(model.model())));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = provider.upstream_uri(&parts.uri);
        *request.headers_mut() = self.headers(headers, provider, protocol);

        let counts = self.counts.get(&provider.model).ok_or_else(ApiError::internal)?.clone();
        let call = Call::begin(model, provider, counts, &request, &parts.extensions);
        let answer = self.exchange(request).instrument(call.span().clone()).await;
        let limit = self.limits.upstream_idle_timeout;
        Ok(call.answered(answer)?.map(|body| Body::new(Stall::new(body, limit))))
    }

    async fn exchange(&self, mut request: Request<Slices>) -> Result<Response<Incoming>, ApiError> {
        context::pass_on(request.headers_mut());
        let answer = self.client.request(request);
        let answer = tokio::time::timeout(self.limits.upstream_timeout, answer).await;
        let answer = answer.map_err(|_| {
            let text = "the provider of the model did not answer in time";
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", text)
        })?;
        let mut response = answer.map_err(|error| broken(&error))?;
        check_framing(&response)?;
        hop::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }

    /// What of a client's headers goes on, with those of the provider.
    fn headers(
        &self,
        mut headers: HeaderMap,
        provider: &Provider,
        protocol: Protocol,
    ) -> HeaderMap {
        hop::strip(&mut headers);
        // The length may change with the name of the model; hyper writes both anew.
        for name in [header::HOST, header::CONTENT_LENGTH, header::EXPECT] {
            headers.remove(name);
        }
        if !provider.passthrough_auth {
            headers.remove(header::AUTHORIZATION);
            headers.remove("x-api-key");
        }
        for name in &self.withheld {
            headers.remove(name);
        }
        provider.sign(protocol, &mut headers);
        headers
    }
}

fn connector(use_tls: bool) -> std::io::Result<HttpsConnector<HttpConnector>> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let builder = HttpsConnectorBuilder::new();
    // Reading the system's certificates takes time, so it is left out where nobody needs them.
    let builder = if use_tls {
        builder.with_provider_and_native_roots(default_provider())?
    } else {
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?;
        builder.with_tls_config(
            config.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        )
    };
    Ok(builder.https_or_http().enable_all_versions().wrap_connector(http))
}

fn broken(error: &legacy::Error) -> ApiError {
    tracing::warn!(error = %Chain(error), "upstream failed");
    if error.is_connect() {
        let text = "the provider of the model cannot be reached";
        return ApiError::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", text);
    }
    upstream_error()
}

fn upstream_error() -> ApiError {
    let text = "the provider of the model broke off or did not speak HTTP";
    ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", text)
}

/// Refuses an answer whose end the client would see elsewhere than we do.
fn check_framing<B>(answer: &Response<B>) -> Result<(), ApiError> {
    let headers = answer.headers();
    let both = headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH);
    // An upgrade is never asked for.
    if both || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        tracing::warn!(status = %answer.status(), "upstream answered with broken framing");
        return Err(upstream_error());
    }
    Ok(())
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl Service<Request<Full<Bytes>>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        // The body is in the envelope, which knows where its parts are.
        let (parts, _) = request.into_parts();
        let protocol = Protocol::of(parts.uri.path());
        let proxy = self.0.clone();
        Box::pin(async move {
            Ok(proxy.send(parts).await.unwrap_or_else(|error| error.response(protocol)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_two_lengths_or_an_upgrade_is_refused() {
        let answer = |status: u16, names: &[HeaderName]| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            for name in names {
                answer.headers_mut().insert(name, "3".parse().unwrap());
            }
            check_framing(&answer).is_ok()
        };
        assert!(answer(200, &[header::CONTENT_LENGTH]));
        assert!(answer(200, &[header::TRANSFER_ENCODING]));
        assert!(!answer(200, &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING]));
        assert!(!answer(101, &[]));
    }
}
