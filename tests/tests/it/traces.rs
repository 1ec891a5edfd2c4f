//! Traces, as a collector is sent them.

use affinity_tests::models::{DEFAULT, ONE};
use affinity_tests::{
    Answer, Collector, Gateway, ModelRouter, Refusing, Request, Setup, Upstream, post, until,
};

use crate::chat;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn turn() -> Request {
    post("/v1/chat/completions", chat(DEFAULT, "hello"))
}

/// A configuration that sends `percent` of the traces to `endpoint`.
fn traced(upstream: &Upstream, router: &ModelRouter, endpoint: &str, percent: u8) -> Setup {
    Setup::routed(upstream, router).line(&format!(
        "tracing:\n  random_sampling: {percent}\n  opentracing_grpc_endpoint: {endpoint}"
    ))
}

struct Scene {
    upstream: Upstream,
    router: ModelRouter,
    collector: Collector,
    gateway: Gateway,
}

impl Scene {
    async fn start(percent: u8) -> Self {
        Self::with(percent, "").await
    }

    /// With further lines of the section `tracing`.
    async fn with(percent: u8, lines: &str) -> Self {
        let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
        let collector = Collector::start().await;
        let setup = traced(&upstream, &router, &collector.url(), percent).line(lines);
        let gateway = setup.start().await;
        Self { upstream, router, collector, gateway }
    }

    /// Ends the gateway, which sends what it still has.
    async fn end(&mut self) {
        self.gateway.signal("TERM").await;
        assert_eq!(self.gateway.ended().await.code(), Some(0));
    }
}

fn traceparent(fields: &affinity_tests::Seen) -> Vec<String> {
    let value = fields.all("traceparent");
    assert_eq!(value.len(), 1, "{value:?}");
    value[0].split('-').map(str::to_owned).collect()
}

#[tokio::test]
async fn two_turns_have_one_router_span() {
    let mut scene = Scene::start(100).await;
    for outcome in ["claimed", "hit"] {
        assert_eq!(scene.gateway.ask(&turn().session("s")).await.affinity().1, outcome);
    }
    scene.end().await;

    let requests = scene.collector.named("POST /v1/chat/completions");
    let affinity = scene.collector.named("affinity");
    let upstream = scene.collector.named("chat gpt-4o");
    let router = scene.collector.named("router");
    let counts = (requests.len(), affinity.len(), upstream.len(), router.len());
    assert_eq!(counts, (2, 2, 2, 1), "{:#?}", scene.collector.spans());
    assert_eq!(scene.collector.spans().len(), 7);

    let conversation = upstream[0].attribute("gen_ai.conversation.id");
    assert_eq!(conversation.len(), 32, "a hash: {conversation}");
    for (n, outcome) in ["claimed", "hit"].into_iter().enumerate() {
        let (request, affinity, upstream) = (&requests[n], &affinity[n], &upstream[n]);
        assert_eq!((request.kind.as_str(), request.parent.as_str()), ("Server", ""));
        assert_eq!((&affinity.parent, &affinity.trace), (&request.id, &request.trace));
        assert_eq!((&upstream.parent, &upstream.trace), (&affinity.id, &request.trace));
        assert_eq!(upstream.kind, "Client");
        assert_eq!(affinity.attribute("affinity.outcome"), outcome);
        assert_eq!(affinity.attribute("affinity.model"), ONE);
        assert_eq!(affinity.attribute("affinity.route"), "one");
        assert_eq!(affinity.attribute("affinity.pinned"), (n == 1).to_string());
        assert!(!affinity.attribute("affinity.epoch").is_empty());
        assert_eq!(request.attribute("gen_ai.request.model"), DEFAULT);
        assert_eq!(request.attribute("gen_ai.response.model"), ONE);
        assert_eq!(request.attribute("http.response.status_code"), "200");
        assert_eq!(upstream.attribute("gen_ai.request.model"), "gpt-4o");
        assert_eq!(upstream.attribute("gen_ai.conversation.id"), conversation);
        assert_eq!(upstream.attribute("url.path"), "/v1/chat/completions");
        assert_eq!(upstream.attribute("server.address"), "127.0.0.1");
        assert_eq!(request.service, "example-gateway");

        // Whoever is called is told of the span of the call.
        let told = traceparent(&scene.upstream.seen()[n]);
        assert_eq!(told, ["00", &request.trace, &upstream.id, "01"]);
    }
    assert_ne!(requests[0].trace, requests[1].trace);
    assert_eq!((&router[0].parent, &router[0].trace), (&affinity[0].id, &requests[0].trace));
    assert_eq!(router[0].attribute("gen_ai.request.model"), "Arch-Router");
    assert_eq!(router[0].attribute("affinity.route"), "one");
    let told = traceparent(&scene.router.upstream().last());
    assert_eq!(told, ["00", &requests[0].trace, &router[0].id, "01"]);
}

