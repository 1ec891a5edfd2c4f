//! Sessions that are pinned, observed or left alone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_layer::ext::{NewTurn, ObservedPin};
use affinity_layer::mode::{Cohort, Mode, Rollout, Share};
use affinity_layer::{
    AffinityKey, AffinityLayer, AffinityStore, AnswerLayer, BodyId, BoxError, Claim, Expiry,
    FailoverLayer, MemoryStore, ModelName, Outcome, PinRead, PinnedModel, RouteDecision, RouteName,
    RouteRequest, RouterService, Scope, Selection, StoreError,
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep};
use tokio_stream::StreamExt;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::broken_store::Broken;
use crate::common::*;

/// What the inner service saw of observed sessions.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<ObservedPin>>>);

impl Seen {
    fn see(&self, request: &Request<Body>) {
        self.0.lock().unwrap().extend(request.extensions().get::<ObservedPin>().cloned());
    }

    /// Model and outcome of the last request.
    fn last(&self) -> Option<(String, Outcome)> {
        let turn = self.0.lock().unwrap().last()?.turn()?;
        Some((turn.model().to_string(), turn.outcome()))
    }

    fn all(&self) -> Vec<Option<String>> {
        let pins = self.0.lock().unwrap();
        pins.iter().map(|pin| pin.turn().map(|turn| turn.model().to_string())).collect()
    }
}

/// A stack whose model answers with what it was sent.
fn observing<St: AffinityStore>(layer: AffinityLayer<St>) -> (Stack, Seen) {
    let seen = Seen::default();
    let noted = seen.clone();
    let model = service_fn(move |request: Request<Body>| {
        noted.see(&request);
        echo(request)
    });
    let service = ServiceBuilder::new()
        .layer(layer)
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .service(model);
    (BoxCloneSyncService::new(service.map_err(BoxError::from)), seen)
}

fn found(model: &str, outcome: Outcome) -> Option<(String, Outcome)> {
    Some((model.to_owned(), outcome))
}

fn control(value: &str) -> Request<Body> {
    post(&[("x-model-affinity", "s"), ("x-plano-affinity", value)])
}

