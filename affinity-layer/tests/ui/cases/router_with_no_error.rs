//! A router whose error says nothing.
//~ is not a router
//~ its error must be `Into<BoxError>`
use affinity_layer::{AffinityLayer, MemoryStore, RouteDecision, RouteRequest};
use tower::service_fn;

pub fn layer() -> AffinityLayer<MemoryStore> {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, ()>(RouteDecision::none()) });
    AffinityLayer::new(MemoryStore::default(), router)
}