#[tokio::test]
async fn the_trace_of_a_caller_goes_on() {
    let mut scene = Scene::start(100).await;
    let called = turn().session("s").header("traceparent", &format!("00-{TRACE}-{CALLER}-01"));
    scene.gateway.ask(&called.header("tracestate", "vendor=1")).await;
    let decision = post("/routing/v1/chat/completions", chat(DEFAULT, "hello"));
    let decided = decision.clone().header("traceparent", &format!("00-{TRACE}-{CALLER}-01"));
    assert_eq!(scene.gateway.ask(&decided).await.json()["trace_id"], TRACE);
    let own = scene.gateway.ask(&decision).await.json()["trace_id"].as_str().unwrap().to_owned();
    scene.end().await;

    let spans = scene.collector.spans();
    let first = spans.iter().find(|span| span.kind == "Server").unwrap();
    assert_eq!((first.trace.as_str(), first.parent.as_str()), (TRACE, CALLER));
    let told = traceparent(&scene.upstream.last());
    assert!(told[1] == TRACE && told[2] != CALLER, "{told:?}");
    assert_eq!(scene.upstream.last().all("tracestate"), ["vendor=1"]);
    assert_eq!(traceparent(&scene.router.upstream().seen()[0])[1], TRACE);
    // The decision API tells the trace that is exported.
    assert!(own != TRACE && spans.iter().any(|span| span.trace == own), "{own} {spans:#?}");
}

#[tokio::test]
async fn only_what_is_sampled_is_exported() {
    let mut none = Scene::start(0).await;
    let mut all = Scene::start(100).await;
    let unsampled = format!("00-{TRACE}-{CALLER}-00");
    for scene in [&mut none, &mut all] {
        scene.gateway.ask(&turn().header("traceparent", &unsampled)).await;
        let told = traceparent(&scene.upstream.last());
        assert_eq!((told[1].as_str(), told[3].as_str()), (TRACE, "00"));
        scene.gateway.ask(&turn()).await;
        scene.end().await;
    }
    assert_eq!(none.collector.spans().len(), 0);
    let traces = all.collector.named("POST");
    assert_eq!(traces.len(), 1, "the caller decides for its trace: {traces:#?}");
    assert_ne!(traces[0].trace, TRACE);
}

#[tokio::test]
async fn spans_carry_what_is_configured_and_no_secret() {
    let lines = "  span_attributes:\n    header_prefixes: [x-acme-, x-, author]\n    \
                 static: {environment: test, user.id: nobody}";
    let mut scene = Scene::with(100, lines).await;
    let request = turn()
        .session("hush-session")
        .header("x-acme-user-id", "usr-1")
        .header("x-api-key", "hush-key")
        .header("x-acme-token", "hush-token")
        .header("x-task-id", "hush-task")
        .header("x-client-request-id", "hush-request")
        .header("authorization", "Bearer hush-key");
    scene.gateway.ask(&request).await;
    scene.end().await;
    let request = &scene.collector.named("POST")[0];
    assert_eq!(request.attribute("user.id"), "usr-1");
    assert_eq!(request.attribute("environment"), "test");
    let all = format!("{:?}", scene.collector.spans());
    assert!(!all.contains("hush"), "{all}");
}

#[tokio::test]
async fn a_failure_is_told_of() {
    let upstream = Upstream::fixed("HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n").await;
    let router = ModelRouter::failing_with(Answer::Bytes(
        "HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n".into(),
    ));
    let (router, collector) = (router.await, Collector::start().await);
    router.fail(true);
    let gateway = traced(&upstream, &router, &collector.url(), 100).start().await;
    assert_eq!(gateway.ask(&turn()).await.status, 500);
    collector.wait("POST", 1).await;
    for name in ["POST", "router", "chat"] {
        assert!(collector.named(name)[0].failed, "{:#?}", collector.spans());
    }
    let router = &collector.named("router")[0];
    assert_eq!(router.attribute("http.response.status_code"), "400");
    assert_eq!(collector.named("affinity")[0].attribute("affinity.outcome"), "router-unavailable");
}

#[tokio::test]
async fn a_span_ends_with_the_stream() {
    let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
    let receiver = std::sync::Mutex::new(Some(receiver));
    let upstream =
        Upstream::start(move |_| Answer::Steps(receiver.lock().unwrap().take().unwrap())).await;
    let (router, collector) = (ModelRouter::start().await, Collector::start().await);
    let gateway = traced(&upstream, &router, &collector.url(), 100).start().await;
    let mut connection = gateway.connect().await;
    connection.write(&turn()).await;
    steps.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n".into()).unwrap();
    connection.head().await;
    // The spans of a request that came later are there, and those of this one are not.
    let decision = post("/routing/v1/messages", chat(DEFAULT, "hello"));
    gateway.ask(&decision).await;
    collector.wait("POST /routing", 1).await;
    assert_eq!(collector.named("POST /v1").len() + collector.named("chat").len(), 0);
    steps.send("0\r\n\r\n".into()).unwrap();
    collector.wait("POST /v1", 1).await;
    assert_eq!(collector.named("chat").len(), 1);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_one_line() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let nobody = Refusing::new();
    let mut gateway = traced(&upstream, &router, &nobody.url(), 100).start().await;
    assert_eq!(gateway.ask(&turn()).await.status, 200);
    until(async || gateway.log().contains("traces cannot be sent")).await;
    // The next batch fails as well, at the end at the latest.
    assert_eq!(gateway.ask(&turn()).await.status, 200);
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(gateway.log().matches("traces cannot be sent").count(), 1, "{}", gateway.log());
}

#[tokio::test]
async fn a_collector_that_hangs_keeps_nobody() {
    let (upstream, router) = (Upstream::echo().await, ModelRouter::start().await);
    let silent = Upstream::start(|_| Answer::Silence).await;
    let mut gateway = traced(&upstream, &router, &silent.url(), 100).start().await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&turn()).await.status, 200);
    }
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.code(), Some(0));
}
