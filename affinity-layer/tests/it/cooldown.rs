//! What was learned of a model that failed keeps others from it for a while.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use affinity_layer::cooldown::{Cooldowns, Target, TargetKind};
use affinity_layer::{
    AffinityLayer, BoxError, FailoverLayer, MemoryStore, PinnedModel, RouteRequest,
    ext::{
        Bound, LastingFailure, NotReached, PassedOver, Replaced, RequestedModel, RoutingHints,
        SendOnce, TimedOut,
    },
};
use axum::body::{Body, Bytes};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{advance, sleep};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::common::{Calls, Said, header, model, said};

/// What a model does with a request.
#[derive(Clone, Debug)]
enum Act {
    Status(u16),
    Later(u16, String),
    /// There is no connection to the proxy on the way.
    NoProxy,
    /// There is no connection.
    Unreachable,
    /// There is no answer within a minute, and none for others at this address.
    Silent,
    /// There is no answer within a minute; others have one.
    Slow,
    /// The credential is refused, of which the client is not told.
    Locked(u16),
    Hang,
}

/// Three models, two of them of one provider, and what was asked of them.
#[derive(Clone)]
struct Bench {
    acts: Arc<Mutex<HashMap<&'static str, Act>>>,
    asked: Arc<Mutex<Vec<String>>>,
    routed: Calls,
    store: MemoryStore,
    cooldowns: Cooldowns,
    /// Whether every request is too much for ONE, and TWO is larger.
    is_outgrown: bool,
}

const ONE: &str = "a/one";
const TWO: &str = "a/two";
const THREE: &str = "b/three";

type Service = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, BoxError>;

impl Bench {
    fn new() -> Self {
        Self {
            acts: Arc::default(),
            asked: Arc::default(),
            routed: Calls::default(),
            store: MemoryStore::default(),
            cooldowns: Cooldowns::new(),
            is_outgrown: false,
        }
    }

    fn act(&self, model: &'static str, act: Act) {
        self.acts.lock().unwrap().insert(model, act);
    }

