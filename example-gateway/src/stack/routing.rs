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
    ErrorKind, LexicalRouter, LlmRouter, PlanoRouter, Preferences, RouterClient,
    RouterClientBuilder, RouterError,
};
use secrecy::ExposeSecret;
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

/// Decisions at a time.
const AT_A_TIME: usize = 64;

/// Those of one client. A routing model that is slow keeps a place for seconds.
const OF_ONE: usize = AT_A_TIME / 4 * 3;

/// Those about long bodies: small ones never wait for them.
const LONG_AT_A_TIME: usize = 32;

/// Those about long bodies of one client.
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
            let router = in_turns(reading_apart(LexicalRouter::new(preferences)));
            within(LEXICAL_TIME, RouterClient::builder(router).in_process())
        }
        Router::Llm { url, model, access_key, timeout: limit } => {
            let router = LlmRouter::new(url.clone(), model, preferences);
            let mut router = router.client(client(connector, &config.proxies, url));
            if let Some(key) = access_key {
                router = router.bearer(key.expose_secret());
            }
            within(*limit, RouterClient::builder(in_turns(traced(reading_apart(router)))))
        }
        Router::Plano { url, timeout: limit } => {
            // It sends the body as it is.
            let router = PlanoRouter::new(url.clone());
            let router = router.client(client(connector, &config.proxies, url));
            within(*limit, RouterClient::builder(in_turns(traced(router))))
        }
    };
    tower::service_fn(move |request: RouteRequest| {
        let (mut client, upstreams) = (client.clone(), upstreams.clone());
        let holdings = holdings.clone();
        async move {
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

/// The router within its time limit. How many decisions it makes at a time is limited by [`in_turns`].
fn within<R>(limit: Duration, router: RouterClientBuilder<R>) -> RouterClient
where
    R: Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>,
    R: Clone + Send + Sync + 'static,
{
    router.timeout(limit).concurrency(usize::MAX).build()
}

/// The places for decisions.
#[derive(Clone, Debug)]
struct Places {
    all: FairPlaces,
    /// Those about long bodies have one of these, too.
    long: FairPlaces,
}

impl Places {
    fn new() -> Self {
        Self {
            all: FairPlaces::new(AT_A_TIME, OF_ONE),
            long: FairPlaces::new(LONG_AT_A_TIME, LONG_OF_ONE),
        }
    }

    /// The places of a decision until it is made.
    async fn of(&self, request: &RouteRequest) -> (Option<FairPlace>, FairPlace) {
        let client = request.parts.extensions.get().copied().unwrap_or(Client::Unknown);
        let is_long = request.body.len() > SMALL;
        // The scarce one first: whoever waits for it keeps none of the others.
        let long = if is_long { Some(self.long.acquire(client).await) } else { None };
        (long, self.all.acquire(client).await)
    }
}

/// A router whose clients take turns. It is below the time limit of the [`RouterClient`], which counts what
/// a decision waits for its place.
fn in_turns<R>(
    router: R,
) -> impl Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send> + Clone
where
    R: Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send>,
    R: Clone + Send + Sync + 'static,
{
    let places = Places::new();
    tower::service_fn(move |request: RouteRequest| {
        let (mut router, places) = (router.clone(), places.clone());
        async move {
            let _places = places.of(&request).await;
            router.ready().await?.call(request).await
        }
    })
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

    /// A router that takes `time` for each decision.
    fn slow(
        time: Duration,
    ) -> impl Service<RouteRequest, Response = RouteDecision, Error = RouterError, Future: Send> + Clone
    {
        tower::service_fn(move |_| async move {
            sleep(time).await;
            Ok(RouteDecision::new([ModelName::new("m").unwrap()]))
        })
    }

    /// How many of these decisions, a second each, are made at a time, and how long all of them take.
    async fn decided(requests: Vec<RouteRequest>) -> (usize, u64) {
        let places = Places::new();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let began = Instant::now();
        let decide = async |request: RouteRequest| {
            let _places = places.of(&request).await;
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
    }

    #[tokio::test(start_paused = true)]
    async fn of_small_bodies_one_client_decides_forty_eight_at_a_time_and_all_sixty_four() {
        let of = |count: usize, client: u8| vec![request(SMALL, client); count];
        assert_eq!(decided(of(96, 1)).await, (48, 2));
        assert_eq!(decided((1..=4).flat_map(|client| of(32, client)).collect()).await, (64, 2));
        let with_long = (1..=4).flat_map(|n| [of(8, n), vec![request(SMALL + 1, n); 8]].concat());
        assert_eq!(decided(with_long.collect()).await, (64, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_much_of_a_slow_router_keeps_no_other_waiting() {
        let router = in_turns(slow(Duration::from_secs(1)));
        let router = within(Duration::from_millis(1500), RouterClient::builder(router));
        let flood = join_all((0..1000).map(|_| router.clone().oneshot(request(SMALL, 1))));
        let other = async {
            sleep(Duration::from_millis(10)).await;
            let began = Instant::now();
            router.clone().oneshot(request(SMALL, 2)).await.unwrap();
            began.elapsed()
        };
        let (flood, other) = tokio::join!(flood, other);
        assert_eq!(other.as_secs_f64(), 1.0, "it has a place at once");
        // The time limit is that of waiting and deciding together.
        assert_eq!(flood.iter().filter(|decided| decided.is_ok()).count(), OF_ONE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_waits_for_others_of_its_client_and_gives_up() {
        let router = in_turns(slow(Duration::from_secs(3)));
        let decide = |of: RouteRequest, limit| {
            within(Duration::from_secs(limit), RouterClient::builder(router.clone())).oneshot(of)
        };
        let held = join_all((0..8).map(|_| decide(request(SMALL + 1, 1), 4)));
        let others = async {
            let began = Instant::now();
            let late = decide(request(SMALL + 1, 1), 2).await.unwrap_err();
            assert_eq!((late.kind(), began.elapsed().as_secs()), (ErrorKind::Timeout, 2));
            assert!(decide(request(SMALL + 1, 2), 4).await.is_ok());
        };
        let (held, ()) = tokio::join!(held, others);
        assert!(held.iter().all(Result::is_ok));
        assert!(decide(request(SMALL + 1, 1), 4).await.is_ok());
    }
}