/// Sends a request and reads the answer to its end.
async fn whole(service: &Stack, request: Request<Body>) -> (http::response::Parts, Bytes) {
    let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    (head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn an_observed_session_is_routed_each_time_and_its_claim_stands() {
    let (service, seen) = observing(
        AffinityLayer::new(MemoryStore::default(), Calls::default().router()).mode(Mode::Observe),
    );
    let outcomes = [Outcome::Claimed, Outcome::Hit, Outcome::Hit];
    for (n, outcome) in (1..).zip(outcomes) {
        let expected = said(&format!("vendor/m{n}"), false, "observed");
        assert_eq!(turn(&service, "s").await, expected);
        assert_eq!(seen.last(), found("vendor/m1", outcome));
    }
    assert_eq!(send(&service, post(&[])).await, said("vendor/m4", false, "none"));
}

#[tokio::test]
async fn an_observed_request_is_answered_as_one_without_a_session_byte_for_byte() {
    let stack_of = |mode| {
        observing(AffinityLayer::new(MemoryStore::default(), Calls::default().router()).mode(mode))
            .0
    };
    let (observed, off, enforced) =
        (stack_of(Mode::Observe), stack_of(Mode::Off), stack_of(Mode::Enforce));
    for n in 0..5 {
        let body = format!(r#"{{"model":"vendor/asked","messages":[{n}]}}"#);
        let request = |named: bool| {
            let request = Request::post("/v1/chat/completions").header("x-any", "kept");
            let request = if named { request.header("x-model-affinity", "s") } else { request };
            request.body(Body::from(body.clone())).unwrap()
        };
        let mut answers = Vec::new();
        for (service, named) in [(&observed, true), (&off, true), (&enforced, false)] {
            let (mut head, body) = whole(service, request(named)).await;
            for name in ["x-plano-affinity", "x-plano-pinned"] {
                head.headers.remove(name);
            }
            answers.push((head.status, head.headers, body));
        }
        assert_eq!(answers[0], answers[2]);
        assert_eq!(answers[1], answers[2]);
    }
}

#[tokio::test]
async fn an_observed_claim_never_becomes_a_pin_and_no_listing_shows_it() {
    use affinity_layer::admin::Inspect;

    let (store, calls) = (MemoryStore::default(), Calls::default());
    let layer = AffinityLayer::new(store.clone(), calls.router());
    let (observed, seen) = observing(layer.clone().mode(Mode::Observe));
    turn(&observed, "s").await;
    assert_eq!(store.len(), 1);
    assert!(store.list(None, 10).await.unwrap().pins.is_empty());
    let (enforced, _) = observing(layer.mode(Mode::Enforce));
    assert_eq!(turn(&enforced, "s").await, said("vendor/m2", false, "claimed"));
    assert_eq!(turn(&enforced, "s").await, said("vendor/m2", true, "hit"));
    assert_eq!(store.list(None, 10).await.unwrap().pins.len(), 1);
    // And the pin is no claim of the observed session.
    assert_eq!(turn(&observed, "s").await, said("vendor/m3", false, "observed"));
    assert_eq!(seen.last(), found("vendor/m1", Outcome::Hit));
}

#[tokio::test]
async fn what_is_off_leaves_nothing_behind() {
    let store = MemoryStore::default();
    let layer = AffinityLayer::new(store.clone(), Calls::default().router()).mode(Mode::Off);
    let (service, seen) = observing(layer);
    for n in 1..=3 {
        assert_eq!(turn(&service, "s").await, said(&format!("vendor/m{n}"), false, "none"));
    }
    assert!(store.is_empty() && seen.all().is_empty());
}

#[tokio::test]
async fn unless_all_sessions_are_pinned_no_id_is_refused() {
    let layer = || {
        AffinityLayer::new(MemoryStore::default(), Calls::default().router())
            .tenant_header("x-tenant".parse().unwrap())
    };
    let some =
        Rollout::new(Mode::Observe).except(Mode::Enforce, Cohort::default().share(Share::ALL));
    let bad = || post(&[("x-model-affinity", "two words"), ("x-tenant", "acme")]);
    let unscoped = || post(&[("x-model-affinity", "s")]);
    for rollout in [Rollout::new(Mode::Observe), Rollout::new(Mode::Off), some] {
        let (service, seen) = observing(layer().mode(rollout));
        assert_eq!(send(&service, bad()).await, said("vendor/m1", false, "none"));
        assert_eq!(send(&service, unscoped()).await, said("vendor/m2", false, "none"));
        assert!(seen.all().is_empty());
        let unknown = post(&[("x-plano-affinity", "maybe")]);
        assert_eq!(send(&service, unknown).await.status, 400, "that is no session's matter");
    }
    let (service, _) = observing(layer());
    assert_eq!(send(&service, bad()).await.status, 400);
    assert_eq!(send(&service, unscoped()).await.status, 400);
}

#[tokio::test]
async fn a_share_is_pinned_and_stays_so_while_it_grows() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let layer = AffinityLayer::new(store, calls.router());
    let mut pinned = HashMap::new();
    for percent in [10, 50, 100] {
        let cohort = Cohort::default().share(Share::percent(percent));
        let rollout = Rollout::new(Mode::Observe).except(Mode::Enforce, cohort);
        let (service, _) = observing(layer.clone().mode(rollout));
        for n in 0..200 {
            let session = format!("session-{n}");
            let first = turn(&service, &session).await;
            let Some(model) = pinned.get(&session) else {
                if first.affinity == "claimed" {
                    pinned.insert(session, first.model);
                } else {
                    assert_eq!(
                        (first.affinity.as_str(), first.pinned.as_str()),
                        ("observed", "false")
                    );
                }
                continue;
            };
            assert_eq!(first, said(model, true, "hit"), "a session keeps its pin");
        }
        assert!(pinned.len().abs_diff(2 * usize::from(percent)) <= 20, "{} of 200", pinned.len());
    }
    assert_eq!(pinned.len(), 200);
}

#[tokio::test]
async fn a_tenant_may_have_a_mode_of_its_own() {
    let cohort = Cohort::default().scopes([Scope::new("acme").unwrap()]);
    let layer = AffinityLayer::new(MemoryStore::default(), Calls::default().router())
        .tenant_header("x-tenant".parse().unwrap())
        .mode(Rollout::new(Mode::Observe).except(Mode::Enforce, cohort));
    let (service, _) = observing(layer);
    for (tenant, affinity) in [("acme", "claimed"), ("other", "observed"), ("acme", "hit")] {
        let request = post(&[("x-model-affinity", "s"), ("x-tenant", tenant)]);
        assert_eq!(send(&service, request).await.affinity, affinity, "{tenant}");
    }
}

/// Decides by the header `topic`, whose value is the route, and counts.
fn by_topic(calls: &Calls) -> impl RouterService + use<> {
    let calls = calls.clone();
    service_fn(move |request: RouteRequest| {
        let calls = calls.clone();
        async move {
            let topic = request.parts.headers["topic"].to_str()?.to_owned();
            let model = ModelName::new(&format!("{topic}/m{}", calls.next()))?;
            tokio::task::yield_now().await;
            Ok::<_, BoxError>(RouteDecision::new([model]).with_route(RouteName::new(&topic)?))
        }
    })
}

fn on(topic: &str) -> Request<Body> {
    post(&[("x-model-affinity", "s"), ("topic", topic)])
}

#[tokio::test]
async fn a_route_that_makes_pins_pins_from_its_first_decision_on() {
    let (store, calls) = (MemoryStore::default(), Calls::default());
    let cohort = Cohort::default().routes([RouteName::new("code").unwrap()]);
    let layer = AffinityLayer::new(store, by_topic(&calls))
        .mode(Rollout::new(Mode::Observe).except(Mode::Enforce, cohort));
    let (service, seen) = observing(layer);
    assert_eq!(send(&service, on("chat")).await, said("chat/m1", false, "observed"));
    assert_eq!(seen.last(), found("chat/m1", Outcome::Claimed));
    assert_eq!(send(&service, on("chat")).await, said("chat/m2", false, "observed"));
    assert_eq!(send(&service, on("code")).await, said("code/m3", false, "claimed"));
    for topic in ["code", "chat"] {
        assert_eq!(send(&service, on(topic)).await, said("code/m3", true, "hit"));
    }
    assert_eq!(calls.count(), 3);
}

#[tokio::test]
async fn requests_that_race_for_a_route_agree_on_one_pin() {
    let calls = Calls::default();
    let cohort = Cohort::default().routes([RouteName::new("chat").unwrap()]);
    let layer = AffinityLayer::new(MemoryStore::default(), by_topic(&calls))
        .mode(Rollout::new(Mode::Enforce).except(Mode::Off, cohort));
    let (service, _) = observing(layer);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { send(&service, on("code")).await })
        })
        .collect();
    let mut models = Vec::new();
    for task in tasks {
        models.push(task.await.unwrap().model);
    }
    models.dedup();
    assert_eq!(models.len(), 1, "{models:?}");
    assert_eq!(send(&service, on("chat")).await, said(&models[0], true, "hit"));
}