    /// The models that were asked since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> Result<Response<Body>, BoxError> {
        let model = request.extensions().get::<PinnedModel>().unwrap().model().to_string();
        self.asked.lock().unwrap().push(model.clone());
        let act = self.acts.lock().unwrap().get(model.as_str()).cloned();
        let response = Response::builder();
        let response = match act.unwrap_or(Act::Status(200)) {
            Act::Status(status) if (400..429).contains(&status) => {
                response.status(status).extension(LastingFailure)
            }
            Act::Status(status) => response.status(status),
            Act::Later(status, when) => response.status(status).header("retry-after", when),
            Act::Unreachable => response.status(502).extension(NotReached::Address),
            Act::NoProxy => response.status(502).extension(NotReached::Proxy),
            Act::Silent => {
                sleep(Duration::from_secs(60)).await;
                response.status(504).extension(TimedOut::new(true))
            }
            Act::Slow => {
                sleep(Duration::from_secs(60)).await;
                response.status(504).extension(TimedOut::new(false))
            }
            Act::Locked(status) => {
                let replaced = Replaced::new(StatusCode::from_u16(status)?, None);
                response.status(502).extension(LastingFailure).extension(replaced)
            }
            Act::Hang => pending().await,
        };
        Ok(response.body(Body::empty())?)
    }

    fn service(&self) -> Service {
        let (routed, models) = (self.routed.clone(), self.clone());
        let router = service_fn(move |_: RouteRequest| {
            routed.next();
            let ranked = [ONE, TWO, THREE].map(model);
            async { Ok::<_, BoxError>(affinity_layer::RouteDecision::new(ranked)) }
        });
        let is_outgrown = self.is_outgrown;
        let failover = FailoverLayer::new().outgrown(move |_, given| {
            (is_outgrown && *given.model() == model(ONE)).then(|| model(TWO))
        });
        let affinity = AffinityLayer::new(self.store.clone(), router).cooldowns(&self.cooldowns);
        BoxCloneSyncService::new(
            ServiceBuilder::new()
                .layer(affinity)
                .layer(failover.cooldowns(&self.cooldowns))
                .service(service_fn(move |request| models.clone().answer(request))),
        )
    }

    async fn ask(&self, session: &str) -> Said {
        self.send(session, |_| {}).await.0
    }

    async fn send(
        &self,
        session: &str,
        change: impl FnOnce(&mut Request<Full<Bytes>>),
    ) -> (Said, Option<PassedOver>) {
        let request = Request::post("/v1/messages").header("x-model-affinity", session);
        let mut request = request.body(Full::from("{}")).unwrap();
        change(&mut request);
        let (head, _) = self.service().oneshot(request).await.unwrap().into_parts();
        let told = |name| header(&head.headers, name).to_owned();
        let said = Said {
            status: head.status.as_u16(),
            model: told("x-plano-model"),
            pinned: told("x-plano-pinned"),
            affinity: told("x-plano-affinity"),
        };
        (said, head.extensions.get::<PassedOver>().cloned())
    }

    /// What cools: kind, name, cause and seconds.
    fn cooling(&self) -> Vec<(TargetKind, String, String, u64)> {
        let mut list: Vec<_> = self
            .cooldowns
            .list()
            .into_iter()
            .map(|cooling| {
                let (target, cause) = (cooling.target, cooling.cause.as_str().to_owned());
                (target.kind(), target.name().to_owned(), cause, cooling.left.as_secs())
            })
            .collect();
        list.sort();
        list
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_cools_what_it_is_about() {
    use TargetKind::{Address, Credential, Model, Path};
    for (act, expected) in [
        (Act::Unreachable, vec![(Address, "a", "connect")]),
        (Act::Silent, vec![(Address, "a", "timeout"), (Model, ONE, "timeout")]),
        (Act::Slow, vec![(Model, ONE, "timeout")]),
        (Act::Locked(401), vec![(Credential, "a", "401")]),
        (Act::Locked(402), vec![(Credential, "a", "402")]),
        (Act::Locked(403), vec![(Model, ONE, "403")]),
        (Act::Status(404), vec![(Path, "a/one at /v1/messages", "404")]),
        (Act::Status(410), vec![(Model, ONE, "410")]),
        (Act::Status(424), vec![]),
        (Act::Status(429), vec![(Model, ONE, "429")]),
        (Act::Status(500), vec![]),
        (Act::Status(503), vec![]),
        (Act::Status(529), vec![]),
    ] {
        let bench = Bench::new();
        bench.act(ONE, act.clone());
        let answer = bench.ask("s").await;
        assert_eq!((answer.status, answer.affinity.as_str()), (200, "repinned"), "{act:?}");
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(kind, name, cause)| (kind, name.to_owned(), cause.to_owned(), 10))
            .collect();
        assert_eq!(bench.cooling(), expected, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn new_sessions_begin_with_a_model_that_serves() {
    let bench = Bench::new();
    bench.act(ONE, Act::Status(429));
    assert_eq!(bench.ask("first").await, said(TWO, false, "repinned"));
    assert_eq!(bench.asked(), [ONE, TWO]);
    assert_eq!(bench.ask("second").await, said(TWO, false, "claimed"));
    assert_eq!(bench.asked(), [TWO]);
    // What cools a provider takes all its models with it.
    bench.act(TWO, Act::Locked(401));
    assert_eq!(bench.ask("third").await, said(THREE, false, "repinned"));
    assert_eq!(bench.ask("fourth").await, said(THREE, false, "claimed"));
    assert_eq!(bench.asked(), [TWO, THREE, THREE]);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_session_leaves_a_model_that_cools_for_longer_than_it_waits() {
    let bench = Bench::new();
    for session in ["s", "t", "u"] {
        assert_eq!(bench.ask(session).await, said(ONE, false, "claimed"));
    }
    bench.act(ONE, Act::Later(429, "60".to_owned()));
    assert_eq!(bench.ask("s").await, said(TWO, false, "repinned"));
    bench.asked();
    let (answer, passed_over) = bench.send("t", |_| {}).await;
    assert_eq!(answer, said(TWO, false, "repinned"));
    assert_eq!(passed_over, Some(PassedOver(model(ONE))));
    assert_eq!(bench.asked(), [TWO], "nobody waits twice");
    advance(Duration::from_millis(59_500)).await;
    bench.act(ONE, Act::Status(200));
    let began = tokio::time::Instant::now();
    assert_eq!(bench.ask("u").await, said(ONE, true, "hit"), "half a second is waited for");
    assert_eq!(began.elapsed(), Duration::from_millis(500));
    assert!(bench.cooling().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_request_tries_a_model_whose_time_is_over_and_others_pass_it_over_meanwhile() {
    let bench = Bench::new();
    bench.act(ONE, Act::Status(429));
    bench.ask("s").await;
    advance(Duration::from_secs(10)).await;
    bench.act(ONE, Act::Hang);
    let trying = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask("t").await })
    };
    tokio::task::yield_now().await;
    bench.asked();
    assert_eq!(bench.ask("u").await, said(TWO, false, "claimed"));
    assert_eq!(bench.asked(), [TWO]);
    // Its client hangs up: the next request tries.
    trying.abort();
    let _ = trying.await;
    bench.act(ONE, Act::Status(429));
    assert_eq!(bench.ask("v").await, said(TWO, false, "repinned"));
    assert_eq!(bench.asked(), [ONE, TWO]);
    assert_eq!(bench.cooling()[0].3, 20, "twice as long");
    advance(Duration::from_secs(20)).await;
    bench.act(ONE, Act::Status(200));
    assert_eq!(bench.ask("w").await, said(ONE, false, "claimed"));
    assert!(bench.cooling().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pinned_session_that_would_have_waited_stays_while_another_request_tries_its_model() {
    for (asked, expected) in [("1", said(ONE, true, "hit")), ("9", said(TWO, false, "repinned"))] {
        let bench = Bench::new();
        for session in ["s", "t"] {
            bench.ask(session).await;
        }
        bench.act(ONE, Act::Later(429, asked.to_owned()));
        bench.ask("s").await;
        sleep(Duration::from_secs(9)).await;
        bench.act(ONE, Act::Hang);
        let trying = {
            let bench = bench.clone();
            tokio::spawn(async move { bench.ask("slow").await })
        };
        tokio::task::yield_now().await;
        bench.act(ONE, Act::Status(200));
        assert_eq!(bench.ask("new").await, said(TWO, false, "claimed"));
        let began = tokio::time::Instant::now();
        assert_eq!(bench.ask("t").await, expected, "after {asked} s");
        assert_eq!(began.elapsed(), Duration::ZERO);
        trying.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn with_all_cooling_each_request_is_sent_once_and_the_router_is_not_asked_again() {
    let bench = Bench::new();
    bench.act(ONE, Act::Later(429, "60".to_owned()));
    bench.act(TWO, Act::Later(429, "20".to_owned()));
    bench.act(THREE, Act::Later(429, "30".to_owned()));
    let answer = bench.ask("s").await;
    assert_eq!((answer.status, answer.affinity.as_str()), (429, "failed"));
    assert_eq!((bench.asked().len(), bench.routed.count()), (3, 1));
    for _ in 0..5 {
        assert_eq!(bench.ask("s").await.status, 429);
        assert_eq!(bench.asked(), [TWO], "it is free first");
    }
    assert_eq!(bench.routed.count(), 1);
    assert_eq!(bench.ask("another").await.status, 429);
    assert_eq!((bench.asked().len(), bench.routed.count()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_tries_one_candidate_and_finds_the_one_that_serves_again() {
    let bench = Bench::new();
    for model in [ONE, TWO, THREE] {
        bench.act(model, Act::Status(503));
    }
    assert_eq!(bench.ask("s").await, Said { status: 503, ..said(ONE, false, "failed") });
    assert_eq!(bench.asked(), [ONE, TWO, THREE]);
    for expected in [ONE, TWO, THREE, ONE] {
        assert_eq!(bench.ask("s").await.status, 503);
        assert_eq!(bench.asked(), [expected], "the oldest failure");
    }
    bench.act(TWO, Act::Status(200));
    assert_eq!(bench.ask("s").await, said(TWO, false, "repinned"));
    assert_eq!(bench.ask("s").await, said(TWO, true, "hit"));
    assert_eq!(bench.routed.count(), 1);
    // It was served: the next failure is a new one.
    bench.act(TWO, Act::Status(503));
    bench.asked();
    bench.ask("s").await;
    assert_eq!(bench.asked(), [TWO, ONE, THREE]);
    sleep(Duration::from_secs(60)).await;
    bench.ask("s").await;
    assert_eq!(bench.asked(), [TWO, ONE, THREE], "after a minute it is a new request");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_asks_for_something_else_repeats_no_decision() {
    type Change = fn(&mut Request<Full<Bytes>>);
    let changes: [(&str, Change); 4] = [
        ("a model", |request| drop(request.extensions_mut().insert(RequestedModel(model(THREE))))),
        ("a model in the body", |request| {
            *request.body_mut() = Full::from(r#"{"model":"b/three"}"#)
        }),
        ("hints", |request| {
            request.extensions_mut().insert(RoutingHints(1));
        }),
        ("a path", |request| *request.uri_mut() = "/v1/responses".parse().unwrap()),
    ];
    for (what, change) in changes {
        let bench = Bench::new();
        for model in [ONE, TWO, THREE] {
            bench.act(model, Act::Status(503));
        }
        for expected in [1, 1] {
            bench.ask("s").await;
            assert_eq!(bench.routed.count(), expected, "{what}");
        }
        for expected in [2, 2] {
            bench.send("s", change).await;
            assert_eq!(bench.routed.count(), expected, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_repeats_for_long_has_the_router_asked_once_a_minute() {
    let bench = Bench::new();
    for model in [ONE, TWO, THREE] {
        bench.act(model, Act::Status(503));
    }
    for n in 0..12 {
        bench.ask("s").await;
        assert_eq!(bench.routed.count(), 1 + n / 3, "after {n} times 20 s");
        sleep(Duration::from_secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_request_always_goes_to_its_own_model() {
    let bench = Bench::new();
    bench.ask("s").await;
    bench.act(ONE, Act::Status(429));
    bench.ask("t").await;
    bench.asked();
    for _ in 0..3 {
        let bound = |request: &mut Request<_>| {
            request.extensions_mut().insert(Bound::ByChoice);
        };
        let (answer, _) = bench.send("s", bound).await;
        assert_eq!(answer, Said { status: 429, ..said(ONE, false, "failed") });
        assert_eq!(bench.asked(), [ONE]);
    }
    bench.act(ONE, Act::Status(200));
    let bound = |request: &mut Request<_>| {
        request.extensions_mut().insert(Bound::ByChoice);
    };
    assert_eq!(bench.send("s", bound).await.0, said(ONE, true, "hit"));
}

#[tokio::test(start_paused = true)]
async fn sessions_that_wait_for_a_silent_address_wait_once_in_all() {
    let bench = Bench::new();
    bench.act(ONE, Act::Silent);
    bench.act(TWO, Act::Silent);
    let began = tokio::time::Instant::now();
    let sessions: Vec<_> = (0..8)
        .map(|n| {
            let bench = bench.clone();
            tokio::spawn(async move {
                sleep(Duration::from_secs(n * 5)).await;
                bench.ask(&format!("{n}")).await
            })
        })
        .collect();
    for session in sessions {
        let answer = session.await.unwrap();
        assert_eq!((answer.status, answer.model.as_str()), (200, THREE));
    }
    assert_eq!(began.elapsed(), Duration::from_secs(60));
    let asked = bench.asked();
    assert!(!asked.contains(&TWO.to_owned()), "it is at the same address: {asked:?}");
    assert_eq!(bench.ask("later").await, said(THREE, false, "claimed"));
    assert_eq!(began.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_request_to_be_sent_once_stays_at_an_address_that_falls_silent() {
    let bench = Bench::new();
    bench.act(ONE, Act::Silent);
    let first = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask("s").await })
    };
    sleep(Duration::from_secs(30)).await;
    let once = |request: &mut Request<_>| {
        request.extensions_mut().insert(SendOnce);
    };
    let (answer, _) = bench.send("t", once).await;
    assert_eq!((answer.status, answer.model.as_str()), (504, ONE));
    assert_eq!(first.await.unwrap().model, THREE);
    assert_eq!(bench.asked(), [ONE, ONE, THREE], "the other one is by the first session");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_released_still_gets_the_first_answer_if_nobody_else_serves() {
    let bench = Bench::new();
    bench.act(ONE, Act::Silent);
    bench.act(TWO, Act::Silent);
    bench.act(THREE, Act::Status(400));
    let first = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask("s").await })
    };
    sleep(Duration::from_secs(30)).await;
    let second = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.ask("t").await })
    };
    assert_eq!(first.await.unwrap().status, 504);
    assert_eq!(second.await.unwrap().status, 504, "and not the 400 of a later candidate");
}

#[tokio::test(start_paused = true)]
async fn another_model_of_a_silent_address_is_tried_if_nobody_else_is_left() {
    let bench = Bench::new();
    bench.act(ONE, Act::Silent);
    bench.act(THREE, Act::Status(500));
    assert_eq!(bench.ask("s").await, said(TWO, false, "repinned"));
    assert_eq!(bench.asked(), [ONE, THREE, TWO]);
    assert_eq!(bench.cooling().len(), 1, "the address answers, the model did not");
    assert_eq!(bench.ask("t").await, said(TWO, false, "claimed"));
}

#[tokio::test(start_paused = true)]
async fn a_larger_model_that_cools_is_passed_over_for_another_that_fits() {
    let mut bench = Bench::new();
    bench.is_outgrown = true;
    bench.act(TWO, Act::Later(429, "60".to_owned()));
    assert_eq!(bench.ask("s").await, said(THREE, false, "repinned"));
    assert_eq!(bench.asked(), [TWO, THREE]);
    assert_eq!(bench.ask("t").await, said(THREE, false, "repinned"));
    assert_eq!(bench.asked(), [THREE]);
    bench.act(THREE, Act::Later(429, "90".to_owned()));
    assert_eq!(bench.ask("u").await.status, 429);
    assert_eq!(bench.asked(), [THREE]);
    assert_eq!(bench.ask("v").await.status, 429);
    assert_eq!(bench.asked(), [TWO], "nobody else is left");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_may_be_a_date() {
    let bench = Bench::new();
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(120));
    bench.act(ONE, Act::Later(429, date));
    bench.ask("s").await;
    assert!((118..=120).contains(&bench.cooling()[0].3), "{:?}", bench.cooling());
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_clear_a_target_and_an_application_can_name_its_own() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut bench = Bench::new();
    let seen = told.clone();
    bench.cooldowns = Cooldowns::new()
        .targets(|kind, _, _| (kind == TargetKind::Model).then(|| Target::new(kind, "all")))
        .on_change(move |change| seen.lock().unwrap().push(format!("{change:?}")));
    bench.act(ONE, Act::Status(429));
    bench.act(TWO, Act::Locked(401));
    assert_eq!(bench.ask("s").await.status, 429, "all of them are one target");
    assert_eq!(bench.asked(), [ONE]);
    let target = Target::new(TargetKind::Model, "all");
    assert!(bench.cooldowns.clear(&target));
    assert!(!bench.cooldowns.clear(&target));
    let told = told.lock().unwrap();
    assert!(told[0].starts_with("Began") && told[1].starts_with("Ended"), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_fails_takes_along_what_is_behind_it_and_blames_no_address() {
    let mut bench = Bench::new();
    bench.cooldowns = Cooldowns::new().targets(|kind, model, _| match kind {
        TargetKind::Proxy => model.as_str().starts_with("a/").then(|| Target::new(kind, "p")),
        TargetKind::Address => Some(Target::new(kind, model.as_str())),
        _ => None,
    });
    bench.act(ONE, Act::NoProxy);
    bench.act(TWO, Act::NoProxy);
    assert_eq!(bench.ask("s").await.status, 200);
    assert_eq!(bench.asked(), [ONE, THREE], "the second model is behind the same proxy");
    let cooling = [(TargetKind::Proxy, "p".to_owned(), "connect".to_owned(), 10)];
    assert_eq!(bench.cooling(), cooling);
    sleep(Duration::from_secs(10)).await;
    bench.act(ONE, Act::Status(200));
    bench.ask("t").await;
    assert_eq!(bench.asked(), [ONE], "one request tries it");
    assert_eq!(bench.cooling(), []);
}
