//! A store that is shared by hand.
//~ is not a store of pins
//~ SharedStore::from_arc
use std::sync::Arc;

use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
use tower::service_fn;

pub fn layer() {
    let router = service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
    let _ = AffinityLayer::new(Arc::new(MemoryStore::default()), router);
}
