//! tower's `BoxService` cannot be cloned for each question.
//~ is not a router
//~ BoxCloneSyncService
use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
use tower::service_fn;
use tower::util::BoxService;

pub fn layer() -> AffinityLayer<MemoryStore> {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    AffinityLayer::new(MemoryStore::default(), BoxService::new(router))
}
