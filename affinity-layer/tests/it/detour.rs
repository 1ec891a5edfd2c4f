//! A request that the model of its session cannot take goes to another one, alone.

use affinity_layer::{
    AffinityLayer, AnswerLayer, FailoverLayer, MemoryStore, ModelName, PinnedModel, RouteDecision,
    RouteName, RouteRequest, RouterService, Selection,
};
use axum::body::{Body, Bytes};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::common::*;

/// In the extensions of a request that only `v/eyes` and `v/spare` can take.
#[derive(Clone)]
struct Picture;

fn sees(request: &Parts, model: &ModelName) -> bool {
    request.extensions.get::<Picture>().is_none() || matches!(model.as_str(), "v/eyes" | "v/spare")
}

fn elsewhere(request: &Parts, selection: &Selection) -> Option<ModelName> {
    if sees(request, selection.model()) {
        return None;
    }
    selection.candidates().iter().find(|model| sees(request, model)).cloned()
}

fn router(models: &'static [&'static str]) -> impl RouterService {
    let decision = RouteDecision::new(models.iter().map(|name| model(name)));
    let decision = decision.with_route(RouteName::new("r").unwrap());
    service_fn(move |_: RouteRequest| {
        let decision = decision.clone();
        async move { Ok::<_, BoxError>(decision) }
    })
}

fn session(headers: &[(&str, &str)], picture: bool) -> Request<Body> {
    let mut request = post(&[&[("x-model-affinity", "s")], headers].concat());
    if picture {
        request.extensions_mut().insert(Picture);
    }
    request
}

#[tokio::test]
async fn the_pin_stays_and_other_requests_are_not_touched() {
    let layer = layer(router(&["v/words", "v/blind", "v/eyes", "v/spare"])).detour(elsewhere);
    let service = stack(layer.expose_epoch(true));
    assert_eq!(send(&service, session(&[], false)).await, said("v/words", false, "claimed"));
    for _ in 0..2 {
        assert_eq!(send(&service, session(&[], true)).await, said("v/eyes", false, "hit"));
        assert_eq!(send(&service, session(&[], false)).await, said("v/words", true, "hit"));
    }
    let response = service.oneshot(session(&[], true)).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-epoch"), "", "that is of another model");
    assert_eq!(header(response.headers(), "x-plano-route"), "r");
}

#[tokio::test]
async fn every_kind_of_decision_may_need_one() {
    for (headers, affinity) in [
        (&[][..], "claimed"),
        (&[("x-plano-affinity", "bypass")], "bypass"),
        (&[("x-plano-affinity", "refresh")], "refreshed"),
        (&[("x-plano-affinity", "final")], "claimed"),
    ] {
        let service = stack(layer(router(&["v/words", "v/eyes"])).detour(elsewhere));
        let answer = send(&service, session(headers, true)).await;
        assert_eq!(answer, said("v/eyes", false, affinity));
    }
    let service = stack(layer(router(&["v/words", "v/eyes"])).detour(elsewhere));
    let mut without = post(&[]);
    without.extensions_mut().insert(Picture);
    assert_eq!(send(&service, without).await, said("v/eyes", false, "none"));
}

#[tokio::test]
async fn without_another_the_model_of_the_session_gets_it() {
    let same = |_: &Parts, selection: &Selection| Some(selection.model().clone());
    let service = stack(layer(router(&["v/words"])).detour(same));
    assert_eq!(send(&service, session(&[], true)).await, said("v/words", false, "claimed"));
    assert_eq!(send(&service, session(&[], true)).await, said("v/words", true, "hit"));
}

/// With failover and release below; `v/eyes` is down.
fn with_layers_below(
    store: &MemoryStore,
) -> BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError> {
    let handler = |request: Request<Full<Bytes>>| async move {
        let model = request.extensions().get::<PinnedModel>().unwrap().model().to_string();
        let status = if model == "v/eyes" { 503 } else { 200 };
        let response = Response::builder().status(status).header("served", model);
        let response = response.header("content-type", "application/json");
        let body = Body::from(r#"{"choices":[{"finish_reason":"tool_calls"}]}"#);
        Ok::<_, BoxError>(response.body(body).unwrap())
    };
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .layer(
                AffinityLayer::new(store.clone(), router(&["v/words", "v/eyes", "v/spare"]))
                    .detour(elsewhere),
            )
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(AnswerLayer::new().final_answer(true))
            .layer(FailoverLayer::new().usable(sees))
            .service(service_fn(handler)),
    )
}

#[tokio::test]
async fn a_detour_that_fails_over_leaves_the_session_where_it_is() {
    let service = with_layers_below(&MemoryStore::default());
    let ask = async |picture: bool| {
        let request = session(&[], picture).map(|_| Full::from("{}"));
        let response = service.clone().oneshot(request).await.unwrap();
        let told = |name| header(response.headers(), name).to_owned();
        assert_eq!(told("served"), told("x-plano-model"));
        (told("x-plano-model"), told("x-plano-pinned"), told("x-plano-affinity"))
    };
    let words = |pinned: &str, affinity: &str| ("v/words".into(), pinned.into(), affinity.into());
    assert_eq!(ask(false).await, words("false", "claimed"));
    let detour = ("v/spare".into(), "false".into(), "hit".into());
    assert_eq!(ask(true).await, detour);
    assert_eq!(ask(false).await, words("true", "hit"));
}

#[tokio::test]
async fn a_final_request_on_a_detour_ends_the_session() {
    let store = MemoryStore::default();
    let service =
        stack(AffinityLayer::new(store.clone(), router(&["v/words", "v/eyes"])).detour(elsewhere));
    send(&service, session(&[], false)).await;
    let last = session(&[("x-plano-affinity", "final")], true);
    assert_eq!(send(&service, last).await, said("v/eyes", false, "hit"));
    assert!(store.is_empty());
}
