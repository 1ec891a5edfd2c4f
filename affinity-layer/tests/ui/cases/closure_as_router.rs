//! A closure is no service.
//~ is not a router
//~ tower::service_fn
use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};

pub fn layer() -> AffinityLayer<MemoryStore> {
    let router = |_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) };
    AffinityLayer::new(MemoryStore::default(), router)
}
