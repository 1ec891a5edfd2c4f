use std::convert::Infallible;
use std::time::Duration;

use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision};
use bytes::Bytes;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, service_fn};

use super::*;
use crate::config::Mode;
use crate::stack::turns::observer::testing::Notes;

const SHARE: &str = "
version: v0.4.0
model_providers: [{model: a/one, base_url: 'http://127.0.0.1:1'}]
routing: {regret_sample: SHARE}
";

/// A stack with pins on `a/one` of the route `code`, and a shadow that `decides`.
struct Stack {
    service: BoxCloneService<Request<Envelope>, Response<Bytes>, Infallible>,
    notes: Arc<Notes>,
}

impl Stack {
    fn new(share: &str, shadow: impl RouterService + Sync) -> Self {
        let config = SHARE.replace("SHARE", share);
        let config = Config::parse(&config, "test", &|_| None, Mode::Full).unwrap();
        let notes = Arc::new(Notes::default());
        let pins = service_fn(|_: RouteRequest| async { decided("a/one", Some("code")) });
        let model = service_fn(|_: Request<Envelope>| async {
            Ok::<_, Infallible>(Response::new(Bytes::new()))
        });
        let service = ServiceBuilder::new()
            .layer(AffinityLayer::new(MemoryStore::default(), pins))
            .layer(ShadowLayer::new(&config, shadow, Some(notes.clone())))
            .service(model);
        Self { service: BoxCloneService::new(service), notes }
    }

    async fn turn(&self, session: Option<&str>) {
        let envelope = Envelope::parse(Bytes::from_static(br#"{"model":"x"}"#)).unwrap();
        let mut request = Request::post("/v1/messages").header("traceparent", "of the client");
        if let Some(session) = session {
            request = request.header("x-model-affinity", session);
        }
        let request = request.extension(RouterClock::default());
        let clock: RouterClock = request.extensions_ref().unwrap().get().cloned().unwrap();
        let request = request.body(envelope).unwrap();
        self.service.clone().oneshot(request).await.unwrap();
        assert_eq!(clock.read(), None, "the shadow's time is not that of the turn");
    }

    /// Agreed, otherwise, no match, failed.
    fn verdicts(&self) -> [usize; 4] {
        self.notes.verdicts()
    }
}

fn decided(model: &str, route: Option<&str>) -> Result<RouteDecision, BoxError> {
    let decision = RouteDecision::new([ModelName::new(model)?]);
    Ok(match route {
        Some(route) => decision.with_route(RouteName::new(route)?),
        None => decision,
    })
}

/// Lets what was spawned run to its end.
async fn settled() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn only_pinned_turns_are_routed_again_and_judged() {
    for (answer, verdict) in [
        (Some(("a/one", Some("other"))), [1, 0, 0, 0]),
        (Some(("a/two", Some("code"))), [0, 1, 0, 0]),
        (Some(("a/one", None)), [0, 0, 1, 0]),
        (None, [0, 0, 0, 1]),
    ] {
        let stack = Stack::new(
            "1",
            service_fn(move |request: RouteRequest| async move {
                let _timed = RouterClock::start(&request.parts.extensions);
                assert!(request.parts.headers.is_empty() && request.key.is_none());
                assert_eq!(
                    (&request.body[..], request.parts.uri.path()),
                    (&br#"{"model":"x"}"#[..], "/v1/messages")
                );
                let (model, route) = answer.ok_or("no router")?;
                decided(model, route)
            }),
        );
        for session in [None, Some("s")] {
            stack.turn(session).await;
        }
        settled().await;
        assert_eq!(stack.verdicts(), [0; 4], "these were routed for real");
        stack.turn(Some("s")).await;
        settled().await;
        assert_eq!(stack.verdicts(), verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_it_and_no_more_than_four_are_under_way() {
    let stack = Stack::new(
        "1",
        service_fn(|_: RouteRequest| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            decided("a/one", Some("code"))
        }),
    );
    let began = tokio::time::Instant::now();
    for _ in 0..9 {
        stack.turn(Some("s")).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    settled().await;
    assert_eq!(stack.verdicts(), [4, 0, 0, 0]);
    stack.turn(Some("s")).await;
    settled().await;
    assert_eq!(stack.verdicts(), [5, 0, 0, 0], "the places are free again");
}

#[tokio::test(start_paused = true)]
async fn the_share_is_that_of_the_configuration() {
    for (share, within) in [("0.25", 400..600), ("1", 1999..2000)] {
        let stack = Stack::new(
            share,
            service_fn(|_: RouteRequest| async { decided("a/one", Some("code")) }),
        );
        for _ in 0..2000 {
            stack.turn(Some("s")).await;
            tokio::task::yield_now().await;
        }
        settled().await;
        let [agreed, ..] = stack.verdicts();
        assert!(within.contains(&agreed), "{agreed} of 2000");
    }
}
