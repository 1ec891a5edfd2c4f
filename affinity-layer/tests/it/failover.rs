//! The next candidate when a model fails, and the session that moves with it.

mod bound;
mod refusals;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use affinity_layer::{
    AffinityLayer, BoxError, FailoverLayer, MemoryStore, PinnedModel, RouteDecision, RouteRequest,
    ext::{LastingFailure, NotReached, Probe, SecondChance, SendOnce},
};
use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{Said, header, model, said};

/// Status and `Retry-After`.
type Answer = (u16, Option<&'static str>);

/// Stands for a connection that was closed before the model came to answer.
const CLOSED: u16 = 999;

/// Stands for a 401 to a credential that is not the client's.
const LOCKED: u16 = 998;

/// Stands for a model that there was no connection to.
const UNREACHABLE: u16 = 997;

/// Models that fail as they are told.
#[derive(Clone, Default)]
struct Models(Arc<Mutex<HashMap<String, Vec<Answer>>>>);

impl Models {
    /// What `model` answers next, and then 200.
    fn fail(&self, model: &str, answers: &[Answer]) {
        self.0.lock().unwrap().insert(model.to_owned(), answers.iter().rev().copied().collect());
    }

    fn always(&self, model: &str, status: u16) {
        self.fail(model, &[(status, None); 100]);
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Response<Body>, BoxError> {
        let model = request.extensions().get::<PinnedModel>().unwrap().model().to_string();
        let body = request.into_body().collect().await?.to_bytes();
        assert_eq!(body, "{}", "each attempt has the body whole");
        tokio::task::yield_now().await;
        let next = self.0.lock().unwrap().get_mut(&model).and_then(Vec::pop);
        let (status, retry_after) = next.unwrap_or((200, None));
        let mut response = Response::builder().status(status).header("served", &model);
        if let Some(seconds) = retry_after {
            response = response.header("retry-after", seconds);
        }
        if status == CLOSED {
            response = response.status(502).extension(SecondChance);
        }
        if status == UNREACHABLE {
            response = response.status(502).extension(NotReached::Address);
        }
        if status == LOCKED {
            response = response.status(401).extension(LastingFailure);
        }
        Ok(response.body(Body::from(format!("{status} by {model}")))?)
    }
}

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

fn service(store: &MemoryStore, models: &Models, failover: FailoverLayer) -> Service {
    let router = service_fn(|_: RouteRequest| async {
        Ok::<_, BoxError>(RouteDecision::new(["v/one", "v/two", "v/three"].map(model)))
    });
    let models = models.clone();
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .layer(AffinityLayer::new(store.clone(), router))
            .layer(failover)
            .service(service_fn(move |request| models.clone().answer(request))),
    )
}

fn stack(models: &Models) -> Service {
    service(&MemoryStore::default(), models, FailoverLayer::new())
}

async fn ask(service: &Service, session: Option<&str>) -> (Said, String) {
    tell(service, session, Request::post("/v1/chat/completions")).await
}

async fn tell(
    service: &Service,
    session: Option<&str>,
    mut request: http::request::Builder,
) -> (Said, String) {
    if let Some(session) = session {
        request = request.header("x-model-affinity", session);
    }
    let request = request.body(Full::from("{}")).unwrap();
    let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
    let told = |name| header(&head.headers, name).to_owned();
    let said = Said {
        status: head.status.as_u16(),
        model: told("x-plano-model"),
        pinned: told("x-plano-pinned"),
        affinity: told("x-plano-affinity"),
    };
    assert_eq!(told("served"), said.model, "the header names who answered");
    let body = body.collect().await.unwrap().to_bytes();
    (said, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_session_moves_once_and_then_holds() {
    for status in [429, 500, 502, 503, 504, 507, 520, 522, 529, 530, 599] {
        let models = Models::default();
        let service = stack(&models);
        assert_eq!(ask(&service, Some("s")).await.0, said("v/one", false, "claimed"));
        models.always("v/one", status);
        assert_eq!(ask(&service, Some("s")).await.0, said("v/two", false, "repinned"));
        for _ in 0..3 {
            assert_eq!(ask(&service, Some("s")).await.0, said("v/two", true, "hit"));
        }
    }
}

#[tokio::test]
async fn other_answers_are_returned_as_they_are() {
    for status in [400, 401, 404, 413, 422, 501, 505] {
        let models = Models::default();
        models.always("v/one", status);
        let service = stack(&models);
        let (answer, body) = ask(&service, Some("s")).await;
        assert_eq!((answer.status, answer.model.as_str()), (status, "v/one"));
        assert_eq!(body, format!("{status} by v/one"));
    }
}

#[tokio::test]
async fn the_first_request_of_a_session_moves_its_own_pin() {
    let models = Models::default();
    models.always("v/one", 503);
    models.always("v/two", 503);
    let service = stack(&models);
    assert_eq!(ask(&service, Some("s")).await.0, said("v/three", false, "repinned"));
    assert_eq!(ask(&service, Some("s")).await.0, said("v/three", true, "hit"));
}

#[tokio::test]
async fn requests_that_fail_together_move_the_session_once() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.always("v/one", 429);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { ask(&service, Some("s")).await.0 })
        })
        .collect();
    for task in tasks {
        let answer = task.await.unwrap();
        assert_eq!((answer.status, answer.model.as_str()), (200, "v/two"));
    }
    assert_eq!(ask(&service, Some("s")).await.0, said("v/two", true, "hit"));
}

