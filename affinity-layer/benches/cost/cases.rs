//! The cases that are counted.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, BoxError, Expiry, MemoryStore, ModelName,
    RouteDecision, RouteName, RouteRequest, RouterService, Selection,
};
use http::HeaderValue;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use tower::service_fn;
use tower_layer::Layer;

use affinity_benches::redis::Redis;
use affinity_benches::{Failure, Inner, Told, session};

use crate::traffic::Traffic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// The inner service alone, for a request without a session id.
    Bare,
    /// The same for a request with one.
    BareWithId,
    /// No session id: what cannot be done for less.
    NoIdFloor,
    /// No session id, and nothing to route.
    NoId,
    /// Pinned: what cannot be done for less.
    PinnedFloor,
    PinnedMemory,
    /// Pinned in Redis, with a near copy.
    PinnedNear,
    /// A first request.
    Miss,
    /// A first request, and one that joins it.
    Pair,
}

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::Bare,
        Self::BareWithId,
        Self::NoIdFloor,
        Self::NoId,
        Self::PinnedFloor,
        Self::PinnedMemory,
        Self::PinnedNear,
        Self::Miss,
        Self::Pair,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareWithId => "bare-with-id",
            Self::NoIdFloor => "no-id-floor",
            Self::NoId => "no-id",
            Self::PinnedFloor => "pinned-floor",
            Self::PinnedMemory => "pinned-memory",
            Self::PinnedNear => "pinned-near-copy",
            Self::Miss => "miss",
            Self::Pair => "miss-and-joined",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let case = Self::ALL.into_iter().find(|case| case.name() == name);
        case.ok_or_else(|| format!("there is no case {name}").into())
    }

    /// Runs `times` requests, after as many to warm up, and sees to it that they are what the case
    /// is called.
    pub(crate) fn run(self, times: usize) -> Result<(), Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let memory = MemoryStore::new(4 * times);
        let layer = AffinityLayer::new(memory.clone(), router()?);
        let mut traffic = Traffic::new(times);
        match self {
            Self::Bare => traffic.without_id().run(&mut Inner, None),
            Self::BareWithId => traffic.run(&mut Inner, None),
            Self::NoId => {
                let mut service = layer.route_unkeyed(false).layer(Inner);
                traffic.without_id().run(&mut service, Some("none"))
            }
            Self::NoIdFloor => {
                traffic.without_id().run(&mut Told { selection: None }, Some("none"))
            }
            Self::PinnedFloor => {
                let names = ["openai/gpt-4o", "code generation"].map(HeaderValue::from_static);
                traffic.run(&mut Told { selection: Some(names) }, Some("hit"))
            }
            Self::PinnedMemory => pinned(&runtime, &memory, traffic),
            Self::PinnedNear => {
                let redis = Redis::start()?;
                let store = runtime.block_on(redis.tiered(times))?;
                pinned(&runtime, &store, traffic)
            }
            Self::Miss | Self::Pair => {
                let _entered = runtime.enter();
                traffic.distinct(self == Self::Pair).run(&mut layer.layer(Inner), Some("claimed"))
            }
        }
    }
}

fn decision() -> Result<RouteDecision, Failure> {
    let models = [ModelName::new("openai/gpt-4o")?, ModelName::new("openai/gpt-4o-mini")?];
    Ok(RouteDecision::new(models).with_route(RouteName::new("code generation")?))
}

/// Decides when it is polled again, so that others can join.
fn router() -> Result<impl RouterService, Failure> {
    let decision = decision()?;
    Ok(service_fn(move |_: RouteRequest| {
        let (mut decision, mut asked) = (Some(decision.clone()), false);
        poll_fn(move |cx| match decision.take_if(|_| asked) {
            Some(decision) => Poll::Ready(Ok::<_, BoxError>(decision)),
            None => {
                asked = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        })
    }))
}

fn pinned<St: AffinityStore + Clone>(
    runtime: &Runtime,
    store: &St,
    mut traffic: Traffic,
) -> Result<(), Failure> {
    let (key, expiry) = (AffinityKey::new(&session(0))?, Expiry::default());
    let selection = Arc::new(Selection::best(decision()?).ok_or("nothing to pin")?);
    let at_hand = async {
        while store.peek(&key, &expiry).is_none() {
            drop(store.claim(&key, selection.clone(), &expiry).await);
            drop(store.get(&key, &expiry).await);
            sleep(Duration::from_millis(1)).await;
        }
    };
    runtime.block_on(async { timeout(Duration::from_secs(10), at_hand).await })?;
    traffic.run(&mut AffinityLayer::new(store.clone(), router()?).layer(Inner), Some("hit"))
}
