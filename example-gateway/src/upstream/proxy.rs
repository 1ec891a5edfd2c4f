//! The reverse proxy: one request to the provider of its model, the answer streamed back.
//!
//! The innermost service of the stack; failover above it calls it once for each attempt.
//!
//! 1. The [`PinnedModel`](affinity_layer::PinnedModel) of the request names the model, and that the provider.
//! 2. The client's head goes on without hop-by-hop fields, headers that are for us, and credentials that
//!    are not for this provider; the body goes on as it came, with the name of the model replaced.
//! 3. It goes over a connection of this thread to that provider. A kept connection that breaks before the
//!    head of the answer is nobody's failure, and marked for a second chance.
//! 4. The head of a 200 is held until its answer begins; one that ends, breaks or begins with an error
//!    before that is a failure, while the next candidate can still be asked.
//! 5. From then on the answer streams, and breaks off if the provider is silent for too long.
//!
//! There is no retry here: failover has the whole request, and this has one attempt.

mod address;
mod form;
mod overflow;
mod patience;
mod pool;
mod refusal;
mod target;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use affinity_layer::ModelName;
use affinity_layer::ext::{LastingFailure, PassingFailure, Probe};
use affinity_layer::first_event::{Held, HeldBody, hold};
use affinity_layer::store::NameSecret;
use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use thread_local::ThreadLocal;
use tokio::time::Instant;
use tower::Service;
use tracing::Instrument;

use self::address::Address;
use self::patience::{awaited, fault_of_client, watch};
use self::pool::{Failure, Lent, Pool};
use self::target::Target;
use crate::body::{Envelope, Outgoing};
use crate::config::{Limits, Provider};
use crate::error::ApiError;
use crate::protocol::Protocol;
use crate::telemetry::{context, metrics};
use crate::upstream::callee::{Callee, warn_of};
use crate::upstream::dial::Connector;
use crate::upstream::hop;
use crate::upstream::providers::Upstreams;
use crate::upstream::stall::Stall;
use crate::upstream::watch::Call;

/// Sends requests to the providers. Clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<Shared>);

/// The layers above clone their services several times for each request, which costs little so.
#[derive(Debug)]
struct Shared {
    upstreams: Arc<Upstreams>,
    /// In the order of the providers, as the pools are.
    targets: Vec<Target>,
    /// Each thread has its own, so that no answer has to pass from one to another.
    pools: ThreadLocal<Vec<Arc<Pool>>>,
    connector: Connector,
    withheld: Vec<HeaderName>,
    limits: Limits,
    conversations: NameSecret,
    /// What cache keys are hashes of, if requests get them.
    cache_keys: Option<NameSecret>,
}

impl Proxy {
    /// A proxy to `upstreams`; of a request's headers, those in `withheld` are not sent on. Its spans name
    /// sessions by hashes of `conversations`, and with `cache_keys` requests do so to their providers.
    pub(crate) fn new(
        upstreams: Arc<Upstreams>,
        connector: Connector,
        withheld: Vec<HeaderName>,
        limits: Limits,
        conversations: NameSecret,
        cache_keys: Option<NameSecret>,
    ) -> Self {
        let targets = targets(upstreams.providers());
        let pools = ThreadLocal::new();
        Self(Arc::new(Shared {
            upstreams,
            targets,
            pools,
            connector,
            withheld,
            limits,
            conversations,
            cache_keys,
        }))
    }

    /// Opens its connections.
    pub(crate) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// Sends a request that no session decides to the provider at `place`, and gives its answer as it is.
    /// `model` is the one that serves or, where none does, the entry of the provider. A request that
    /// `is_once` is not sent again when a kept connection breaks.
    ///
    /// # Errors
    ///
    /// What the client is told when the provider cannot be reached, or does not answer as HTTP.
    pub(crate) async fn forward(
        &self,
        place: usize,
        model: &ModelName,
        parts: Parts,
        body: Outgoing,
        is_once: bool,
    ) -> Result<Response<Body>, ApiError> {
        self.0.forward(place, model, parts, body, is_once).await
    }
}