#[tokio::test]
async fn a_session_that_its_body_names_is_observed_too() {
    let layer = AffinityLayer::new(MemoryStore::default(), Calls::default().router())
        .body_ids([BodyId::PromptCacheKey])
        .mode(Mode::Observe);
    let (service, seen) = observing(layer);
    for (n, outcome) in [(1, Outcome::Claimed), (2, Outcome::Hit)] {
        let body = r#"{"model":"vendor/asked","prompt_cache_key":"k"}"#;
        let request = Request::post("/v1/chat/completions").body(Body::from(body)).unwrap();
        assert_eq!(send(&service, request).await, said(&format!("vendor/m{n}"), false, "observed"));
        assert_eq!(seen.last(), found("vendor/m1", outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stalls_delays_no_observed_request() {
    for require in [false, true] {
        let layer = AffinityLayer::new(Broken { stalls: true }, Calls::default().router())
            .require_store(require)
            .mode(Mode::Observe);
        let (service, seen) = observing(layer);
        let began = Instant::now();
        for n in 0..1000 {
            let (head, _) = whole(&service, control("final")).await;
            assert_eq!(head.headers["x-plano-affinity"], "observed", "{n}");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        sleep(Duration::from_secs(1)).await;
        assert!(seen.all().iter().all(Option::is_none), "nobody waits for ever");
    }
}

/// A store that has no pin at hand and answers after 10 ms.
#[derive(Clone, Default)]
struct Far(MemoryStore);

impl AffinityStore for Far {
    as_in!(0: repin, release);

    async fn get(&self, key: &AffinityKey, expiry: &Expiry) -> Result<PinRead, StoreError> {
        sleep(Duration::from_millis(10)).await;
        self.0.get(key, expiry).await
    }

    async fn claim(
        &self,
        key: &AffinityKey,
        selection: Arc<Selection>,
        expiry: &Expiry,
    ) -> Result<Claim, StoreError> {
        sleep(Duration::from_millis(10)).await;
        self.0.claim(key, selection, expiry).await
    }
}

#[tokio::test(start_paused = true)]
async fn observed_requests_that_race_agree_on_one_claim_and_wait_for_nothing() {
    let layer = AffinityLayer::new(Far::default(), Calls::default().router()).mode(Mode::Observe);
    let (service, seen) = observing(layer);
    let began = Instant::now();
    for n in 1..=20 {
        assert_eq!(turn(&service, "s").await.model, format!("vendor/m{n}"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    sleep(Duration::from_millis(100)).await;
    let claims = seen.all();
    assert_eq!(claims.len(), 20);
    assert!(claims.iter().all(|claim| claim == &claims[0] && claim.is_some()), "{claims:?}");
}

#[tokio::test(start_paused = true)]
async fn an_observed_claim_lives_as_long_as_a_pin() {
    let idle = Duration::from_secs(2);
    let store = MemoryStore::default();
    let model = service_fn(|_: Request<Body>| async {
        let pieces = tokio_stream::iter([0, 8]).then(async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            Ok::<_, Infallible>(Bytes::from("data: 1\n\n"))
        });
        Ok::<_, Infallible>(Response::new(Body::from_stream(pieces)))
    });
    let seen = Seen::default();
    let noted = seen.clone();
    let service = ServiceBuilder::new()
        .layer(
            AffinityLayer::new(store, Calls::default().router())
                .expiry(Expiry::sliding(idle, Duration::from_secs(3600)))
                .mode(Mode::Observe),
        )
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new())
        .map_request(move |request: Request<Body>| {
            noted.see(&request);
            request
        })
        .service(model);
    let service = BoxCloneSyncService::new(service.map_err(BoxError::from));
    let request = || post(&[("x-model-affinity", "s")]);
    // Each answer is silent for longer than the claim may be idle.
    for outcome in [Outcome::Claimed, Outcome::Hit] {
        whole(&service, request()).await;
        assert_eq!(seen.last(), found("vendor/m1", outcome));
    }
    advance(idle + Duration::from_millis(1)).await;
    whole(&service, request()).await;
    assert_eq!(seen.last(), found("vendor/m3", Outcome::Claimed));
}

#[tokio::test]
async fn the_clients_controls_and_new_turns_act_on_the_claim() {
    let (service, seen) = observing(
        AffinityLayer::new(MemoryStore::default(), Calls::default().router()).mode(Mode::Observe),
    );
    turn(&service, "s").await;
    let (head, _) = whole(&service, control("refresh")).await;
    assert_eq!(head.headers["x-plano-affinity"], "observed");
    assert_eq!(seen.last(), found("vendor/m2", Outcome::Refreshed));
    let mut opening = post(&[("x-model-affinity", "s")]);
    opening.extensions_mut().insert(NewTurn);
    whole(&service, opening).await;
    assert_eq!(seen.last(), found("vendor/m3", Outcome::Refreshed));
    let (head, _) = whole(&service, control("bypass")).await;
    assert_eq!(head.headers["x-plano-affinity"], "bypass");
    assert_eq!(seen.all().len(), 3, "a bypass is none of its business");
    whole(&service, control("final")).await;
    assert_eq!(seen.last(), found("vendor/m3", Outcome::Hit));
    turn(&service, "s").await;
    assert_eq!(seen.last(), found("vendor/m6", Outcome::Claimed), "the final request ended it");
}

#[tokio::test]
async fn the_claim_ends_with_the_task_and_without_an_answer_layer_with_the_head() {
    let done = r#"{"choices":[{"message":{"content":"done"},"finish_reason":"stop"}]}"#;
    let seen = Seen::default();
    let noted = seen.clone();
    let model = service_fn(move |request: Request<Body>| {
        noted.see(&request);
        let response = Response::builder().header("content-type", "application/json");
        async move { Ok::<_, Infallible>(response.body(Body::from(done)).unwrap()) }
    });
    let store = MemoryStore::default();
    let layer = AffinityLayer::new(store.clone(), Calls::default().router()).mode(Mode::Observe);
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(AnswerLayer::new().final_answer(true))
        .service(model.clone());
    let service = BoxCloneSyncService::new(service.map_err(BoxError::from));
    whole(&service, post(&[("x-model-affinity", "s")])).await;
    assert!(store.is_empty());
    let bare = ServiceBuilder::new().layer(layer).service(model);
    let bare = BoxCloneSyncService::new(bare.map_err(BoxError::from));
    whole(&bare, post(&[("x-model-affinity", "s")])).await;
    assert_eq!(store.len(), 1);
    whole(&bare, control("final")).await;
    assert!(store.is_empty());
}

#[tokio::test]
async fn a_failover_moves_the_claim_and_a_claim_that_nobody_served_goes() {
    let router = service_fn(|_: RouteRequest| async {
        let ranked = ["a/dead", "b/spare"].map(ModelName::new);
        Ok::<_, BoxError>(RouteDecision::new(ranked.into_iter().collect::<Result<Vec<_>, _>>()?))
    });
    for (spare, expected) in [(200, Some("b/spare")), (503, None)] {
        let (seen, store) = (Seen::default(), MemoryStore::default());
        let noted = seen.clone();
        let model = service_fn(move |request: Request<Body>| {
            noted.see(&request);
            let model = request.extensions().get::<PinnedModel>().unwrap().model().clone();
            let status = if model.as_str() == "a/dead" { 503 } else { spare };
            async move {
                let response = Response::builder().status(status);
                Ok::<_, Infallible>(response.body(Body::empty()).unwrap())
            }
        });
        let service = ServiceBuilder::new()
            .layer(AffinityLayer::new(store.clone(), router).mode(Mode::Observe))
            .map_response(|response: Response<_>| response.map(Body::new))
            .layer(AnswerLayer::new())
            // The body of a request that is sent again must be cloned.
            .map_request(|request: Request<Body>| request.map(|_| String::new()))
            .layer(FailoverLayer::new())
            .map_request(|request: Request<String>| request.map(Body::from))
            .service(model);
        let service = BoxCloneSyncService::new(service.map_err(BoxError::from));
        whole(&service, post(&[("x-model-affinity", "s")])).await;
        let key = AffinityKey::decode("%observed=s").unwrap();
        let claim = store.get(&key, &Expiry::default()).await.unwrap().pin();
        let claim = claim.map(|claim| claim.selection.model().to_string());
        assert_eq!(claim.as_deref(), expected);
    }
}
