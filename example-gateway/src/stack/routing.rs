//! How a request without a pin is decided, as configured.
//!
//! It builds the router that [`layers`](super::layers) gives to the affinity layer: one of the crate
//! [`router_client`], its time limit, and then the knowledge that a router lacks, namely which of its
//! candidates can take this request. A candidate that cannot is put behind those that can and not left out.

use std::sync::Arc;
use std::time::Duration;

use affinity_layer::{
    BoxError, ModelName, RouteDecision, RouteRequest, RouterService, ext::RequestedModel,
};
use router_client::{
    ErrorKind, LexicalRouter, LlmRouter, PlanoRouter, Preferences, RouterClient, RouterError,
};
use secrecy::ExposeSecret;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tower::util::MapRequest;
use tower::{Service, ServiceExt};

use crate::config::{Config, Router};
use crate::extensions::{Client, RouterClock};
use crate::protocol::Protocol;
use crate::stack::apart::apart_until_it_waits;
use crate::stack::fair::{FairPlace, FairPlaces};
use crate::stack::holdings::Holdings;
use crate::stack::memory::SMALL;
use crate::telemetry::context;
use crate::upstream::dial::{Connector, client};
use crate::upstream::providers::Upstreams;

/// Decisions about long bodies at a time, of the 64 that a [`RouterClient`] allows: those about small ones
/// never wait for them.
const LONG_AT_A_TIME: usize = 32;

/// Those of one client. A routing model that is slow keeps a place for seconds.
const LONG_OF_ONE: usize = LONG_AT_A_TIME / 4;

/// Time for the router that asks nobody. All that it waits for is a thread to read a long body.
const LEXICAL_TIME: Duration = Duration::from_secs(30);

/// The configured router within its limits. Of its candidates, those that can take the request come
/// first, and without one any configured model that can; the others stay behind them, for the next
/// request of the session may be of another kind. It is called over connections of `connector`.
pub(crate) fn router(
    config: &Config,
    upstreams: Arc<Upstreams>,
    holdings: Holdings,
    connector: &Connector,
) -> impl RouterService + use<> {
    let preferences = Preferences::new(config.preferences.iter().cloned());
    let client = match &config.routing.router {
        Router::Lexical => {
            let router = reading_apart(LexicalRouter::new(preferences));
            RouterClient::builder(router).in_process().timeout(LEXICAL_TIME).build()
        }
        Router::Llm { url, model, access_key, timeout: limit } => {
            let router = LlmRouter::new(url.clone(), model, preferences);
            let mut router = router.client(client(connector, &config.proxies, url));
            if let Some(key) = access_key {
                router = router.bearer(key.expose_secret());
            }
            RouterClient::builder(traced(reading_apart(router))).timeout(*limit).build()
        }
        Router::Plano { url, timeout: limit } => {
            // It sends the body as it is.
            let router = PlanoRouter::new(url.clone());
            let router = router.client(client(connector, &config.proxies, url));
            RouterClient::builder(traced(router)).timeout(*limit).build()
        }
    };
    let patience = match &config.routing.router {
        Router::Lexical => LEXICAL_TIME,
        Router::Llm { timeout: limit, .. } | Router::Plano { timeout: limit, .. } => *limit,
    };
    let long = LongDecisions::new(patience);
    tower::service_fn(move |request: RouteRequest| {
        let (mut client, upstreams, long) = (client.clone(), upstreams.clone(), long.clone());
        let holdings = holdings.clone();
        async move {
            let _place = long.place(&request).await?;
            let mut parts = request.parts.clone();
            let protocol = Protocol::of(parts.uri.path());
            let timed = RouterClock::start(&parts.extensions);
            let mut decision = client.ready().await?.call(request).await?;
            drop(timed);
            holdings.follow(&mut parts).await;
            let speaks = |model: &ModelName| upstreams.speaks(model, protocol);
            decision.models.sort_by_key(|model| (!upstreams.takes(model, &parts), !speaks(model)));
            if decision.models.is_empty() {
                let requested = parts.extensions.get::<RequestedModel>();
                decision.models.extend(requested.map(|RequestedModel(model)| model.clone()));
            }
            if let Some(first) = decision.models.first()
                && let Some(able) = upstreams.elsewhere(&parts, first, &decision.models)
            {
                decision.models.retain(|model| *model != able);
                decision.models.insert(0, able);
            }
            Ok::<RouteDecision, BoxError>(decision)
        }
    })
}

