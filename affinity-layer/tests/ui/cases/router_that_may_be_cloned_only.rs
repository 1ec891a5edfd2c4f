//! tower's `BoxCloneService` is not `Sync`, and need not be.
use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
use tower::service_fn;
use tower::util::BoxCloneService;

pub fn layer() -> AffinityLayer<MemoryStore> {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    AffinityLayer::new(MemoryStore::default(), BoxCloneService::new(router))
}