impl Shared {
    async fn send(&self, mut parts: Parts, body: &Envelope) -> Result<Response<Body>, ApiError> {
        let protocol = Protocol::of(parts.uri.path());
        let headers = mem::take(&mut parts.headers);
        let to = self.upstreams.target(&parts.extensions, protocol)?;
        let (target, pool) = self.place(to.place).ok_or_else(ApiError::internal)?;
        let model = to.model.model();
        let name = to.provider.upstream_id(model);
        let secret = self.cache_keys.as_ref().filter(|_| {
            to.provider.takes_cache_key(protocol) && parts.extensions.get::<Probe>().is_none()
        });
        let cache_key = secret.and_then(|secret| Some(secret.hash(to.model.key()?)));
        let sent = match cache_key {
            Some(key) => body.clone().keyed(&key).for_model(name),
            None => body.for_model(name),
        };
        let mut request = Request::new(Outgoing::Whole(sent));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target.uri(&parts.uri).ok_or_else(ApiError::internal)?;
        *request.headers_mut() = target.head(protocol, &self.withheld, headers);

        let counts = target.counts.clone();
        let (client, named) = (&parts.extensions, &self.conversations);
        let callee = Callee::new(target.entry.clone(), model);
        let call = Call::begin(model, to.provider, counts, &request, client, named);
        let answer =
            self.exchange(pool, target, &callee, request).instrument(call.span().clone()).await;
        let (limit, told) = (self.limits.upstream_idle_timeout, callee.clone());
        let response =
            call.answered(answer)?.map(|body| Body::new(Stall::new(body, limit, callee)));
        let (response, is_too_long) = overflow::judged(response).await?;
        if is_too_long {
            metrics::outgrown(&to.provider.model, "answered");
        }
        if target.passes_auth {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let judged = refusal::judged(response, body).await;
        let has_failed = match &judged {
            Ok(response) => response.extensions().get::<LastingFailure>().is_some(),
            Err(_) => true,
        };
        // With failover, the line about what cools down says it.
        if has_failed && self.limits.first_event.is_zero() {
            warn_of!(told, status, "the provider refuses our key, or no longer has the model");
        }
        judged
    }

    async fn forward(
        &self,
        place: usize,
        model: &ModelName,
        mut parts: Parts,
        body: Outgoing,
        is_once: bool,
    ) -> Result<Response<Body>, ApiError> {
        let headers = mem::take(&mut parts.headers);
        let (target, pool) = self.place(place).ok_or_else(ApiError::internal)?;
        let provider = self.upstreams.providers().get(place).ok_or_else(ApiError::internal)?;
        let again = body.again().filter(|_| !is_once);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target.uri(&parts.uri).ok_or_else(ApiError::internal)?;
        // Of Anthropic's paths only that of chat takes the key as OpenAI's do.
        *request.headers_mut() = target.head(Protocol::Messages, &self.withheld, headers);
        let again = again.map(|body| {
            let mut again = Request::new(body);
            *again.method_mut() = request.method().clone();
            *again.uri_mut() = request.uri().clone();
            *again.headers_mut() = request.headers().clone();
            again
        });
        let counts = target.counts.clone();
        let (client, named) = (&parts.extensions, &self.conversations);
        let callee = Callee::new(target.entry.clone(), model);
        let call = Call::begin(model, provider, counts, &request, client, named);
        let answer = async {
            match (self.answer(pool, target, &callee, request).await, again) {
                // There is no failover above to do it.
                (Err(error), Some(again)) if error.asks_again() => {
                    self.answer(pool, target, &callee, again).await
                }
                (answer, _) => answer,
            }
        };
        let answer = answer.instrument(call.span().clone()).await;
        let limit = self.limits.upstream_idle_timeout;
        let response =
            call.answered(answer)?.map(|body| Body::new(Stall::new(body, limit, callee)));
        if target.passes_auth { Ok(response) } else { refusal::of_credential(response).await }
    }

    fn place(&self, place: usize) -> Option<(&Target, &Arc<Pool>)> {
        let pool = |(to, target): (&Provider, &Target)| {
            let proxy = self.upstreams.proxies().forwarder(&to.base_url).cloned();
            let (base, address) = (to.base_url.clone(), target.address.clone());
            Arc::new(Pool::new(self.connector.clone(), base, address).forwarded_by(proxy))
        };
        let both = || self.upstreams.providers().iter().zip(&self.targets);
        let pools = self.pools.get_or(|| both().map(pool).collect());
        Some((self.targets.get(place)?, pools.get(place)?))
    }

    /// The answer once its head is there.
    async fn answer(
        &self,
        pool: &Arc<Pool>,
        target: &Target,
        callee: &Callee,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Lent>, ApiError> {
        context::pass_on(request.headers_mut());
        let sent = Instant::now();
        let upload = watch(request.body());
        let (limit, upload) = (self.limits.upstream_timeout, upload.as_ref());
        let answer = awaited(pool.send(request), limit, upload).await.ok_or_else(|| {
            let text = "the provider of the model did not answer in time";
            let error = ApiError::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", text);
            warn_of!(callee, after = ?limit, "upstream did not answer in time");
            error.timed_out(target.address.is_silent_since(sent))
        })?;
        let mut response = answer.map_err(|failure| {
            fault_of_client(upload).unwrap_or_else(|| broken(&failure, callee))
        })?;
        target.address.answered();
        check_head(&mut response, callee)?;
        hop::strip_answer(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        Ok(response)
    }

    /// The answer once it has begun.
    async fn exchange(
        &self,
        pool: &Arc<Pool>,
        target: &Target,
        callee: &Callee,
        request: Request<Outgoing>,
    ) -> Result<Response<HeldBody<Lent>>, ApiError> {
        let response = self.answer(pool, target, callee, request).await?;
        let (mut response, held) = hold(response, self.limits.first_event).await;
        match held {
            Held::Ended | Held::Broken => {
                let broken = held == Held::Broken;
                warn_of!(callee, broken, "upstream sent a head and no answer");
                return Err(upstream_error());
            }
            Held::Error => {
                warn_of!(callee, "upstream answered 200 with an error");
                response.extensions_mut().insert(PassingFailure);
            }
            _ => {}
        }
        Ok(response)
    }
}

/// How each provider is called. Those at one address share what is known of it.
fn targets(providers: &[Provider]) -> Vec<Target> {
    let place = |provider: &Provider| {
        let base = &provider.base_url;
        (base.scheme().cloned(), base.authority().cloned())
    };
    let mut addresses = HashMap::new();
    let targets = providers.iter().map(|provider| {
        let address = addresses.entry(place(provider)).or_insert_with(|| Arc::new(Address::new()));
        Target::new(provider, address.clone())
    });
    targets.collect()
}

fn broken(failure: &Failure, callee: &Callee) -> ApiError {
    match failure {
        Failure::Connect(error, missing) => {
            warn_of!(callee, error = %Chain(&**error), "upstream cannot be reached");
            let text = "the provider of the model cannot be reached";
            let error = ApiError::new(StatusCode::BAD_GATEWAY, "upstream_unreachable", text);
            error.not_reached(*missing)
        }
        Failure::Exchange(error) => {
            warn_of!(callee, error = %Chain(error), "upstream failed");
            upstream_error()
        }
        Failure::Kept(error) => {
            tracing::debug!(error = %Chain(error), "a kept connection to the upstream failed");
            upstream_error().second_chance()
        }
    }
}

fn upstream_error() -> ApiError {
    let text = "the provider of the model broke off or did not speak HTTP";
    ApiError::new(StatusCode::BAD_GATEWAY, "upstream_error", text)
}

/// Refuses an answer whose end the client would see elsewhere than we do, or whose status is invalid: a
/// status beyond 599 counts as a failure of the server (RFC 9110, section 15).
fn check_head<B>(answer: &mut Response<B>, callee: &Callee) -> Result<(), ApiError> {
    let headers = answer.headers();
    let both = headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH);
    let status = answer.status();
    let has_length = one_length(answer.headers_mut());
    // An upgrade is never requested.
    if both || !has_length || status == StatusCode::SWITCHING_PROTOCOLS || status.as_u16() >= 600 {
        warn_of!(callee, status = status.as_u16(), "upstream answered with a broken head");
        return Err(upstream_error());
    }
    Ok(())
}

/// Writes a repeated length, as in `2, 2`, once. Whether there is none, or one.
fn one_length(headers: &mut HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return true };
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if lengths.next().is_none() && is_number(first.as_bytes()) {
        return true;
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let mut lengths = lengths.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let first = lengths.next().unwrap_or_default().trim_ascii();
    let are_one = is_number(first) && lengths.all(|length| length.trim_ascii() == first);
    let Some(length) = HeaderValue::from_bytes(first).ok().filter(|_| are_one) else {
        return false;
    };
    headers.insert(header::CONTENT_LENGTH, length);
    true
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

impl Service<Request<Envelope>> for Proxy {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Envelope>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let protocol = Protocol::of(parts.uri.path());
        let proxy = self.0.clone();
        Box::pin(async move {
            Ok(proxy.send(parts, &body).await.unwrap_or_else(|error| error.response(protocol)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_two_lengths_an_upgrade_or_no_status_is_refused() {
        let answer = |status: u16, names: &[HeaderName]| {
            let mut answer = Response::new(());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            for name in names {
                answer.headers_mut().insert(name, "3".parse().unwrap());
            }
            check_head(&mut answer, &Callee::anybody()).is_ok()
        };
        assert!(answer(200, &[header::CONTENT_LENGTH]));
        assert!(answer(200, &[header::TRANSFER_ENCODING]));
        assert!(!answer(200, &[header::CONTENT_LENGTH, header::TRANSFER_ENCODING]));
        for (lengths, expected) in [
            (&["2"][..], Some("2")),
            (&["2, 2"], Some("2")),
            (&["2", "2"], Some("2")),
            (&["2,2", " 2"], Some("2")),
            (&["2, 3"], None),
            (&["2", "02"], None),
            (&["2,"], None),
            (&["+2"], None),
            (&[""], None),
        ] {
            let mut headers = HeaderMap::new();
            for length in lengths {
                headers.append(header::CONTENT_LENGTH, length.parse().unwrap());
            }
            let is_one = one_length(&mut headers);
            assert_eq!(is_one, expected.is_some(), "{lengths:?}");
            if let Some(expected) = expected {
                let all: Vec<_> = headers.get_all(header::CONTENT_LENGTH).iter().collect();
                assert_eq!(all, [expected], "{lengths:?}");
            }
        }
        assert!(!answer(101, &[]));
        assert!(answer(599, &[]) && !answer(600, &[]) && !answer(999, &[]));
    }
}
