//! Routing around drained models.
//!
//! Draining changes what the router may answer, not how it decides. So it is a service around the router,
//! which the affinity layer calls like any other. While nothing is drained it passes requests on.

use std::sync::Arc;

use affinity_layer::{
    AffinityStore, BoxError, Expiry, ModelName, RouteDecision, RouteRequest, RouterService,
    SharedStore, ext::FallbackModel,
};
use http::request::Parts;
use tower::{ServiceExt, service_fn};

use crate::upstream::providers::Upstreams;

/// `router`, whose answers name no model that is drained.
///
/// - The router is not asked for a session that has to leave its model for a named one.
/// - A named model takes the place of the one that it is named for; else the next candidate does, and
///   without any, what the request falls back to.
pub(crate) fn routed<R: RouterService>(
    router: R,
    store: SharedStore,
    expiry: Expiry,
    upstreams: Arc<Upstreams>,
) -> impl RouterService + use<R> {
    let router = opened(router, upstreams.clone());
    service_fn(move |request: RouteRequest| {
        let (router, store, upstreams) = (router.clone(), store.clone(), upstreams.clone());
        async move {
            if upstreams.drains().any()
                && let Some(moved) = moved(&request, &store, &expiry, &upstreams).await
            {
                return Ok(moved);
            }
            router.oneshot(request).await.map_err(Into::into)
        }
    })
}

/// `router`, whose answers name no model that is drained, whatever the pin of the session says.
pub(crate) fn opened<R: RouterService>(
    router: R,
    upstreams: Arc<Upstreams>,
) -> impl RouterService + use<R> {
    service_fn(move |request: RouteRequest| {
        let (router, upstreams) = (router.clone(), upstreams.clone());
        async move {
            if !upstreams.drains().any() {
                return router.oneshot(request).await.map_err(Into::into);
            }
            let parts = request.parts.clone();
            let decision = router.oneshot(request).await.map_err(Into::into)?;
            open(decision, &parts, &upstreams)
        }
    })
}

/// The same route with the model that was named for the sessions of the one that is drained.
async fn moved(
    request: &RouteRequest,
    store: &SharedStore,
    expiry: &Expiry,
    upstreams: &Upstreams,
) -> Option<RouteDecision> {
    let drains = upstreams.drains();
    let selection = store.get(request.key.as_ref()?, expiry).await.ok()?.pin()?.selection;
    let to = drains.moves(selection.model()).then(|| drains.successor(selection.model()))??;
    let others = selection.candidates().iter().filter(|model| **model != to);
    let others = others.filter(|model| !drains.holds(model)).cloned();
    let decision = RouteDecision::new(std::iter::once(to.clone()).chain(others));
    Some(match selection.route() {
        Some(route) => decision.with_route(route.clone()),
        None => decision,
    })
}

/// `decision` without drained models.
fn open(
    mut decision: RouteDecision,
    parts: &Parts,
    upstreams: &Upstreams,
) -> Result<RouteDecision, BoxError> {
    let drains = upstreams.drains();
    if !decision.models.iter().any(|model| drains.holds(model)) {
        return Ok(decision);
    }
    let mut open = Vec::<ModelName>::new();
    for model in decision.models {
        let model = if drains.holds(&model) { drains.successor(&model) } else { Some(model) };
        open.extend(model.filter(|model| !open.contains(model)));
    }
    if open.is_empty() {
        let fallback = parts.extensions.get().and_then(|FallbackModel(model)| model.clone());
        open.extend(fallback.or_else(|| upstreams.in_place_of(None, parts)));
    }
    open.sort_by_key(|model| !upstreams.takes(model, parts));
    let first = open.first().ok_or("every model that could serve the request is drained")?;
    if let Some(able) = upstreams.elsewhere(parts, first, &open) {
        open.retain(|model| *model != able);
        open.insert(0, able);
    }
    decision.models = open;
    Ok(decision)
}