/// The places for decisions about long bodies.
#[derive(Clone, Debug)]
struct LongDecisions {
    places: FairPlaces,
    /// How long a decision waits for its place.
    patience: Duration,
}

impl LongDecisions {
    fn new(patience: Duration) -> Self {
        Self { places: FairPlaces::new(LONG_AT_A_TIME, LONG_OF_ONE), patience }
    }

    /// The place of a decision until it is made; that about a small body needs none.
    async fn place(&self, request: &RouteRequest) -> Result<Option<FairPlace>, Elapsed> {
        if request.body.len() <= SMALL {
            return Ok(None);
        }
        let client = request.parts.extensions.get().copied().unwrap_or(Client::Unknown);
        timeout(self.patience, self.places.acquire(client)).await.map(Some)
    }
}

/// A router that reads a long body apart from the threads that serve clients. It is below the limits of the
/// [`RouterClient`], where the body is read by the first poll.
fn reading_apart<R>(
    router: R,
) -> impl Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send> + Clone
where
    R: Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>,
    R: Clone + Send + Sync + 'static,
{
    tower::service_fn(move |request: RouteRequest| {
        let mut router = router.clone();
        let length = request.body.len();
        async move {
            let decided = async move { router.ready().await?.call(request).await };
            let done = apart_until_it_waits(length, decided).await;
            done.unwrap_or_else(|ended| {
                Err(RouterError::new(ErrorKind::Malformed).with_source(ended))
            })
        }
    })
}

/// Tells a router that is called of the span of the call, which the limits around it begin.
fn traced<R>(router: R) -> MapRequest<R, fn(RouteRequest) -> RouteRequest> {
    MapRequest::new(router, |mut request| {
        context::pass_on(&mut request.parts.headers);
        request
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use futures_util::future::join_all;
    use http::Request;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn request(length: usize, client: u8) -> RouteRequest {
        let (mut parts, ()) = Request::post("/v1/messages").body(()).unwrap().into_parts();
        parts.extensions.insert(Client::at(IpAddr::from([10, 0, 0, client])));
        RouteRequest::new(parts, Bytes::from(vec![b' '; length]))
    }

    /// How many of these decisions, a second each, are made at a time, and how long all of them take.
    async fn decided(requests: Vec<RouteRequest>) -> (usize, u64) {
        let long = LongDecisions::new(Duration::from_secs(1000));
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let decide = async |request: RouteRequest| {
            let _place = long.place(&request).await.unwrap();
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
        };
        join_all(requests.into_iter().map(decide)).await;
        (most.into_inner(), began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn of_long_bodies_one_client_decides_eight_at_a_time_and_all_thirty_two() {
        let of = |count: usize, client: u8| vec![request(SMALL + 1, client); count];
        assert_eq!(decided(of(80, 1)).await, (8, 10));
        assert_eq!(decided((1..=8).flat_map(|client| of(8, client)).collect()).await, (32, 2));
        assert_eq!(decided(vec![request(SMALL, 1); 100]).await, (100, 1), "short ones do not wait");
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_waits_for_others_of_its_client_and_gives_up() {
        let long = LongDecisions::new(Duration::from_secs(2));
        let of_one = request(SMALL + 1, 1);
        let held = join_all((0..8).map(|_| long.place(&of_one))).await;
        let began = Instant::now();
        assert!(long.place(&request(SMALL + 1, 1)).await.is_err());
        assert_eq!(began.elapsed().as_secs(), 2);
        assert!(long.place(&request(SMALL + 1, 2)).await.is_ok());
        drop(held);
        assert!(long.place(&request(SMALL + 1, 1)).await.is_ok());
    }
}