#[tokio::test]
async fn with_no_candidate_left_the_first_failure_is_told_and_a_pin_that_never_served_goes() {
    let models = Models::default();
    let store = MemoryStore::default();
    for name in ["v/one", "v/two", "v/three"] {
        models.always(name, 503);
    }
    let service = service(&store, &models, FailoverLayer::new());
    let (answer, body) = ask(&service, Some("s")).await;
    assert_eq!(answer, Said { status: 503, ..said("v/one", false, "failed") });
    assert_eq!(body, "503 by v/one");
    assert!(store.is_empty(), "it never served");

    models.always("v/one", 200);
    ask(&service, Some("s")).await;
    models.always("v/one", 503);
    let (answer, _) = ask(&service, Some("s")).await;
    assert_eq!(answer, Said { status: 503, ..said("v/one", false, "failed") });
    assert_eq!(store.len(), 1, "it has served before");
    models.always("v/one", 200);
    assert_eq!(ask(&service, Some("s")).await.0, said("v/one", true, "hit"));
}

#[tokio::test]
async fn without_a_session_the_next_candidate_serves_and_nothing_is_stored() {
    let models = Models::default();
    let store = MemoryStore::default();
    models.always("v/one", 500);
    let service = service(&store, &models, FailoverLayer::new());
    assert_eq!(ask(&service, None).await.0, said("v/two", false, "none"));
    assert!(store.is_empty());
}

#[tokio::test]
async fn attempts_are_bounded() {
    let models = Models::default();
    models.always("v/one", 500);
    models.always("v/two", 500);
    let service = service(&MemoryStore::default(), &models, FailoverLayer::new().attempts(2));
    assert_eq!(ask(&service, Some("s")).await.1, "500 by v/one");
    models.always("v/two", 200);
    assert_eq!(ask(&service, Some("s")).await.1, "200 by v/two");
}

#[tokio::test]
async fn unusable_candidates_are_passed_over() {
    let models = Models::default();
    models.always("v/one", 500);
    let failover = FailoverLayer::new().usable(|parts, model| {
        assert_eq!(parts.uri.path(), "/v1/chat/completions");
        model.as_str() != "v/two"
    });
    let service = service(&MemoryStore::default(), &models, failover);
    assert_eq!(ask(&service, Some("s")).await.0, said("v/three", false, "repinned"));
}

#[tokio::test(start_paused = true)]
async fn a_short_retry_after_is_waited_for_and_a_long_one_is_not() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.fail("v/one", &[(429, Some("1"))]);
    let started = Instant::now();
    assert_eq!(ask(&service, Some("s")).await.0, said("v/one", true, "hit"));
    assert_eq!(started.elapsed(), Duration::from_secs(1));

    models.fail("v/one", &[(429, Some("1")), (429, Some("1"))]);
    assert_eq!(ask(&service, Some("s")).await.0, said("v/two", false, "repinned"));

    models.fail("v/two", &[(429, Some("60")), (429, Some("60"))]);
    let started = Instant::now();
    assert_eq!(ask(&service, Some("s")).await.0, said("v/one", false, "repinned"));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_sent_once_is_sent_again_only_if_no_model_has_begun() {
    for (failure, is_repeated) in [
        ((UNREACHABLE, None), true),
        ((429, None), true),
        ((429, Some("60")), true),
        ((500, None), false),
        ((503, Some("0")), false),
        ((CLOSED, None), false),
        ((LOCKED, None), false),
    ] {
        let models = Models::default();
        let service = stack(&models);
        ask(&service, Some("s")).await;
        models.fail("v/one", &[failure]);
        let once = Request::post("/v1/responses").extension(SendOnce);
        let (answer, _) = tell(&service, Some("s"), once).await;
        if is_repeated {
            assert_eq!(answer, said("v/two", false, "repinned"), "{failure:?}");
        } else {
            assert_eq!((answer.model.as_str(), &*answer.affinity), ("v/one", "failed"));
            assert_eq!(ask(&service, Some("s")).await.0, said("v/one", true, "hit"));
        }
    }
    let models = Models::default();
    let service = stack(&models);
    models.fail("v/one", &[(429, Some("1"))]);
    let once = Request::post("/v1/responses").extension(SendOnce);
    let (answer, _) = tell(&service, Some("s"), once).await;
    assert_eq!(answer, said("v/one", false, "claimed"), "after its short Retry-After");
    models.fail("v/one", &[(429, None)]);
    models.fail("v/two", &[(503, None)]);
    let once = Request::post("/v1/responses").extension(SendOnce);
    let (answer, _) = tell(&service, Some("s"), once).await;
    assert_eq!(answer, Said { status: 429, ..said("v/one", false, "failed") });
}

#[tokio::test]
async fn a_probe_that_fails_over_leaves_the_session_where_it_is() {
    let models = Models::default();
    let service = stack(&models);
    ask(&service, Some("s")).await;
    models.fail("v/one", &[(503, None)]);
    let request = Request::post("/v1/messages/count_tokens").header("x-model-affinity", "s");
    let mut request = request.body(Full::from("{}")).unwrap();
    request.extensions_mut().insert(Probe);
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(header(response.headers(), "x-plano-model"), "v/two");
    assert_eq!(header(response.headers(), "x-plano-pinned"), "false");
    assert_eq!(ask(&service, Some("s")).await.0, said("v/one", true, "hit"));
}
